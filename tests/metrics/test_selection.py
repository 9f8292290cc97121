from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import precision_recall_fscore_support

from unimp_bench.metrics import spec
from unimp_bench.metrics.pairs import MetricContext
from unimp_bench.metrics.selection import compute
from unimp_bench.schemas import STRINGS

CONTEXT = MetricContext()
NAMES = ["precision", "recall", "f1"]


def sets(rows: dict[str, list[str] | None]) -> pl.DataFrame:
    return pl.DataFrame({"example_id": list(rows), "item_ids": pl.Series(list(rows.values()), dtype=STRINGS)})


def test_precision_recall_and_f1_of_each_user() -> None:
    truth = sets({"u1": ["a", "b"], "u2": ["a"], "u3": ["a", "b", "c"]})
    said = sets({"u1": ["b", "a"], "u2": ["b"], "u3": ["a", "x"]})
    found = compute(NAMES, truth, said, CONTEXT)
    assert found.filter(metric="precision")["value"].to_list() == [1, 0, 0.5]
    assert found.filter(metric="recall")["value"].to_list() == pytest.approx([1, 0, 1 / 3])
    assert found.filter(metric="f1")["value"].to_list() == pytest.approx([1, 0, 0.4])


def test_choices_are_a_set_and_silence_scores_zero() -> None:
    truth = sets({"u1": ["a"], "u2": ["a"], "u3": ["a"], "u4": ["a"]})
    said = sets({"u1": ["a", "a", "b"], "u2": [], "u3": None})
    found = compute(NAMES, truth, said, CONTEXT)
    assert found.filter(metric="f1")["value"].to_list() == pytest.approx([2 / 3, 0, 0, 0])
    assert found.filter(metric="precision")["value"].to_list() == [0.5, 0, 0, 0]


def test_equal_to_scikit_learn_user_by_user() -> None:
    rng = np.random.default_rng(0)
    names = np.array(list("abcde"))
    right, chosen = rng.random((300, 5)) < 0.4, rng.random((300, 5)) < 0.5
    right[~right.any(axis=1), 0] = True  # an example has at least one positive
    ids = [f"u{n:03d}" for n in range(300)]

    def frame(marks: np.ndarray) -> pl.DataFrame:
        return sets({u: names[row].tolist() for u, row in zip(ids, marks, strict=True)})

    found = spec.score(NAMES, frame(right), frame(chosen), CONTEXT)
    theirs = [
        precision_recall_fscore_support(r, c, average="binary", zero_division=0)[:3]
        for r, c in zip(right, chosen, strict=True)
    ]
    for column, name in enumerate(NAMES):
        np.testing.assert_allclose(found.filter(metric=name)["value"], [row[column] for row in theirs])
