"""`unimp-bench run`: runners on tasks, each into a run folder of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unimp_bench.cli.console import BarProgress, err, out
from unimp_bench.errors import ConfigError

if TYPE_CHECKING:
    from unimp_bench.dataset import Dataset
    from unimp_bench.places import Home


def run(
    ctx: typer.Context,
    model: Annotated[str, typer.Option(help="runners, comma-separated; `floors` and `all` are groups")],
    task: Annotated[str, typer.Option(help="tasks, comma-separated; `all`: every one that a runner claims")] = "all",
    dataset: Annotated[str | None, typer.Option(help="a built dataset [default: the one built last]")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="a runner's parameter")] = None,
    seeds: Annotated[str, typer.Option(help="comma-separated; one run each")] = "0",
    limit: Annotated[int | None, typer.Option(min=1, help="ask N examples only; stays off the leaderboard")] = None,
    variant: Annotated[str, typer.Option(help="a noise variant of the items, or a probe (see `probe`)")] = "clean",
    force: Annotated[bool, typer.Option("--force", help="fit, predict and score again")] = False,
    resume: Annotated[bool, typer.Option(help="go on with the parts of a killed run")] = True,
) -> None:
    """Fit runners, let them answer the test examples, and score the answers.

    Folders go to stdout, scores to stderr. What was run before is found and
    not run again; a killed run goes on.

    Example:
        unimp-bench run --model floors,bm25 --task search
        unimp-bench run --model bm25 --set k1=1.2 --set b=0.6 --seeds 1,2,3
    """
    from unimp_bench import execute
    from unimp_bench.dataset import Dataset

    parameters = parameters_of(set_ or [])
    numbers = _seeds(seeds)
    data = Dataset.open(ctx.obj, newest(ctx.obj) if dataset is None else dataset)
    jobs = _jobs(model, task, data, bool(parameters))
    remade: set[str] = set()  # a fit that serves several tasks is forced once
    folders = []
    with BarProgress() as progress:
        for job in jobs:
            for seed in numbers:
                folder = execute.run(
                    ctx.obj,
                    data.name,
                    job.task,
                    job.runner,
                    parameters=parameters,
                    seed=seed,
                    limit=limit,
                    variant=variant,
                    force=force,
                    remade=remade,
                    resume=resume,
                    progress=progress,
                )
                out.print(str(folder), markup=False)
                folders.append(folder)
    _scores(folders)
    _how_to_see_more(ctx.obj, data.name, jobs, limit)


@dataclass(frozen=True)
class _Job:
    runner: str
    task: str


def parameters_of(pairs: list[str]) -> dict[str, str]:
    """A runner's parameters from `--set KEY=VALUE`.

    Raises:
        ConfigError: a pair is none, or a key stands twice.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise ConfigError(f"--set {pair} is not KEY=VALUE; write for example --set k1=1.2")
        if key in found:
            raise ConfigError(f"--set {key} is given twice; give it once")
        found[key] = value
    return found


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--seeds '{text}' are not whole numbers; write for example --seeds 1,2,3") from None
    if min(seeds) < 0:
        raise ConfigError(f"--seeds '{text}': a seed is 0 or more")
    return list(dict.fromkeys(seeds))


def newest(home: Home) -> str:
    """The dataset that was built last."""
    from unimp_bench.dataset import names
    from unimp_bench.provenance import MANIFEST

    built = {name: (home.dataset(name) / MANIFEST).stat().st_mtime for name in names(home)}
    if not built:
        raise ConfigError(
            f"no dataset in {home.root / 'data'}; run `unimp-bench build synthetic` first, or give --home"
        )
    newest = max(sorted(built), key=lambda name: built[name])
    err.print(f"dataset {newest} (the one built last; --dataset chooses another)", markup=False)
    return newest


def _jobs(models: str, tasks: str, data: Dataset, has_parameters: bool) -> list[_Job]:
    """Every pair of runner and task that was asked for and makes sense.

    A runner named itself must be able to do what it is asked; one that only a group brought is left out otherwise.
    """
    from unimp_bench.errors import UnknownNameError
    from unimp_bench.runners import registry
    from unimp_bench.tasks.spec import TASKS

    runners = registry.expand(",".join(_words("--model", models)))
    if has_parameters and len(runners) > 1:
        raise ConfigError(f"--set is for one runner, --model names {len(runners)}; run them one by one")
    named = set(_words("--model", models))
    wanted = list(TASKS) if tasks == "all" else _words("--task", tasks)
    for name in wanted:
        if name not in TASKS:
            raise UnknownNameError("task", name, [*TASKS, "all"])
    jobs = []
    for runner in runners:
        try:
            cls = registry.runner_class(runner)
        except ConfigError as error:
            if runner in named:
                raise
            err.print(f"leaving out {runner}: {error}", markup=False)
            continue
        if cls.reads_truth and data.truth is None and runner not in named:
            err.print(f"leaving out {runner}: {data.name} has no truth to read", markup=False)
            continue
        if tasks != "all" and runner in named and not cls.tasks & set(wanted):
            raise ConfigError(f"runner '{runner}' does not answer {tasks}; it answers {', '.join(sorted(cls.tasks))}")
        for name in wanted:
            if tasks != "all" and runner in named and name not in cls.tasks:
                err.print(f"leaving out {runner} on {name}: it does not answer that", markup=False)
        jobs += [
            _Job(runner, name)
            for name in wanted
            if name in cls.tasks and (name in data.tasks or (tasks != "all" and runner in named))
        ]
    if not jobs:
        raise ConfigError(f"nothing to run: none of {models} answers a task of {tasks} that {data.name} has")
    return jobs


def _words(option: str, text: str) -> list[str]:
    """Parts of a comma-separated list, each once, in order."""
    words = [part.strip() for part in text.split(",")]
    if not all(words):
        raise ConfigError(f"{option} '{text}' has an empty name; write for example {option} a,b")
    return list(dict.fromkeys(words))


def _scores(folders: list[Path]) -> None:
    """Say the first metric of each run, cohort by cohort, on stderr."""
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
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        err.print("  ".join([*cells, line[3]]), markup=False)


def _how_to_see_more(home: Home, dataset: str, jobs: list[_Job], limit: int | None) -> None:
    """Say how to see all scores, on stderr."""
    if limit is not None:
        err.print("runs with --limit do not enter the leaderboard; see metrics.json in each folder", markup=False)
        return
    tasks = {job.task for job in jobs}
    one = f" --task {next(iter(tasks))}" if len(tasks) == 1 else ""
    where = "" if str(home.root) == "." else f"--home {home.root} "
    err.print(f"intervals and all metrics: unimp-bench {where}leaderboard --dataset {dataset}{one}", markup=False)
