"""`unimp-bench leaderboard`: scores of all finished runs, table by table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unimp_bench.cli.console import err, out
from unimp_bench.errors import UnknownNameError

_WIDE = 160  # characters, where no terminal says how many it has

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table


def leaderboard(
    ctx: typer.Context,
    dataset: Annotated[str | None, typer.Option(help="only this dataset")] = None,
    task: Annotated[str | None, typer.Option(help="only this task")] = None,
    cohort: Annotated[str | None, typer.Option(help="only in_domain, new_user or new_domain")] = None,
    metric: Annotated[str | None, typer.Option(help="show this metric, or `all` [default: each task's first]")] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="also write all rows and columns to a file")] = None,
) -> None:
    """Print the leaderboard: each cohort of each task a table, best first, with 95 % bootstrap intervals.

    Runs with --limit are not in it. Runners marked * read the synthetic shop's truth: they are ceilings, not systems.

    Example: unimp-bench leaderboard --task search --csv leaderboard.csv
    """
    import polars as pl

    from unimp_bench import results
    from unimp_bench.board import TABLE, rows, write_csv
    from unimp_bench.dataset import names
    from unimp_bench.metrics.spec import METRICS
    from unimp_bench.schemas import COHORTS
    from unimp_bench.tasks.spec import TASKS

    home = ctx.obj
    ran = {path.name for path in home.runs.glob("*") if path.is_dir()}
    known: tuple[tuple[str, str | None, set[str]], ...] = (
        ("dataset", dataset, set(names(home)) | ran),
        ("task", task, set(TASKS)),
        ("cohort", cohort, set(COHORTS)),
        ("metric", metric, {*METRICS, "all"}),
    )
    for kind, name, choices in known:
        if name is not None and name not in choices:
            raise UnknownNameError(kind, name, choices)
    board = rows(home, dataset, task)
    if cohort is not None:
        board = board.filter(pl.col("cohort") == cohort)
    if csv is not None:
        results.rebuild(home)
        write_csv(board, csv)
        err.print(f"{board.height} rows in {csv}", markup=False)
    if board.height == 0:
        err.print("no finished run yet; `unimp-bench run --model floors` makes some", markup=False)
        return
    shown = board
    if metric is None:
        first = {name: spec.metric for name, spec in TASKS.items()}
        shown = board.filter(pl.col("metric") == pl.col("task").replace_strict(first, return_dtype=pl.String))
    elif metric != "all":
        shown = board.filter(pl.col("metric") == metric)
    for table in shown.partition_by(TABLE, maintain_order=True):
        out.print(_table(table), "", width=None if out.is_terminal else _WIDE)


def _table(rows: pl.DataFrame) -> Table:
    """One table of the leaderboard for the terminal."""
    from rich import box
    from rich.table import Table

    from unimp_bench.metrics.spec import METRICS

    first = rows.row(0, named=True)
    better = "higher" if METRICS[first["metric"]].higher_is_better else "lower"
    variant = "" if first["variant"] == "clean" else f" · {first['variant']}"
    table = Table(
        title=f"{first['dataset']}{variant} · {first['task']} · {first['cohort']}",
        caption=f"n = {first['n']:,} · {better} is better · task version {first['task_version']} · "
        f"protocol {first['protocol']} · split {first['split_hash'][:8]}",
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
    )
    several = rows["runner"].is_duplicated().to_list()
    lines = [_cells(row, ambiguous) for row, ambiguous in zip(rows.iter_rows(named=True), several, strict=True)]
    names = ("runner", first["metric"], "95 % interval", "unanswered", "seeds", "seconds", "MB")
    # What says nothing about anybody leaves room: the table should fit 80 characters.
    shown = [k for k in range(len(names)) if any(line[k] not in ("", "0") for line in lines)]
    for k in shown:
        table.add_column(names[k], justify="right" if k else "left", no_wrap=True)
    for line in lines:
        table.add_row(*(line[k] for k in shown))
    return table


def _cells(row: dict[str, Any], ambiguous: bool) -> list[str]:
    mark = " *" if row["reads_truth"] else ""
    which = f" [{row['parameters_hash']}]" if ambiguous else ""
    ends = "-" if row["low"] is None else f"{row['low']:.4f} – {row['high']:.4f}"  # noqa: RUF001
    return [
        f"{row['runner']}{which}{mark}".replace("[", "\\["),
        "-" if row["value"] is None else f"{row['value']:.4f}",
        ends,
        f"{row['unanswered']:,}" if row["unanswered"] else "",
        row["seeds"],
        f"{row['seconds_fit'] + row['seconds_predict']:.1f}",
        f"{row['peak_megabytes']:,.0f}",
    ]
