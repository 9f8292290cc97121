"""`unimp-bench compare`: two runs of one task beside each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from unimp_bench.cli.columns import show
from unimp_bench.cli.console import err, out

if TYPE_CHECKING:
    from unimp_bench.comparing import Contrast


def compare(
    ctx: typer.Context,
    a: Annotated[str, typer.Argument(help="a run's folder, its id, a runner's name, or RUNNER@VARIANT")],
    b: Annotated[str, typer.Argument(help="the same of the other run")],
    dataset: Annotated[str | None, typer.Option(help="of which dataset, where runners are named")] = None,
    task: Annotated[str | None, typer.Option(help="of which task, where runners are named")] = None,
    metric: Annotated[str | None, typer.Option(help="by which users gain or lose (default: the task's first)")] = None,
    users: Annotated[int, typer.Option(min=0, help="users shown at either end")] = 5,
) -> None:
    """Compare run A with run B: configuration, data, each metric, and the users who gain or lose most.

    Differences are A minus B over the examples that both answered, with a 95 %
    paired bootstrap interval and the p-value of a paired permutation test, not
    corrected for the number of metrics. A named runner means its newest run,
    on clean items where there is one; RUNNER@VARIANT means that on a noise
    variant or a probe (`run --variant`), so that one runner can be compared
    with itself: what it gains by looking at the user's own history is bm25
    minus bm25@probe:other_history. `unimp-bench probe` does that for all.

    Example:
        unimp-bench compare bm25 popularity --task search
        unimp-bench compare bm25 bm25@probe:other_history --task search
    """
    from unimp_bench import comparing
    from unimp_bench.dataset import names
    from unimp_bench.errors import UnknownNameError
    from unimp_bench.tasks.spec import TASKS

    home = ctx.obj
    if task is not None and task not in TASKS:
        raise UnknownNameError("task", task, TASKS)
    ran = {path.name for path in home.runs.glob("*") if path.is_dir()}
    if dataset is not None and dataset not in ran:
        raise UnknownNameError("dataset", dataset, ran | set(names(home)))
    left, right = (comparing.find(home, text, dataset, task) for text in (a, b))
    found = comparing.contrast(left, right, metric=metric)
    for name, run in (("A", left), ("B", right)):
        seed = f" seed {run.request['seed']}" if run.request["seed"] else ""
        variant = f" ({run.request['variant']})" if run.request["variant"] != "clean" else ""
        asked = f"{run.request['runner']}{seed} on {run.request['task']}{variant}"
        err.print(f"{name}  {asked}: {run.folder}", markup=False)
    _differences(found)
    _metrics(found)
    _users(found, users)


def _differences(found: Contrast) -> None:
    lines = [("differs", "A", "B")]
    lines += [(f"configuration {name}", a, b) for name, a, b in found.configuration]
    lines += [(f"data {name}", a, b) for name, a, b in found.data]
    if len(lines) > 1:
        show(lines, widest=50)
    else:
        err.print("configuration and data are the same", markup=False)
    for name, alone in zip(("A", "B"), found.alone, strict=True):
        if alone:
            err.print(f"{alone:,} examples were asked of {name} only and are left out of differences", markup=False)


def _metrics(found: Contrast) -> None:
    lines: list[tuple[str, ...]] = [("metric", "cohort", "A", "B", "A - B", "low", "high", "p", "n", "note")]
    for row in found.rows:
        values = tuple("-" if value is None else f"{value:.4f}" for value in (row.a, row.b))
        gap = row.difference
        if gap is None:
            lines.append((row.metric, row.cohort, *values, "-", "-", "-", "-", "-", row.why_not))
            continue
        p = f"{gap.p:.4f}" if gap.p >= 0.0001 else f"{gap.p:.0e}"
        numbers = f"{gap.value:+.4f}", f"{gap.low:+.4f}", f"{gap.high:+.4f}", p, str(gap.n)
        lines.append((row.metric, row.cohort, *values, *numbers, ""))
    _gap()
    show(lines)


def _users(found: Contrast, most: int) -> None:
    frame = found.users
    if not most or not frame.height:
        return
    lines: list[tuple[str, ...]] = [(f"{found.metric} of A", "user", "cohort", "example", "A", "B", "gain")]
    gained = frame.filter(frame["gain"] > 0).head(most)
    lost = frame.filter(frame["gain"] < 0).tail(most).reverse()
    for word, part in (("gains", gained), ("loses", lost)):
        for row in part.iter_rows(named=True):
            numbers = f"{row['a']:.4f}", f"{row['b']:.4f}", f"{row['gain']:+.4f}"
            lines.append((word, row["user_id"], row["cohort"], row["example_id"], *numbers))
    _gap()
    show(lines)
    same = frame.filter(frame["gain"] == 0).height
    counts = [frame.filter(frame["gain"] > 0).height, frame.filter(frame["gain"] < 0).height, same]
    err.print(f"{counts[0]:,} users gain, {counts[1]:,} lose, {counts[2]:,} stay the same", markup=False)


def _gap() -> None:
    """An empty line between tables, in a pipe as on a terminal."""
    out.print("")
