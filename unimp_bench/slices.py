"""Where a system is good and where it fails: aggregates over parts of a cohort, derived from per-example scores.

Nothing here is stored: slices follow from `scores.parquet`, the dataset and the buckets below. A slice's interval
resamples the users of the whole cohort, the same for all systems, and takes the mean over those drawn that belong to
the slice. A worst slice is picked after looking, so it is a place to look and not a test.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_bench import paired
from unimp_bench.board import LINE, TABLE, run_folders
from unimp_bench.dataset import Dataset, names
from unimp_bench.errors import UnknownNameError
from unimp_bench.metrics.comparison import resampled_sums
from unimp_bench.metrics.spec import METRICS
from unimp_bench.metrics.statistics import range_of_equals
from unimp_bench.places import Home

DIMENSIONS = ("domain", "history", "popularity", "picture", "query")
COLUMNS: dict[str, type[pl.DataType]] = {
    "by": pl.String,
    "bucket": pl.String,
    "slice": pl.String,  # "<cohort>/<by>=<bucket>"
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "n": pl.Int64,
    "mean": pl.Float64,  # of the whole cohort
}
FEW = 30  # examples below which a slice is too small to be called the worst

_TAIL = 0.025
_COUNTS = (("0", 0), ("1-4", 1), ("5-19", 5), ("20-99", 20), ("100-999", 100), ("1000+", 1000))
_LENGTHS = (("0", 0), ("1-4", 1), ("5-9", 5), ("10-19", 10), ("20-49", 20), ("50+", 50))


def labels(data: Dataset, task: str) -> pl.DataFrame:
    """The slices of each test example: example_id, cohort and one column a dimension, null where it does not apply.

    domain: of the target. history: entries shown. popularity: train interactions of the target, of the rarest where
    there are several. picture: whether the target has one. query: train examples of the task with the same query.
    """
    examples = data.examples(task, "test").select(
        "example_id", "cohort", "query", "target_item_id", length=pl.col("history").list.len()
    )
    answers = data.sealed_answers(task).lazy().select("example_id", "item_ids")
    train = data.interactions().group_by("item_id").agg(count=pl.len())
    items = (data.catalogue().items.lazy().select("item_id", "domain", pictured=pl.col("image_id").is_not_null())).join(
        train, on="item_id", how="left"
    )
    targets = (
        examples.join(answers, on="example_id", how="left")
        .select(
            "example_id",
            item_id=pl.coalesce(pl.col("item_ids"), pl.concat_list("target_item_id")),
        )
        .explode("item_id", empty_as_null=True, keep_nulls=True)
        .join(items, on="item_id", how="inner")
        .group_by("example_id")
        .agg(pl.col("domain").min(), pl.col("count").fill_null(0).min(), pl.col("pictured").all())
    )
    asked = data.examples(task, "train").group_by("query").agg(asked=pl.len()).drop_nulls("query")
    return (
        examples.join(targets, on="example_id", how="left")
        .join(asked, on="query", how="left")
        .select(
            "example_id",
            "cohort",
            "domain",
            history=_bucket(pl.col("length"), _LENGTHS),
            popularity=_bucket(pl.col("count"), _COUNTS),
            picture=pl.when("pictured").then(pl.lit("yes")).when(~pl.col("pictured")).then(pl.lit("no")),
            query=pl.when(pl.col("query").is_not_null()).then(_bucket(pl.col("asked").fill_null(0), _COUNTS)),
        )
        .sort("example_id")
        .collect()
    )


def table(home: Home, board: pl.DataFrame, *, by: str | None = None) -> pl.DataFrame:
    """The slices of leaderboard rows: their columns of `board.TABLE` and `board.LINE`, and those of `COLUMNS`.

    Args:
        home: where data and runs stand.
        board: rows of `board.rows`, some or all. Rows of an earlier build of a dataset are left out, and so are metrics
            whose values depend on the whole cohort (KID): a part of theirs is not the metric of that part.
        by: only that dimension.

    Raises:
        UnknownNameError: there is no such dimension.
        IncompleteError: a run's scores cannot be read.
    """
    if by is not None and by not in DIMENSIONS:
        raise UnknownNameError("slice dimension", by, DIMENSIONS)
    wanted = DIMENSIONS if by is None else (by,)
    folders = run_folders(home)
    standing = {name: Dataset.open(home, name) for name in names(home)}
    known: dict[tuple[str, str], pl.DataFrame] = {}
    found = []
    for rows in board.filter(pl.col("value").is_not_null()).partition_by(TABLE, maintain_order=True):
        first = rows.row(0, named=True)
        spec, data = METRICS[first["metric"]], standing.get(first["dataset"])
        built = None if data is None else (data.manifest.id, data.data_hash)
        sliceable = spec.has_interval and not spec.by_cohort
        if data is None or not sliceable or built != (first["dataset_id"], first["data_hash"]):
            continue
        if (data.name, first["task"]) not in known:
            known[data.name, first["task"]] = labels(data, first["task"])
        systems = [folders[key] for key in rows.select(*TABLE, *LINE).iter_rows()]
        seeds = [[folder] for of_system in systems for folder in of_system]
        owners = np.repeat(np.arange(len(systems)), [len(of_system) for of_system in systems])
        values = paired.example_values(seeds, first["metric"], first["cohort"])
        ids = pl.DataFrame({"example_id": values.example_id})
        of_rows = ids.join(known[data.name, first["task"]], on="example_id", how="left", maintain_order="left")
        found.append(_sliced(rows, values.values, owners, of_rows, wanted))
    kinds = {name: board.schema[name] for name in (*TABLE, *LINE)}
    return pl.concat(found) if found else pl.DataFrame(schema={**kinds, **COLUMNS})


def worst(slices: pl.DataFrame, at_least: int = FEW) -> pl.DataFrame:
    """The worst slice of each leaderboard row among those of at least that many examples; the first of equals."""
    found = []
    for of_row in slices.filter(pl.col("n") >= at_least).partition_by(*TABLE, *LINE, maintain_order=True):
        higher = METRICS[of_row["metric"][0]].higher_is_better
        found.append(of_row.sort("value", descending=not higher, maintain_order=True).head(1))
    return pl.concat(found) if found else slices.clear()


def _bucket(count: pl.Expr, buckets: Sequence[tuple[str, int]]) -> pl.Expr:
    """Name of the bucket, each of which goes up to the next one's start; null for null."""
    return pl.coalesce(pl.when(count >= start).then(pl.lit(name)) for name, start in reversed(buckets))


