"""What `run` says at its end, on stderr: scores, seconds of each system, what failed, how to see more."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unimp_bench.cli.columns import plain
from unimp_bench.cli.console import err
from unimp_bench.errors import UnimpBenchError, in_one_line

if TYPE_CHECKING:
    from unimp_bench.cli.run_jobs import Job
    from unimp_bench.places import Home


@dataclass(frozen=True)
class Failure:
    """A run that could not be finished, in one line."""

    job: Job
    seed: int
    why: str

    @classmethod
    def of(cls, job: Job, seed: int, error: Exception) -> Failure:
        """From what was raised; see `in_one_line`."""
        said = in_one_line(error)
        return cls(job, seed, said if isinstance(error, UnimpBenchError) else plain(said))

    @property
    def name(self) -> str:
        """What was run."""
        return f"{self.job.runner} on {self.job.task}" + (f" seed {self.seed}" if self.seed else "")


def scores(folders: Sequence[Path]) -> None:
    """The first metric of each run, cohort by cohort."""
    lines = []
    for folder in folders:
        request = json.loads((folder / "run.json").read_text())["request"]
        metrics = json.loads((folder / "metrics.json").read_text())["metrics"]
        first = metrics[0]["metric"]
        values = [
            f"{row['slice']} {'-' if row['value'] is None else format(row['value'], '.4f')}"
            for row in metrics
            if row["metric"] == first
        ]
        seed = f" seed {request['seed']}" if request["seed"] else ""
        lines.append((request["task"], request["runner"] + seed, first, "  ".join(values)))
    _aligned(lines)


def seconds(home: Home, folders: Sequence[Path]) -> None:
    """A table of what each system took; a fit that several tasks share counts once."""
    from unimp_bench.budget import Budget
    from unimp_bench.costs import costs

    head = ("system", "runs", "budget", "trials", "fit s", "choose s", "answer s", "score s", "all s", "peak MB")
    lines: list[tuple[str, ...]] = [head]
    for one in costs(home, folders):
        budget = Budget.of(one.budget)
        numbers = (one.fit, one.validate, one.predict, one.score, one.seconds)
        lines.append(
            (
                one.runner,
                str(one.runs),
                "-" if budget is None else str(budget),
                str(one.trials or "-"),
                *(f"{value:,.1f}" for value in numbers),
                f"{one.peak_megabytes:,.0f}",
            )
        )
    _aligned(lines)


def failures(failed: Sequence[Failure], runs: int) -> None:
    """Which runs failed, in one line."""
    names = ", ".join(one.name for one in failed)
    err.print(
        f"failed: {len(failed)} of {runs} runs ({names}); the same command tries these again", markup=False, style="red"
    )


def how_to_see_more(home: Home, dataset: str, jobs: Sequence[Job], limit: int | None) -> None:
    """Where all scores are."""
    if limit is not None:
        err.print("runs with --limit do not enter the leaderboard; see metrics.json in each folder", markup=False)
        return
    tasks = {job.task for job in jobs}
    one = f" --task {next(iter(tasks))}" if len(tasks) == 1 else ""
    where = "" if str(home.root) == "." else f"--home {home.root} "
    err.print(f"intervals and all metrics: unimp-bench {where}leaderboard --dataset {dataset}{one}", markup=False)


def _aligned(lines: Sequence[Sequence[str]]) -> None:
    """Lines with their columns one under another."""
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        err.print("  ".join(cells).rstrip(), markup=False)
