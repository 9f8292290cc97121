"""A chunk of whole users as arrays, and the window of earlier rows that an example may show.

Unusual: no row is visited in Python. A history is a run of consecutive *eligible* rows, so a prefix count of eligible
rows gives every window as (first, length), and one gather fills all lists of a chunk at once.

Shapes: rows = interactions of the chunk, users = users of the chunk, targets = examples being built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from unimp_bench.schemas import SPLITS

Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]

_MAY_SHOW = {"train": ("train",), "valid": ("train",), "test": ("train", "withheld", "valid")}


@dataclass(frozen=True)
class Chunk:
    """Interactions of whole users.

    `frame` has the columns of `schemas.SEALED_INTERACTIONS`, `query` and `image_id` of the row's item, and is sorted by
    position within each user, whose rows stand together. `item` is the row `(rows,)` of the item in the catalogue,
    `user` the number `(rows,)` of the user, `first` a user's first row `(users,)`, `split` indexes `SPLITS` `(rows,)`.
    """

    frame: pl.DataFrame
    item: Indices
    user: Indices
    first: Indices
    split: NDArray[np.int8]

    @classmethod
    def of(cls, frame: pl.DataFrame, item: Indices) -> Chunk:
        """Arrange a frame.

        Raises:
            ValueError: a user's rows are apart or out of order, or a split is unknown.
        """
        user = frame["user_id"].rle_id().cast(pl.Int64).to_numpy()
        first = np.flatnonzero(np.diff(user, prepend=-1))
        if len(first) != frame["user_id"].n_unique():
            raise ValueError("rows of one user must stand together")
        position = frame["position"].to_numpy()
        if np.any((np.diff(position) <= 0) & (np.diff(user) == 0)):
            raise ValueError("rows of a user must ascend by position")
        split = frame["split"].cast(pl.Enum(SPLITS)).to_physical().cast(pl.Int8).to_numpy()
        return cls(frame, item, user, first, split)

    @property
    def users(self) -> int:
        """How many users the chunk holds."""
        return len(self.first)

    def labelled(self, *splits: str) -> Mask:
        """Which rows `(rows,)` carry one of these labels."""
        return np.isin(self.split, [SPLITS.index(name) for name in splits])

    def may_show(self, split: str) -> Mask:
        """Which rows `(rows,)` may stand in a history of that split.

        Training and validation see training rows only, test also withheld rows and the validation row. Withheld rows
        are test answers of selection, and `fit` may read validation files. A user without training rows (a protocol
        that splits users) has withheld rows only; those are nobody's answer and make the validation history.
        """
        shown = self.labelled(*_MAY_SHOW[split])
        if split == "valid":
            trained = np.zeros(self.users, dtype=bool)
            trained[self.user[shown]] = True
            shown |= self.labelled("withheld") & ~trained[self.user]
        return shown


def lists(values: pl.Series, lengths: Indices) -> pl.Series:
    """A list column `(len(lengths),)` that cuts `values` `(sum(lengths),)` into consecutive pieces."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    if len(values) == 0:  # an empty Arrow array would lose its type
        return pl.Series(values.name, [[]] * len(lengths), dtype=pl.List(values.dtype))
    cut = pa.LargeListArray.from_arrays(pa.array(offsets), values.to_arrow())
    return pl.Series(values.name, cut, dtype=pl.List(values.dtype))


def padded_lists(values: pl.Series, table: Indices) -> pl.Series:
    """A list column `(rows,)` of `values[table]`, where `table` is `(rows, width)` and -1 means no entry."""
    used = table >= 0
    return lists(values.gather(table[used]), used.sum(axis=1))


def windows(chunk: Chunk, eligible: Mask, targets: Indices, length: int) -> tuple[Indices, Indices]:
    """The last `length` eligible rows of the same user before each target: (row numbers, how many for each target)."""
    rows = np.flatnonzero(eligible)
    before = np.concatenate([[0], np.cumsum(eligible)])  # eligible rows above row i of the chunk
    end = before[targets]
    begin = np.maximum(before[chunk.first[chunk.user[targets]]], end - length)
    lengths = end - begin
    starts = np.cumsum(lengths) - lengths
    picked = np.repeat(begin - starts, lengths) + np.arange(lengths.sum())
    return rows[picked], lengths


def examples(chunk: Chunk, eligible: Mask, targets: Indices, length: int) -> tuple[pl.DataFrame, Indices]:
    """What all tasks share of an example, for the targets that have a history; and those targets.

    Columns: example_id, user_id, position, cohort, history (oldest first, at most `length` entries). `position` counts
    the eligible rows before the target, not all rows: next to the history, the latter would tell how many rows were
    withheld, and that is how many positives a selection example has.
    """
    before = np.concatenate([[0], np.cumsum(eligible)])
    targets = targets[before[targets] > before[chunk.first[chunk.user[targets]]]]
    rows, lengths = windows(chunk, eligible, targets, length)
    entries = chunk.frame.select(pl.struct("item_id", "rating", "explanation").alias("history"))["history"]
    place = before[targets] - before[chunk.first[chunk.user[targets]]]
    frame = chunk.frame.select("user_id", "cohort")[targets]
    frame = frame.with_columns(pl.Series("position", place, dtype=pl.Int32))
    number = pl.col("position").cast(pl.String).str.zfill(6)
    return frame.select(
        pl.concat_str("user_id", number, separator=":").alias("example_id"),
        "user_id",
        "position",
        "cohort",
        lists(entries.gather(rows), lengths),
    ), targets


def examples_of(
    chunk: Chunk, split: str, length: int, needs: Sequence[str] = (), adds: Sequence[pl.Expr] = ()
) -> pl.DataFrame:
    """One example for each row of a split that has a history and no null among the columns `needs`.

    `adds` are expressions over the target's own row of `chunk.frame`: the question's parts and the answer.
    """
    whole = np.ones(chunk.frame.height, dtype=bool)
    for name in needs:
        whole &= chunk.frame[name].is_not_null().to_numpy()
    wanted = np.flatnonzero(chunk.labelled(split) & whole)
    frame, targets = examples(chunk, chunk.may_show(split), wanted, length)
    own = chunk.frame[targets].select(*adds) if adds else pl.DataFrame()
    return frame.hstack(own)


def only(column: str) -> pl.Expr:
    """The one-item answer list of a target row, as `item_ids`."""
    return pl.concat_list(column).alias("item_ids")
