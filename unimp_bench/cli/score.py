"""`unimp-bench score`: anyone's predictions file against the sealed answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unimp_bench.cli.columns import show
from unimp_bench.cli.console import BarProgress, err

if TYPE_CHECKING:
    from unimp_bench.submissions.faults import FaultyFileError


def score(
    ctx: typer.Context,
    predictions: Annotated[Path, typer.Argument(help="Parquet, CSV or JSON lines, also .gz")],
    dataset: Annotated[str, typer.Option(help="a built dataset")],
    task: Annotated[str, typer.Option(help="the task that is answered")],
    name: Annotated[str | None, typer.Option(help="name on the leaderboard (default: the file's)")] = None,
    missing: Annotated[str, typer.Option(help="an example without an answer: error, or zero (unanswered)")] = "error",
    cohorts: Annotated[str | None, typer.Option(help="what the system answers for (default: all)")] = None,
    seed: Annotated[int, typer.Option(min=0, help="several seeds of one name become one row")] = 0,
    variant: Annotated[str, typer.Option(help="noise variant that the answers were made on")] = "clean",
    separator: Annotated[str | None, typer.Option(help="between items of a list in text (default: found)")] = None,
) -> None:
    """Score a predictions file of any system; it enters the leaderboard as `file:NAME`.

    The file has a column example_id and one of answers: item_ids (recommendation,
    search, selection; best first, as a list or as text like a|b|c), rating, text
    or image. An empty cell says: could not answer. Wrong rows are listed by kind
    with their number, from 1; nothing is scored then.

    Example: unimp-bench score mine.csv --dataset synthetic-small --task search
    """
    from unimp_bench import submissions
    from unimp_bench.submissions.faults import FaultyFileError

    with BarProgress() as progress:
        try:
            folder = submissions.score(
                ctx.obj,
                dataset,
                task,
                predictions,
                name=name,
                missing=missing,
                cohorts=[part.strip() for part in cohorts.split(",")] if cohorts is not None else None,
                seed=seed,
                variant=variant,
                separator=separator,
                progress=progress,
            )
        except FaultyFileError as error:
            _list_faults(error)
            raise
    metrics = json.loads((folder / "metrics.json").read_text())["metrics"]
    lines = [("metric", "cohort", "value", "low", "high", "n", "unanswered")]
    for row in metrics:
        numbers = ("-" if row[key] is None else f"{row[key]:.4f}" for key in ("value", "low", "high"))
        lines.append((row["metric"], row["slice"], *numbers, str(row["n"]), str(row["unanswered"])))
    show(lines)
    err.print(f"kept in {folder}", markup=False)


def _list_faults(error: FaultyFileError) -> None:
    """A few rows of every kind of fault, and how many there are."""
    from unimp_bench.submissions.faults import shown

    lines = [("fault", "row", "example", "detail")]
    lines += [
        (what, "-" if row is None else str(row), example, detail) for what, row, example, detail in shown(error.faults)
    ]
    show(lines, widest=60)
    hidden = sum(fault.rows.height for fault in error.faults) - (len(lines) - 1)
    if hidden:
        err.print(f"and {hidden:,} more", markup=False)
