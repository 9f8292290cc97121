"""`unimp-bench probe`: what a runner gains by pictures, words and the user's own history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from unimp_bench.cli.columns import show
from unimp_bench.cli.console import BarProgress, err
from unimp_bench.cli.run import newest, parameters_of
from unimp_bench.errors import UnknownNameError

if TYPE_CHECKING:
    from unimp_bench.probing import Gain


def probe(
    ctx: typer.Context,
    model: Annotated[str, typer.Option(help="one runner")],
    task: Annotated[str, typer.Option(help="one task")],
    dataset: Annotated[str | None, typer.Option(help="a built dataset [default: the one built last]")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="a runner's parameter")] = None,
    seed: Annotated[int, typer.Option(min=0, help="of the runner's randomness")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="ask N examples only")] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="PROBE", help="this probe only; repeated")] = None,
    metric: Annotated[str | None, typer.Option(help="of which metric, or `all` (default: the task's first)")] = None,
) -> None:
    """Show what a runner loses when a thing is taken away at test time; the fit stays the same.

    Probes: probe:blank_pictures, probe:swapped_pictures (another item's),
    probe:no_text (of items) and probe:other_history (another user's of the same
    cohort and like length). A gain is the clean run minus the probed one over the
    same examples, positive where the thing helps, with a 95 % paired bootstrap
    interval; p is of a paired permutation test, not corrected for the number of
    rows. All runs are kept like those of `run --variant probe:…`.

    Lists under probe:other_history leave out the items of both histories. With
    a few hundred items or less that alone raises the probed score by a little,
    so that the gain is too low rather than too high.

    Example: unimp-bench probe --model bm25 --task recommendation
    """
    from unimp_bench import probing
    from unimp_bench.scoring import suite
    from unimp_bench.tasks.spec import TASKS

    if task not in TASKS:
        raise UnknownNameError("task", task, TASKS)
    known = [*suite(task), "all"]
    if metric is not None and metric not in known:
        raise UnknownNameError("metric", metric, known)
    name = newest(ctx.obj) if dataset is None else dataset
    parameters = parameters_of(set_ or [])
    with BarProgress() as progress:
        found = probing.probe(
            ctx.obj,
            name,
            task,
            model,
            parameters=parameters,
            seed=seed,
            limit=limit,
            wanted=tuple(only or ()),
            progress=progress,
        )
    wanted = known if metric == "all" else [metric or TASKS[task].metric]
    _table([gain for gain in found if gain.metric in wanted])
    if all(gain.gain is None for gain in found if gain.metric in wanted):
        err.print("no gain of this metric can be tested here; --metric all shows the others", markup=False)


def _table(gains: list[Gain]) -> None:
    lines: list[tuple[str, ...]] = [
        ("probe", "metric", "cohort", "clean", "probed", "gain", "low", "high", "p", "n", "note")
    ]
    for row in gains:
        values = tuple("-" if value is None else f"{value:.4f}" for value in (row.clean, row.probed))
        if row.gain is None:
            lines.append((row.probe, row.metric, row.cohort, *values, "-", "-", "-", "-", "-", row.why_not))
            continue
        gap = row.gain
        p = f"{gap.p:.4f}" if gap.p >= 0.0001 else f"{gap.p:.0e}"
        numbers = f"{gap.value:+.4f}", f"{gap.low:+.4f}", f"{gap.high:+.4f}", p, str(gap.n)
        lines.append((row.probe, row.metric, row.cohort, *values, *numbers, ""))
    show(lines)
