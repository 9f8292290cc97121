"""The heat map: every task's first metric of every system, by cohort and by the slices of each cohort."""

from __future__ import annotations

from typing import Any

import polars as pl

from unimp_bench import slices
from unimp_bench.dataset import CLEAN
from unimp_bench.places import Home
from unimp_bench.report.labels import Labels
from unimp_bench.report.values import plain
from unimp_bench.schemas import COHORTS
from unimp_bench.tasks.spec import TASKS


def heat(home: Home, board: pl.DataFrame, labels: Labels) -> list[dict[str, Any]]:
    """Blocks of one task, cohort ("" for the blocks that compare cohorts) and family of slices each.

    A block has `slices` with `n` examples each, `systems` with their value over the whole cohort in `means`, and
    `values` (systems, slices); a value that does not exist is null.

    Raises:
        IncompleteError: a run's scores cannot be read.
    """
    first = {name: spec.metric for name, spec in TASKS.items()}
    wanted = board.filter(
        pl.col("variant") == CLEAN, pl.col("metric") == pl.col("task").replace_strict(first, return_dtype=pl.String)
    )
    found = [
        _block(rows.with_columns(bucket=pl.col("cohort"), mean=pl.lit(None, dtype=pl.Float64)), labels, "cohort", "")
        for rows in wanted.partition_by("task", maintain_order=True)
    ]
    parts = slices.table(home, wanted).partition_by("task", "cohort", "by", maintain_order=True)
    return found + [_block(rows, labels, rows["by"][0], rows["cohort"][0]) for rows in parts]


def _block(rows: pl.DataFrame, labels: Labels, family: str, cohort: str) -> dict[str, Any]:
    """One block of rows with bucket, value, mean and n."""
    names = rows["bucket"].unique(maintain_order=True).to_list()
    if family == "cohort":
        names.sort(key=COHORTS.index)
    lines: dict[str, dict[str, float | None]] = {}
    means: dict[str, float | None] = {}
    sizes: dict[str, int] = {}
    for row in rows.iter_rows(named=True):
        label = labels.name(row["runner"], row["parameters_hash"])
        lines.setdefault(label, {})[row["bucket"]] = plain(row["value"])
        means.setdefault(label, plain(row["mean"]))
        sizes.setdefault(row["bucket"], row["n"])
    return {
        "task": rows["task"][0],
        "cohort": cohort,
        "family": family,
        "slices": names,
        "n": [sizes[name] for name in names],
        "systems": list(lines),
        "means": list(means.values()),
        "values": [[line.get(name) for name in names] for line in lines.values()],
    }