def _sliced(
    rows: pl.DataFrame,
    values: NDArray[np.float64],
    owners: NDArray[np.intp],
    known: pl.DataFrame,
    wanted: Sequence[str],
) -> pl.DataFrame:
    """Slices of the rows of one table from their values `(examples, seeds)` and the examples' labels.

    `owners` names each seed's row. As on the leaderboard a row's value is the mean of its seeds' values.
    """
    first, keys = rows.row(0, named=True), rows.select(*TABLE, *LINE).rows()
    spec = METRICS[first["metric"]]
    power = 0.5 if spec.aggregate == "root_mean" else 1.0
    lines: list[tuple[Any, ...]] = []
    for by in wanted:
        buckets = _present(known[by], by)
        inside = [(known[by] == bucket).fill_null(False).to_numpy() for bucket in buckets]
        means = _resampled_means(values, inside)
        for system, (key, mean) in enumerate(zip(keys, rows["value"], strict=True)):
            for at, bucket in enumerate(buckets):
                own, resampled = values[inside[at]][:, owners == system], means[:, owners == system, at]
                value = float((own.mean(axis=0) ** power).mean())
                numbers = (value, *_ends(own, resampled, spec.bounds, power))
                lines.append((*key, by, bucket, f"{first['cohort']}/{by}={bucket}", *numbers, len(own), mean))
    kinds = {name: rows.schema[name] for name in (*TABLE, *LINE)}
    return pl.DataFrame(lines, schema={**kinds, **COLUMNS}, orient="row")


def _resampled_means(values: NDArray[np.float64], inside: Sequence[NDArray[np.bool_]]) -> NDArray[np.float64]:
    """Means `(resamples, systems, slices)` of values `(examples, systems)`; NaN where a slice has no user drawn."""
    n, systems = values.shape
    members = np.column_stack([np.zeros((n, 0)), *inside])
    masked = (values[:, :, None] * members[:, None, :]).reshape(n, -1)
    sums = resampled_sums(np.hstack([masked, members]))
    sizes = sums[:, None, masked.shape[1] :]
    totals = sums[:, : masked.shape[1]].reshape(len(sums), systems, len(inside))
    means: NDArray[np.float64] = np.divide(totals, sizes, out=np.full(totals.shape, np.nan), where=sizes > 0)
    return means


def _present(column: pl.Series, by: str) -> list[str]:
    """Buckets that occur, in their order."""
    occurring = set(column.drop_nulls().to_list())
    ordered = [name for name, _ in (_LENGTHS if by == "history" else _COUNTS)]
    return sorted(occurring, key=lambda name: (ordered.index(name) if name in ordered else 0, name))


def _ends(
    own: NDArray[np.float64], means: NDArray[np.float64], bounds: tuple[float, float] | None, power: float
) -> tuple[float | None, float | None]:
    """The interval of a slice's value from its resampled means `(resamples, seeds)`, NaN where no user was drawn."""
    if own.min() == own.max():
        ends = range_of_equals(float(own[0, 0]), len(own), _TAIL, bounds)
        return (ends[0] ** power, ends[1] ** power) if ends else (None, None)
    low, high = np.nanquantile((means**power).mean(axis=1), [_TAIL, 1 - _TAIL])
    return float(low), float(high)
