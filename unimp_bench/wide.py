"""One table a task and cohort with its main metrics side by side, as papers print them.

A system is a row, in the order of the task's first metric. Bold is what no test tells apart from the best of its column
(tier 1), so a column may have several; arrows say which way is better. Metrics that nobody has a value of are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from unimp_bench.board import LINE, TABLE
from unimp_bench.exports import LATEX_HEAD, labels, latex_table, markdown_table, title
from unimp_bench.metrics.spec import METRICS
from unimp_bench.tasks.spec import TASKS

HEADLINES: Mapping[str, tuple[str, ...]] = {
    "ranking": ("hr@5", "hr@10", "ndcg@5", "ndcg@10", "mrr@10", "coverage@10"),
    "rating": ("rmse", "mae"),
    "text": ("bleu1", "bleu4", "rouge_l", "meteor", "meteor_exact_stem", "bertscore", "distinct_2", "feature_match"),
    "selection": ("precision", "recall", "f1", "exact_match", "order_sensitivity"),
    "image": ("kid", "fid", "picture_similarity", "clip_image_image", "personalization_gain", "style_accuracy"),
}
_COHORT = tuple(name for name in TABLE if name not in ("metric", "metric_version"))


@dataclass(frozen=True)
class Cell:
    """A value as it is printed; `best` where it is of the first tier of its column."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Wide:
    """One table: `columns` are metrics with arrows, `rows` are (system, its cells)."""

    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


def wide(board: pl.DataFrame, *, whole: bool = False) -> list[Wide]:
    """The rows of a leaderboard as tables of several metrics.

    Args:
        board: rows of `board.rows`, some or all; of a metric its newest version is taken.
        whole: all metrics of the rows and not the main ones alone.
    """
    newest = board.filter(pl.col("metric_version") == pl.col("metric_version").max().over(*_COHORT, "metric"))
    tables = newest.partition_by(_COHORT, maintain_order=True)
    return [found for rows in tables if (found := _table(rows, whole)) is not None]


def _table(rows: pl.DataFrame, whole: bool) -> Wide | None:
    valued = rows.filter(pl.col("value").is_not_null())["metric"].unique().to_list()
    known = list(METRICS) if whole else HEADLINES[TASKS[rows["task"][0]].answer]
    metrics = [name for name in known if name in valued]
    if not metrics:
        return None
    systems = rows.unique(LINE, keep="first", maintain_order=True)
    cells = {(*_line(row), row["metric"]): _cell(row) for row in rows.iter_rows(named=True)}
    absent = Cell("-")
    lines = tuple(
        (label, tuple(cells.get((*_line(row), name), absent) for name in metrics))
        for label, row in zip(labels(systems), systems.iter_rows(named=True), strict=True)
    )
    first = rows.row(0, named=True)
    about = (
        f"n = {first['n']:,} · task version {first['task_version']} · protocol {first['protocol']} · "
        f"split {first['split_hash'][:8]} · bold: not told apart from the best"
    )
    return Wide(title(rows), about, tuple(f"{name} {_arrow(name)}" for name in metrics), lines)


def _line(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in LINE)


def _arrow(metric: str) -> str:
    return "↑" if METRICS[metric].higher_is_better else "↓"


def _cell(row: Mapping[str, Any]) -> Cell:
    if row["value"] is None:
        return Cell("-")
    spread = "" if row["deviation"] is None else f" ± {row['deviation']:.4f}"
    return Cell(f"{row['value']:.4f}{spread}", row["tier"] == 1)


def markdown_text(tables: Sequence[Wide]) -> str:
    """The tables in Markdown."""
    return "\n".join(markdown_table(*_parts(one)) for one in tables)


def latex_text(tables: Sequence[Wide]) -> str:
    """The tables in LaTeX."""
    return "\n".join([LATEX_HEAD, *(latex_table(*_parts(one)) for one in tables)])


def _parts(one: Wide) -> tuple[str, str, list[str], list[list[str]], set[tuple[int, int]]]:
    lines = [[label, *(cell.text for cell in cells)] for label, cells in one.rows]
    bold = {(y, x) for y, (_, cells) in enumerate(one.rows) for x, cell in enumerate(cells, 1) if cell.best}
    return one.title, one.caption, ["runner", *one.columns], lines, bold
