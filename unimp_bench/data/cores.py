"""Duplicates and the k-core filter."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_bench.data.drops import DropLog


def drop_duplicates(frame: pl.DataFrame, policy: str, drops: DropLog) -> pl.DataFrame:
    """One row a (user_id, item_id): the first or last by time, then by the source's order.

    `frame` has the columns of `schemas.RAW_ROWS`; the rows that stay keep their order.
    """
    place = [pl.col("timestamp"), pl.col("sequence"), pl.col("source_row")]
    ordered = frame.with_row_index("_row").sort("user_id", "item_id", *place, "domain", nulls_last=False)
    twin = ordered["user_id"].eq(ordered["user_id"].shift(1 if policy == "first" else -1)) & ordered["item_id"].eq(
        ordered["item_id"].shift(1 if policy == "first" else -1)
    )
    marked = ordered.with_columns(twin.fill_null(False).alias("_twin")).sort("_row").drop("_row")
    return drops.sift(marked, "duplicates", [("duplicate_user_item", pl.col("_twin"))]).drop("_twin")


def _codes(values: pl.Series) -> NDArray[np.int64]:
    return (values.rank("dense").cast(pl.Int64) - 1).to_numpy()


def core_mask(frame: pl.DataFrame, user: int, item: int) -> tuple[NDArray[np.bool_], int]:
    """Which rows `(rows,)` are in the largest subset where every user has `user` rows and every item `item` rows.

    Iterates to the fixed point, which does not depend on the order of removal. Returns the passes as well.
    """
    users, items = _codes(frame["user_id"]), _codes(frame["item_id"])
    rows = np.arange(frame.height)
    passes = 0
    while rows.size:
        passes += 1
        user_rows = np.bincount(users[rows])
        item_rows = np.bincount(items[rows])
        keep = (user_rows[users[rows]] >= user) & (item_rows[items[rows]] >= item)
        if keep.all():
            break
        rows = rows[keep]
    mask = np.zeros(frame.height, dtype=np.bool_)
    mask[rows] = True
    return mask, passes


def k_core(frame: pl.DataFrame, user: int, item: int) -> tuple[pl.DataFrame, int]:
    """The rows of the (user, item)-core, in their order, and the passes that it took."""
    mask, passes = core_mask(frame, user, item)
    return frame.filter(pl.Series(mask)), passes
