"""`unimp-bench reproduce`: a table of the paper beside measured values, or a run once more."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unimp_bench.cli.console import BarProgress, err, out

if TYPE_CHECKING:
    import polars as pl

    from unimp_bench.places import Home


def reproduce(
    ctx: typer.Context,
    what: Annotated[str, typer.Argument(help="table1 … table10, or a run's id or folder")],
    dataset: Annotated[str | None, typer.Option(help="a built dataset [default: the one built last]")] = None,
    budget: Annotated[
        str, typer.Option(help="shared as training time by what must still be run: 90s, 10min, 2h")
    ] = "10min",
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="also write the rows to a file")] = None,
) -> None:
    """Print a table of the UniMP paper beside what is measured here, or make a run again and say whether it matched.

    Printed figures come from other data and splits: compare orderings.
    Exit code 1 if a repeated run lies outside its interval.

    Example:
        unimp-bench reproduce table1 --dataset synthetic-small --budget 10min
        unimp-bench reproduce 5dea97bc67116a2c
    """
    if not what.startswith("table"):
        _again(ctx.obj, what)
        return
    from unimp_bench.cli.run import newest
    from unimp_bench.paper import reproduce as paper

    name = newest(ctx.obj) if dataset is None else dataset
    if what == "table5":
        rows, notes = paper.counts(ctx.obj, name), ["table 5 cannot come from filtering the public 5-core files"]
    else:
        with BarProgress() as progress:
            rows = paper.table(ctx.obj, name, what, budget_seconds=_seconds(budget), progress=progress)
        notes = paper.notes(what)
    if csv is not None:
        rows.write_csv(csv)
    _print(rows)
    for note in notes:
        err.print(f"note: {note}", markup=False)


def _seconds(text: str) -> float:
    from unimp_bench.budget import Budget
    from unimp_bench.errors import ConfigError

    budget = Budget.parse(f"{text}s" if text[-1:].isdigit() else text)
    if budget.seconds is None or budget.trials > 1:
        raise ConfigError(f"--budget '{text}' is no time; write for example 90s, 10min or 2h")
    return budget.seconds


def _print(rows: pl.DataFrame) -> None:
    """Tab-separated lines in a pipe, a table on a terminal."""
    cells = [["" if v is None else f"{v:.4f}" if isinstance(v, float) else str(v) for v in row] for row in rows.rows()]
    if not out.is_terminal:
        for line in (rows.columns, *cells):
            out.print("\t".join(line), markup=False)
        return
    from rich.table import Table
    from rich.text import Text

    grid = Table(*rows.columns, box=None)
    for line in cells:
        grid.add_row(*map(Text, line))
    out.print(grid)


def _again(home: Home, name: str) -> None:
    from unimp_bench.paper import reproduce as paper

    with tempfile.TemporaryDirectory(prefix="unimp-bench-") as scratch, BarProgress() as progress:
        found = paper.repeat(home, name, Path(scratch), progress)
    out.print(f"{found['run_id']}: {found['verdict']}", markup=False)
    for line in found["differences"]:
        out.print(
            f"  {line['metric']} {line['slice']}: {line['value']:.6f} ({line['low']:.6f} to {line['high']:.6f}), "
            f"again {line['again']:.6f}",
            markup=False,
        )
    if found["verdict"] == "outside the interval":
        raise typer.Exit(1)
