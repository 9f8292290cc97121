from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.features.known import catalogue
from unimp_bench.features.content import texts
from unimp_bench.features.tfidf import TfidfSvd, counted, vocabulary, weighted
from unimp_bench.runners.protocol import Context

TITLES = ["red car red", "Red doll", "blue car", "blue doll", None, "unique", "red-blue doll car"]


def test_weights_by_hand() -> None:
    counts = counted(["red car red", "Red doll", "doll"])
    words = vocabulary(counts, 3)
    assert words["word"].to_list() == ["doll", "red"]  # the car is of one item alone
    idf = np.log(4 / 3) + 1
    assert words["idf"].to_list() == pytest.approx([idf, idf])
    assert np.allclose(weighted(counts, words, 3).toarray(), [[0, 1], [0.5**0.5, 0.5**0.5], [1, 0]])


def test_weights_are_those_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.feature_extraction.text")
    found = list(texts(catalogue(TITLES).items))
    counts = counted(found)
    ours = weighted(counts, vocabulary(counts, len(found)), len(found)).toarray()
    theirs = sklearn.TfidfVectorizer(token_pattern=r"\w+", min_df=2, sublinear_tf=True).fit_transform(found).toarray()
    assert ours.shape == (7, 4)
    assert np.allclose(ours, theirs)


def test_items_that_share_words_are_near(tmp_path: Path) -> None:
    values, present = TfidfSvd().encode(catalogue(TITLES), Context(0, tmp_path))
    assert values.dtype == np.float32
    assert values.shape == (7, 4)
    assert present.tolist() == [True, True, True, True, False, False, True]
    assert np.allclose(np.linalg.norm(values[present], axis=1), 1)
    assert not values[~present].any()
    near = values @ values.T
    assert near[0, 2] > near[0, 3]  # a car and a car, a red car and a blue doll
    again, _ = TfidfSvd().encode(catalogue(TITLES), Context(5, tmp_path))
    assert np.array_equal(values, again)


def test_noise_is_seen_with_the_eyes_of_the_clean_catalogue(tmp_path: Path) -> None:
    from unimp_bench import tables
    from unimp_bench.schemas import ITEMS

    clean = catalogue(TITLES)
    tables.write(clean.items, tmp_path / "items.parquet", ITEMS)
    lost = pl.when(pl.col("item_index") > 0).then(pl.col("title"))
    noisy = replace(clean, items=clean.items.with_columns(lost.alias("title")), origin=tmp_path / "items.parquet")
    whole, _ = TfidfSvd().encode(clean, Context(0, tmp_path))
    values, present = TfidfSvd().encode(noisy, Context(0, tmp_path))
    assert not present[0]
    assert np.array_equal(values[1:], whole[1:])
    alone, _ = TfidfSvd().encode(replace(noisy, origin=None), Context(0, tmp_path))
    assert not np.array_equal(alone[1:], whole[1:])  # so the clean catalogue was asked
