"""Selection: a history and candidates in, the subset that the user took out. 1-3 positives among seeded negatives.

A user serves selection at most once a split. Where the protocol withheld rows before validation, those and the target
are the positives; half of such users serve validation and half test, so no withheld positive is asked for twice. A
user without training rows (a new user) gives their last 1-3 rows. Training draws its positives from training rows alone
and refuses only training rows as negatives, so it says nothing about later ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from unimp_bench.keyed import string_keys, uniform
from unimp_bench.tasks.candidates import Draw, Pools, shuffled
from unimp_bench.tasks.histories import Chunk, Indices, Mask, examples, padded_lists

MOST_POSITIVES = 3
_LEAST_HISTORY = {"train": 2, "valid": 5, "test": 5}  # rows that must remain when positives are drawn


@dataclass(frozen=True)
class _Users:
    """Per user `(users,)`: target rows of validation and test (-1: none), and whether there are training rows."""

    ids: pl.Series
    valid: Indices
    test: Indices
    trained: Mask

    @classmethod
    def of(cls, chunk: Chunk) -> _Users:
        return cls(
            chunk.frame["user_id"].gather(chunk.first),
            _first_row(chunk, "valid"),
            _first_row(chunk, "test"),
            np.bincount(chunk.user[chunk.labelled("train")], minlength=chunk.users) > 0,
        )

    def serve_test(self, seed: int) -> Mask:
        """Whether a user serves test and not validation: by their rows, and by a keyed half where they have both."""
        half = uniform(string_keys(self.ids, seed, "selection half")) < 0.5
        return (self.test >= 0) & (half | (self.valid < 0))


def _first_row(chunk: Chunk, split: str) -> Indices:
    rows = np.flatnonzero(chunk.labelled(split))
    found = np.full(chunk.users, -1, dtype=np.int64)
    found[chunk.user[rows[::-1]]] = rows[::-1]
    return found


def _drawn(users: pl.Series, length: Indices, split: str, seed: int) -> Indices:
    """How many positives `(users,)` users of `length` rows give: 1-3 evenly, as far as enough rows remain."""
    most = np.clip(length - _LEAST_HISTORY[split], 1, MOST_POSITIVES)
    draw = uniform(string_keys(users, seed, "selection positives", split))
    count: Indices = 1 + (draw * most).astype(np.int64)
    return count


def _train_positives(chunk: Chunk, seed: int) -> Indices:
    """Rows `(users, 3)`: the last training rows of users with at least three, -1 padded, latest first."""
    rows = np.flatnonzero(chunk.labelled("train"))
    count = np.bincount(chunk.user[rows], minlength=chunk.users)
    end = np.cumsum(count)
    wanted = _drawn(chunk.frame["user_id"].gather(chunk.first), count, "train", seed)
    wanted = np.where(count > _LEAST_HISTORY["train"], wanted, 0)
    back = np.arange(MOST_POSITIVES)[None, :]
    place = end[:, None] - 1 - back
    return np.where(back < wanted[:, None], rows[np.maximum(place, 0)] if len(rows) else -1, -1)


def _held_out_positives(chunk: Chunk, split: str, seed: int) -> Indices:
    """Rows `(users, 3)` of validation or test, -1 padded, the target first."""
    users = _Users.of(chunk)
    to_test = users.serve_test(seed)
    target = users.test if split == "test" else users.valid
    serves = (target >= 0) & (to_test == (split == "test"))
    table = np.full((chunk.users, MOST_POSITIVES), -1, dtype=np.int64)
    table[:, 0] = np.where(serves, target, -1)
    # Rows before validation, as long as they are withheld without a gap; or, of new users, the rows before the target.
    withheld = chunk.labelled("withheld")
    wanted = _drawn(users.ids, target - chunk.first + 1, split, seed)
    going = serves & ((users.valid >= 0) | ~users.trained)
    for back in range(1, MOST_POSITIVES):
        row = np.where(users.trained, users.valid, target) - back
        going &= (row >= chunk.first) & (users.trained | (back < wanted))
        going &= withheld[np.maximum(row, 0)]
        table[:, back] = np.where(going, row, -1)
    return table


def _known(chunk: Chunk, split: str) -> Mask:
    """Interactions `(rows,)` that negatives may avoid without telling what comes later."""
    if split == "train":
        return chunk.labelled("train")
    if split == "test":
        return np.ones(chunk.frame.height, dtype=bool)
    valid = _first_row(chunk, "valid")[chunk.user]
    return np.arange(chunk.frame.height) <= valid


def _distinct(items: Indices) -> Indices:
    """Rows of `items` `(examples, width)` without repeats, padding last."""
    items = items.copy()
    for column in range(1, items.shape[1]):
        repeat = (items[:, :column] == items[:, column : column + 1]).any(axis=1)
        items[repeat, column] = -1
    order = np.argsort(items < 0, axis=1, kind="stable")
    return np.take_along_axis(items, order, axis=1)


def build(
    chunk: Chunk, split: str, length: int, *, item_ids: pl.Series, pools: Pools, n_candidates: int, seed: int
) -> pl.DataFrame:
    """At most one example a user, with `candidates` in keyed order and the positives, in that order, as `item_ids`.

    `item_ids` are the ids of the catalogue's rows. There are fewer than `n_candidates` only where the catalogue holds
    no further admissible negative.
    """
    positive = _train_positives(chunk, seed) if split == "train" else _held_out_positives(chunk, split, seed)
    positive = positive[positive[:, 0] >= 0]
    eligible = chunk.may_show(split)
    eligible[positive[positive >= 0]] = False  # a positive never stands in its own history
    frame, targets = examples(chunk, eligible, positive[:, 0], length)
    positive = positive[np.isin(positive[:, 0], targets)]

    keys = string_keys(frame["example_id"], seed, "selection candidates")
    items = _distinct(np.where(positive >= 0, chunk.item[positive], -1))
    known = _known(chunk, split)
    seen = np.unique(chunk.user[known] * len(item_ids) + chunk.item[known])
    negative = Draw(pools, keys, items, chunk.user[targets], seen).negatives(n_candidates)
    # Who bought the whole side of a tiny catalogue has no negatives, and so no question.
    asked = (negative >= 0).any(axis=1)
    frame, keys, items, negative = frame.filter(pl.Series(asked)), keys[asked], items[asked], negative[asked]
    table = shuffled(keys, np.concatenate([items, negative], axis=1))
    is_positive = (table[:, :, None] == np.where(items >= 0, items, -2)[:, None, :]).any(axis=2)
    return frame.with_columns(
        padded_lists(item_ids, table).alias("candidates"),
        padded_lists(item_ids, np.where(is_positive, table, -1)).alias("item_ids"),
    )
