from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import precision_recall_fscore_support

from unimp_bench.metrics import spec
from unimp_bench.metrics.pairs import MetricContext
from unimp_bench.metrics.selection import compute, order_sensitivity
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


def test_micro_sums_count_silence_as_wrong_choices() -> None:
    truth = sets({"u1": ["a", "b"], "u2": ["a"], "u3": ["a", "b", "c"]})
    said = sets({"u1": ["b", "a"], "u2": None, "u3": ["a", "x"]})
    found = compute(["micro_precision", "micro_recall", "micro_f1", "exact_match"], truth, said, CONTEXT)
    means = dict(found.group_by("metric").agg(pl.col("value").mean()).iter_rows())
    assert means["micro_precision"] == pytest.approx(3 / 5)  # 2 + 2 chosen, and 1 for the silence
    assert means["micro_recall"] == pytest.approx(3 / 6)
    assert means["micro_f1"] == pytest.approx(2 * 3 / (5 + 6))
    assert found.filter(metric="exact_match")["value"].to_list() == [1, 0, 0]


def test_micro_numbers_equal_scikit_learn_over_all_candidates_and_cohorts_stand_apart() -> None:
    rng = np.random.default_rng(1)
    names = np.array(list("abcde"))
    right, chosen = rng.random((200, 5)) < 0.4, rng.random((200, 5)) < 0.5
    right[~right.any(axis=1), 0] = chosen[~chosen.any(axis=1), 1] = True
    ids = [f"u{n:03d}" for n in range(200)]
    cohorts = ["new_user" if n % 3 else "in_domain" for n in range(200)]
    truth = sets({u: names[row].tolist() for u, row in zip(ids, right, strict=True)}).with_columns(
        cohort=pl.Series(cohorts)
    )
    said = sets({u: names[row].tolist() for u, row in zip(ids, chosen, strict=True)})
    found = compute(["micro_precision", "micro_recall", "micro_f1"], truth, said, CONTEXT)
    for cohort in ("new_user", "in_domain"):
        rows = np.array([c == cohort for c in cohorts])
        theirs = precision_recall_fscore_support(right[rows].ravel(), chosen[rows].ravel(), average="binary")[:3]
        for name, value in zip(("micro_precision", "micro_recall", "micro_f1"), theirs, strict=True):
            ours = found.filter(metric=name, cohort=cohort)["value"].mean()
            assert ours == pytest.approx(value, abs=1e-12)


def test_order_sensitivity_is_the_distance_of_two_choices() -> None:
    first = sets({"u1": ["a", "b"], "u2": ["a"], "u3": ["a", "b"], "u4": None, "u5": ["a"], "u6": []})
    second = sets({"u1": ["b", "a"], "u2": ["b"], "u3": ["a", "c"], "u4": None, "u6": ["a"]})
    found = order_sensitivity(first, second)
    assert found["example_id"].to_list() == ["u1", "u2", "u3", "u4", "u5", "u6"]
    assert found["value"].to_list() == pytest.approx([0, 1, 2 / 3, 0, None, 1])  # u5 was not asked again
    assert order_sensitivity(first, second.reverse()).equals(found)
    context = MetricContext(permuted=second)
    truth = sets({f"u{n}": ["a"] for n in range(1, 7)})
    suite = spec.score(["order_sensitivity"], truth, first, context)
    assert suite["value"].to_list() == found["value"].to_list()
    assert spec.score(["order_sensitivity"], truth, first, CONTEXT)["value"].null_count() == 6
