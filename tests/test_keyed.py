"""Draws by keyed hash."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from unimp_bench.keyed import index_of, mix, string_key, string_keys, uniform


def test_a_column_hashes_as_its_strings_do() -> None:
    keys = string_keys(pl.Series(["b", "a", "b"]), "salt", 1)
    assert keys.tolist() == [string_key(text, "salt", 1) for text in ("b", "a", "b")]


def test_keys_are_pinned_across_versions() -> None:
    assert string_key("B0001", "item_index") == 11079469237693728646


def test_salt_changes_every_key() -> None:
    ids = pl.Series([f"i{n}" for n in range(100)])
    assert not np.any(string_keys(ids, "x", 0) == string_keys(ids, "x", 1))


def test_uniform_is_uniform() -> None:
    draws = uniform(mix(string_keys(pl.Series([f"u{n}" for n in range(20_000)]), 0), 7))
    assert 0 <= draws.min() < draws.max() < 1
    assert draws.mean() == pytest.approx(0.5, abs=4 * 0.2887 / 20_000**0.5)


def test_mix_is_not_symmetric() -> None:
    a, b = np.array([1], np.uint64), np.array([2], np.uint64)
    assert mix(a, b) != mix(b, a)


def test_item_index_is_a_permutation_that_depends_on_ids_alone() -> None:
    ids = pl.Series([f"i{n}" for n in range(50)])
    index = index_of(ids)
    assert sorted(index.tolist()) == list(range(50))
    shuffled = ids.reverse()
    assert dict(zip(ids, index.tolist(), strict=True)) == dict(zip(shuffled, index_of(shuffled).tolist(), strict=True))
