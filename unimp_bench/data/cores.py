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
    repeated = frame.select("user_id", "item_id").is_duplicated()
    if not repeated.any():
        return frame
    place = [pl.col("timestamp"), pl.col("sequence"), pl.col("source_row")]
    twins = frame.with_row_index("_row").filter(repeated)  # few: only they are sorted
    twins = twins.sort("user_id", "item_id", *place, "domain", nulls_last=False)
    stays = twins.unique(["user_id", "item_id"], keep="first" if policy == "first" else "last", maintain_order=True)
    goes = repeated.to_numpy().copy()
    goes[stays["_row"].to_numpy()] = False
    marked = frame.with_columns(pl.Series("_twin", goes))
    return drops.sift(marked, "duplicates", [("duplicate_user_item", pl.col("_twin"))]).drop("_twin")


def _codes(values: pl.Series) -> NDArray[np.int64]:
    return (values.rank("dense").cast(pl.Int64) - 1).to_numpy()


def core_mask(frame: pl.DataFrame, user: int, item: int) -> tuple[NDArray[np.bool_], int]:
    """Which rows `(rows,)` are in the largest subset where every user has `user` rows and every item `item` rows.

    Iterates to the fixed point, which does not depend on the order of removal. Returns the passes as well.
    """
    # Most rows of a whole dump go at once, and counting strings is cheaper than numbering them.
    often = frame.select((pl.len().over("user_id") >= user) & (pl.len().over("item_id") >= item)).to_series()
    rows = np.flatnonzero(often.to_numpy())
    users, items = np.zeros((2, frame.height), dtype=np.int64)
    users[rows], items[rows] = _codes(frame["user_id"].filter(often)), _codes(frame["item_id"].filter(often))
    passes = 0 if rows.size == frame.height else 1
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
