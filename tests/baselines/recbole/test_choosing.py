from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from unimp_baselines.recbole import choosing

SCORES = np.log(np.array([[4.0, 3, 2, 1], [1, 1, 1, 7]], dtype=np.float32))
ITEMS = pl.Series(["a", "b", "c", "d"])
EXAMPLES = pl.DataFrame(
    {"example_id": ["x", "y"], "candidates": [["b", "a", "new"], ["c", "d"]], "item_ids": [["a", "b"], ["d"]]}
)


def test_probabilities_are_a_softmax_over_the_catalogue() -> None:
    places = choosing.places(EXAMPLES, ITEMS)
    assert places.tolist() == [[1, 0, -1], [2, 3, -2]]
    found = choosing.probabilities(SCORES, places)
    np.testing.assert_allclose(found, [[0.3, 0.4, 0], [0.1, 0.7, np.nan]], rtol=1e-6)


def test_what_passes_is_chosen_and_else_the_best() -> None:
    probability = np.array([[0.3, 0.4, 0.0], [0.1, 0.2, np.nan], [0.2, 0.2, 0.1]])
    assert choosing.chosen(probability, 0.3).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert choosing.chosen(probability, np.inf).sum(1).tolist() == [1, 1, 1]


def test_macro_f1_by_hand() -> None:
    choice = np.array([[1, 1, 0], [1, 0, 0]], dtype=bool)
    right = np.array([[1, 0, 0], [0, 1, 0]], dtype=bool)
    assert choosing.macro_f1(choice, right) == pytest.approx((2 / 3 + 0) / 2)


def test_the_threshold_is_the_best_and_the_frame_uses_it() -> None:
    threshold = choosing.tuned([(EXAMPLES[:1], SCORES[:1]), (EXAMPLES[1:], SCORES[1:])], ITEMS)
    assert threshold == pytest.approx(0.3)
    chosen = choosing.frame(EXAMPLES, SCORES, ITEMS, threshold)
    assert chosen["item_ids"].to_list() == [["a", "b"], ["d"]]
    assert chosen["scores"].to_list() == [pytest.approx([0.4, 0.3]), pytest.approx([0.7])]
    assert choosing.frame(EXAMPLES, SCORES, ITEMS, None)["item_ids"].to_list() == [["a"], ["d"]]
