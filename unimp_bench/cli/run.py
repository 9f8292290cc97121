"""`unimp-bench run`: runners on tasks, each into a run folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unimp_bench.cli.console import BarProgress, err, out
from unimp_bench.errors import ConfigError, concerns_all

if TYPE_CHECKING:
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
    budget: Annotated[
        str | None, typer.Option(help="what learning may take, for every runner alike: 4min, 20trials, 4min,20trials")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="fit, predict and score again")] = False,
    resume: Annotated[bool, typer.Option(help="go on with the parts of a killed run")] = True,
) -> None:
    """Fit runners, let them answer the test examples, and score the answers.

    Folders go to stdout, scores to stderr. What was run before is found and
    not run again; a killed run goes on. Of several runs one that fails does not
    stop the others: it is one line, and the exit code is 1.

    --budget 4min bounds the training of each fit; 20trials fits as many settings
    and keeps the one that is best on validation; with both, trials share the time
    equally. Runners with nothing to search have one trial, which is recorded;
    those that cannot keep to a time (unimp) are left out of groups.

    Example:
        unimp-bench run --model floors,bm25 --task search
        unimp-bench run --model all --budget 4min
        unimp-bench run --model bm25 --set k1=1.2 --set b=0.6 --seeds 1,2,3
    """
    from unimp_bench import execute
    from unimp_bench.budget import Budget
    from unimp_bench.cli import run_told
    from unimp_bench.cli.run_jobs import jobs_of
    from unimp_bench.dataset import Dataset

    parameters = parameters_of(set_ or [])
    numbers = _seeds(seeds)
    spending = None if budget is None else Budget.parse(budget)
    data = Dataset.open(ctx.obj, newest(ctx.obj) if dataset is None else dataset)
    jobs = jobs_of(model, task, data, parameters, spending)
    wanted = [(job, seed) for job in jobs for seed in numbers]
    remade: set[str] = set()  # a fit that serves several tasks is forced once
    folders: list[Path] = []
    failed: list[run_told.Failure] = []
    with BarProgress() as progress:
        for job, seed in wanted:
            try:
                folder = execute.run(
                    ctx.obj,
                    data.name,
                    job.task,
                    job.runner,
                    parameters=parameters,
                    seed=seed,
                    limit=limit,
                    variant=variant,
                    budget=spending,
                    force=force,
                    remade=remade,
                    resume=resume,
                    progress=progress,
                )
            except Exception as error:  # of whatever kind: one system's fault is not the others'
                if len(wanted) == 1 or concerns_all(error):
                    raise
                progress.finish()
                failed.append(run_told.Failure.of(job, seed, error))
                err.print(f"failed: {failed[-1].name}: {failed[-1].why}", markup=False, style="red")
                continue
            out.print(str(folder), markup=False)
            folders.append(folder)
    if folders:
        run_told.scores(folders)
        if len({job.runner for job in jobs}) > 1 or spending is not None:
            run_told.seconds(ctx.obj, folders)
        run_told.how_to_see_more(ctx.obj, data.name, jobs, limit)
    if failed:
        run_told.failures(failed, len(wanted))
        raise typer.Exit(1)


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
