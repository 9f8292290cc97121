from __future__ import annotations

import numpy as np
import polars as pl

from tests.tasks.shop import interactions
from unimp_bench.tasks.histories import Chunk, lists, padded_lists, windows

ROWS = interactions(
    [("u", "a", "train"), ("u", "b", "withheld"), ("u", "c", "train"), ("v", "a", "train"), ("v", "b", "test")]
)


def test_windows_hold_the_last_eligible_rows_of_the_same_user() -> None:
    chunk = Chunk.of(ROWS, np.array([0, 1, 2, 0, 1]))
    rows, lengths = windows(chunk, chunk.labelled("train"), np.array([0, 2, 3, 4]), 5)
    assert lengths.tolist() == [0, 1, 0, 1]
    assert rows.tolist() == [0, 3]
    rows, lengths = windows(chunk, np.ones(5, dtype=bool), np.array([2, 4]), 1)
    assert (rows.tolist(), lengths.tolist()) == ([1, 3], [1, 1])


def test_a_chunk_knows_its_users_and_labels() -> None:
    chunk = Chunk.of(ROWS, np.array([0, 1, 2, 0, 1]))
    assert chunk.users == 2
    assert chunk.first.tolist() == [0, 3]
    assert chunk.may_show("train").tolist() == [True, False, True, True, False]
    assert chunk.may_show("test").tolist() == [True, True, True, True, False]


def test_columns_are_cut_into_lists() -> None:
    assert lists(pl.Series(["a", "b", "c"]), np.array([1, 0, 2])).to_list() == [["a"], [], ["b", "c"]]
    assert lists(pl.Series([], dtype=pl.String), np.array([0, 0])).to_list() == [[], []]
    table = np.array([[1, -1, 0], [-1, -1, -1]])
    assert padded_lists(pl.Series(["a", "b"]), table).to_list() == [["b", "a"], []]
