"""`unimp-bench leaderboard`: scores of all finished runs, table by table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unimp_bench.cli.console import WIDE, err, whole
from unimp_bench.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    import polars as pl
    from rich.console import Console
    from rich.table import Table

_SPARED = ("peak MB", "seconds", "seeds", "95 % interval")  # columns that go first where a terminal is too narrow


def leaderboard(
    ctx: typer.Context,
    dataset: Annotated[str | None, typer.Option(help="only this dataset")] = None,
    task: Annotated[str | None, typer.Option(help="only this task")] = None,
    cohort: Annotated[str | None, typer.Option(help="only in_domain, new_user or new_domain")] = None,
    metric: Annotated[str | None, typer.Option(help="show this metric, or `all` [default: each task's first]")] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="also write all rows and columns to a file")
    ] = None,
) -> None:
    """Print the leaderboard: each cohort of each task a table, best first, with 95 % bootstrap intervals.

    Runs with --limit are not in it; runs on an earlier build of a dataset are
    in the CSV file only. Runners marked * read the synthetic shop's truth:
    they are ceilings, not systems. "peak MB" is the highest memory of the
    whole process while the runner fitted and answered: libraries, and what
    runs before it in the same command left behind, are part of it.

    Example: unimp-bench leaderboard --task search --csv leaderboard.csv
    """
    import polars as pl

    from unimp_bench import results
    from unimp_bench.board import TABLE, current, rows, write_csv
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
        try:
            write_csv(board, csv)
        except OSError as error:
            raise ConfigError(f"cannot write {csv} ({error.strerror}); choose another --csv") from None
        results.rebuild(home)
        err.print(f"{board.height} rows in {csv}", markup=False)
    if board.height == 0:
        err.print("no finished run yet; `unimp-bench run --model floors` makes some", markup=False)
        return
    shown = current(home, board)
    if shown.height < board.height:
        err.print("runs on an earlier build of a dataset are left out; --csv has them", markup=False)
    if metric is None:
        first = {name: spec.metric for name, spec in TASKS.items()}
        shown = shown.filter(pl.col("metric") == pl.col("task").replace_strict(first, return_dtype=pl.String))
    elif metric != "all":
        shown = shown.filter(pl.col("metric") == metric)
        if shown.height == 0:
            has = board["metric"].unique(maintain_order=True).to_list()
            err.print(f"no row has the metric {metric}; there are {', '.join(has)}", markup=False)
    console = whole()
    for table in shown.partition_by(TABLE, maintain_order=True):
        console.print(_table(table, console), "")


def _table(rows: pl.DataFrame, console: Console) -> Table:
    """One table of the leaderboard, without the columns that say nothing and those that a terminal has no room for."""
    lines = [_cells(row, label) for row, label in zip(rows.iter_rows(named=True), _labels(rows), strict=True)]
    silent = {name for name in lines[0] if all(line[name] in ("", "0") for line in lines)}
    for count in range(len(_SPARED) + 1):
        columns = [name for name in lines[0] if name not in silent | set(_SPARED[:count])]
        table = _drawn(rows.row(0, named=True), columns, lines)
        if console.measure(table, options=console.options.update(max_width=WIDE)).maximum <= console.width:
            break
    return table


def _drawn(first: dict[str, Any], columns: list[str], lines: list[dict[str, str]]) -> Table:
    from rich import box
    from rich.table import Table

    from unimp_bench.metrics.spec import METRICS

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
    for name in columns:
        widest = max(len(name), *(len(line[name]) for line in lines))
        if name == "runner":
            table.add_column(name, overflow="fold", min_width=8)
        else:
            table.add_column(name, justify="right", no_wrap=True, min_width=widest)  # half a number is none
    for line in lines:
        table.add_row(*(line[name].replace("[", "\\[") for name in columns))
    return table


def _labels(rows: pl.DataFrame) -> list[str]:
    """What tells the rows apart: the runner, and the parameters that differ between rows of one runner."""
    given = [json.loads(text) for text in rows["parameters"]]
    labels = []
    for runner, mine, truth in zip(rows["runner"], given, rows["reads_truth"], strict=True):
        others = [one for one, name in zip(given, rows["runner"], strict=True) if name == runner]
        keys = [key for key in mine if any(key not in one or one[key] != mine[key] for one in others)]
        which = " " + ",".join(f"{key}={mine[key]}" for key in keys) if keys else ""
        labels.append(f"{runner}{which}{' *' if truth else ''}")
    return labels


def _cells(row: dict[str, Any], label: str) -> dict[str, str]:
    ends = "-" if row["low"] is None else f"{row['low']:.4f} – {row['high']:.4f}"  # noqa: RUF001
    return {
        "runner": label,
        row["metric"]: "-" if row["value"] is None else f"{row['value']:.4f}",
        "95 % interval": ends,
        "unanswered": f"{row['unanswered']:,}" if row["unanswered"] else "",
        "seeds": row["seeds"],
        "seconds": f"{row['seconds_fit'] + row['seconds_predict']:.1f}",
        "peak MB": f"{row['peak_megabytes']:,.0f}",
    }
