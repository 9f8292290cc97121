"""Everything that the page shows, as plain data: what `json` can write, and nothing else.

The leaderboard's rows come from `board`, which alone decides what may stand beside what. They are split in two lists,
`runs` (what was run and what it cost) and `rows` (one value each, naming its run by number), because most columns
repeat for every metric.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

import polars as pl

from unimp_bench import board
from unimp_bench.dataset import CLEAN, Dataset
from unimp_bench.errors import ConfigError
from unimp_bench.metrics.spec import METRICS
from unimp_bench.places import Home
from unimp_bench.progress import Progress, Silent
from unimp_bench.report.examples import browser
from unimp_bench.report.heat import heat
from unimp_bench.report.labels import Labels
from unimp_bench.report.learning import learning
from unimp_bench.report.mistakes import mistakes
from unimp_bench.report.values import plain
from unimp_bench.schemas import COHORTS
from unimp_bench.scoring import suite
from unimp_bench.tasks.spec import TASKS

ROW = ("run", "cohort", "metric", "value", "low", "high", "deviation", "tier", "letters", "n", "unanswered")
_RUN = ("seeds", "seconds_fit", "seconds_predict", "peak_megabytes", "device", "date", "git_commit")


def collect(home: Home, dataset: Dataset, progress: Progress | None = None) -> dict[str, Any]:
    """The page's data for one dataset as it stands there now.

    Returns:
        `meta`, `tasks`, `metrics`, `columns` and `rows` of the leaderboard, `runs`, `slices`, `curves`, `mistakes`,
        `examples` by task, `items` by id and `pictures` as data addresses.

    Raises:
        ConfigError: there is no finished run of this build to report on.
        IncompleteError: a finished run's files cannot be read.
    """
    progress = progress or Silent()
    found = board.current(home, board.rows(home, dataset.name))
    # Of a metric that changed only its newest version is shown: two never share a table.
    found = found.filter(pl.col("metric_version") == pl.col("metric_version").max().over("task", "metric"))
    if found.height == 0:
        raise ConfigError(
            f"no finished run on {dataset.name} as it stands; `unimp-bench run --model floors` makes some"
        )
    labels = Labels.of(found)
    runs, rows = _split(found, labels)
    tasks = [name for name in TASKS if name in found["task"]]
    shown = browser(home, dataset, tasks, labels, found, progress)
    return {
        "meta": _meta(dataset),
        "tasks": [_task(name, found) for name in tasks],
        "metrics": {
            name: {
                "higher": spec.higher_is_better,
                "single": not spec.by_cohort,
                "squared": spec.aggregate == "root_mean",
            }
            for name, spec in METRICS.items()
            if name in found["metric"]
        },
        "columns": list(ROW),
        "runs": runs,
        "rows": rows,
        "slices": heat(home, found, labels),
        "curves": learning(home, dataset, found, labels),
        "mistakes": mistakes(home, dataset, found, labels),
        **shown,
    }


def _meta(dataset: Dataset) -> dict[str, Any]:
    facts = dataset.manifest.facts
    counts = facts.get("counts", {})
    return {
        "dataset": dataset.name,
        "dataset_id": dataset.manifest.id,
        "split_hash": dataset.split_hash,
        "protocol": facts.get("protocol"),
        "counts": {name: counts[name] for name in ("interactions", "users", "items") if name in counts},
        "version": version("unimp-bench"),
    }


def _task(name: str, found: pl.DataFrame) -> dict[str, Any]:
    of_task = found.filter(pl.col("task") == name)
    spec = TASKS[name]
    return {
        "name": name,
        "version": of_task["task_version"][0],
        "kind": spec.answer,
        "metric": spec.metric,
        "metrics": [metric for metric in suite(name) if metric in of_task["metric"]],
        "cohorts": [cohort for cohort in COHORTS if cohort in of_task["cohort"]],
        "unanswered": spec.unanswered,
    }


def _split(found: pl.DataFrame, labels: Labels) -> tuple[list[dict[str, Any]], list[list[Any]]]:
    """The leaderboard as runs and rows."""
    numbers: dict[tuple[str, ...], int] = {}
    runs: list[dict[str, Any]] = []
    rows: list[list[Any]] = []
    for line in found.iter_rows(named=True):
        label = labels.name(line["runner"], line["parameters_hash"])
        key = (line["variant"], line["task"], label)
        if key not in numbers:
            numbers[key] = len(runs)
            runs.append(
                {
                    "task": line["task"],
                    "variant": "" if line["variant"] == CLEAN else line["variant"],
                    "runner": label,
                    "truth": line["reads_truth"],
                    "version": line["runner_version"],
                    "parameters": json.loads(line["parameters"]),
                    **{name: line[name] for name in _RUN},
                }
            )
        rows.append([numbers[key], *(plain(line[name]) for name in ROW[1:])])
    return runs, rows
