"""The leaderboard on a terminal: one drawing a table, without what says nothing and what there is no room for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from unimp_bench.cli.console import WIDE

if TYPE_CHECKING:
    import polars as pl
    from rich.console import Console
    from rich.table import Table

    from unimp_bench.wide import Wide

_SPARED = ("peak MB", "seconds", "seeds", "95 % interval")  # columns that go first where a terminal is too narrow


def standings(rows: pl.DataFrame, console: Console) -> Table:
    """The rows of one table of the leaderboard."""
    from unimp_bench.exports import caption, labels, title

    lines = [_cells(row, label) for row, label in zip(rows.iter_rows(named=True), labels(rows), strict=True)]
    silent = {name for name in lines[0] if all(line[name] in ("", "0") for line in lines)}
    for count in range(len(_SPARED) + 1):
        columns = [name for name in lines[0] if name not in silent | set(_SPARED[:count])]
        table = _drawn(title(rows), caption(rows), columns, lines)
        if _fits(table, console):
            break
    return table


def worst_slices(rows: pl.DataFrame, worst: pl.DataFrame, console: Console) -> Table:
    """Mean and worst slice of the rows of one table, `worst` as by `slices.worst`."""
    from unimp_bench.exports import labels, title

    found = {key: row for row in worst.iter_rows(named=True) for key in [(row["runner"], row["parameters_hash"])]}
    lines = []
    for row, label in zip(rows.iter_rows(named=True), labels(rows), strict=True):
        least = found.get((row["runner"], row["parameters_hash"]))
        lines.append(
            {
                "runner": label,
                row["metric"]: _number(row["value"]),
                "worst": "-" if least is None else _number(least["value"]),
                "slice": "too few examples" if least is None else f"{least['by']}={least['bucket']}",
                "n": "" if least is None else f"{least['n']:,}",
                "95 % interval": "" if least is None else _interval(least),
            }
        )
    note = "the worst of many slices is worse by chance too: a place to look, not a test"
    table = _drawn(title(rows), note, list(lines[0]), lines)
    return table if _fits(table, console) else _drawn(title(rows), note, list(lines[0])[:-1], lines)


def by_bucket(rows: pl.DataFrame, slices: pl.DataFrame, console: Console) -> Table:
    """Mean and every bucket of one dimension for the rows of one table: a column a bucket, or lines where it is narrow.

    Args:
        rows: of one table of the leaderboard.
        slices: of the same table and one dimension, as by `slices.table`.
        console: that it is meant for.
    """
    from unimp_bench.exports import labels, title

    sizes = dict(slices.select("bucket", "n").unique(maintain_order=True).iter_rows())
    found = {
        (row["runner"], row["parameters_hash"], row["bucket"]): row["value"] for row in slices.iter_rows(named=True)
    }
    keys = list(rows.select("runner", "parameters_hash").iter_rows())
    lines = [
        {
            "runner": label,
            metric: _number(value),
            **{f"{bucket} (n = {n:,})": _number(found.get((*key, bucket))) for bucket, n in sizes.items()},
        }
        for key, label, metric, value in zip(keys, labels(rows), rows["metric"], rows["value"], strict=True)
    ]
    heading = f"{title(rows)} · by {slices['by'][0]}"
    wide = _drawn(heading, "", list(lines[0]), lines)
    if _fits(wide, console):
        return wide
    metric = rows["metric"][0]
    long = [
        {"runner": line["runner"] if at == 0 else "", "slice": name, metric: line[name]}
        for line in lines
        for at, name in enumerate(column for column in line if column != "runner")
    ]
    return _drawn(heading, "", ["runner", "slice", metric], long)


def side_by_side(one: Wide, console: Console) -> list[Table]:
    """A table of several metrics, in as many pieces as a narrow terminal needs; the first tier of a column is bold."""
    from rich.markup import escape

    lines = [
        {
            "runner": escape(label),
            **{
                name: f"[bold]{cell.text}[/bold]" if cell.best else cell.text
                for name, cell in zip(one.columns, cells, strict=True)
            },
        }
        for label, cells in one.rows
    ]
    pieces: list[Table] = []
    left = list(one.columns)
    while left:
        for count in range(len(left), 0, -1):
            table = _drawn(one.title, one.caption, ["runner", *left[:count]], lines, markup=True)
            if count == 1 or _fits(table, console):
                break
        pieces.append(table)
        left = left[count:]
    return pieces


def _fits(table: Table, console: Console) -> bool:
    return console.measure(table, options=console.options.update(max_width=WIDE)).maximum <= console.width


def _drawn(
    title: str, caption: str, columns: Sequence[str], lines: Sequence[dict[str, str]], *, markup: bool = False
) -> Table:
    """The drawing; with `markup` cells are escaped already and may have markup of ours."""
    from rich import box
    from rich.markup import escape, render
    from rich.table import Table

    table = Table(
        title=escape(title),
        caption=escape(caption),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
    )
    for name in columns:
        widest = max(len(name), *(len(render(line[name])) if markup else len(line[name]) for line in lines))
        if name == "runner":
            table.add_column(name, overflow="fold", min_width=8)
        elif name == "slice":
            table.add_column(name, overflow="fold", min_width=12)
        else:
            table.add_column(escape(name), justify="right", no_wrap=True, min_width=widest)  # half a number is none
    for line in lines:
        table.add_row(*(line[name] if markup else escape(line[name]) for name in columns))
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _interval(row: dict[str, Any]) -> str:
    from unimp_bench.exports import interval

    return interval(row)


def _cells(row: dict[str, Any], label: str) -> dict[str, str]:
    return {
        "runner": label,
        row["metric"]: _number(row["value"]),
        "95 % interval": _interval(row),
        "tier": "" if row["tier"] is None else str(row["tier"]),
        "unanswered": f"{row['unanswered']:,}" if row["unanswered"] else "",
        "seeds": row["seeds"],
        "seconds": f"{row['seconds_fit'] + row['seconds_predict']:.1f}",
        "peak MB": f"{row['peak_megabytes']:,.0f}",
    }
