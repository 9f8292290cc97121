"""What is settled on validation: the scale of ratings, the threshold of selection."""

from __future__ import annotations

import numpy as np
import pytest

from unimp import decisions
from unimp.decisions import Decisions
from unimp.shop import Example


def _asked(candidates: tuple[int, ...], answer: tuple[int, ...]) -> Example:
    nothing = np.zeros(0, dtype=np.int64)
    return Example("e", "in_domain", nothing, np.zeros(0, np.float32), (), candidates=candidates, answer_items=answer)


def test_scale_is_least_squares() -> None:
    rng = np.random.default_rng(0)
    expected = rng.normal(3.5, 0.1, 200).astype(np.float32)
    true = (4 * expected - 10 + rng.normal(0, 0.3, 200)).astype(np.float32)
    found = decisions.scale(expected, true)
    slope, offset = np.polyfit(expected.astype(np.float64), true.astype(np.float64), 1)
    assert found == pytest.approx((offset, slope), rel=1e-6)


def test_a_falling_line_is_chance_and_the_mean_is_answered() -> None:
    expected = np.linspace(3, 4, 50, dtype=np.float32)
    found = decisions.scale(expected, 5 - expected)
    assert found == pytest.approx((float((5 - expected).mean()), 0.0))
    assert Decisions(found).ratings(expected) == pytest.approx(np.full(50, 1.5))


def test_a_constant_forecast_has_no_slope() -> None:
    assert decisions.scale(np.full(30, 3.7, np.float32), np.full(30, 4.0, np.float32)) == (4.0, 0.0)


def test_ratings_stay_between_one_and_five() -> None:
    scaled = Decisions((-10.0, 5.0)).ratings(np.array([1.0, 2.5, 4.0], dtype=np.float32))
    assert scaled.tolist() == [1.0, 2.5, 5.0]


def test_few_examples_settle_nothing() -> None:
    few = np.arange(decisions.LEAST - 1, dtype=np.float32)
    assert decisions.scale(few, few) is None
    assert decisions.threshold([few[:2]], [_asked((0, 1), (1,))]) is None
    assert Decisions().ratings(few) is few


def test_the_threshold_has_the_best_f1_of_all() -> None:
    rng = np.random.default_rng(1)
    examples, scores = [], []
    for _ in range(60):
        answer = tuple(sorted(rng.choice(5, 2, replace=False).tolist()))
        examples.append(_asked((0, 1, 2, 3, 4), answer))
        hit = np.isin(np.arange(5), answer)
        scores.append((rng.normal(0.3, 0.1, 5) + 0.25 * hit).astype(np.float32))

    def macro(at_least: float) -> float:
        found = []
        for own, example in zip(scores, examples, strict=True):
            places = set(decisions.taken(own, at_least))
            both = len(places & set(example.answer_items))
            found.append(2 * both / (len(places) + 2))
        return float(np.mean(found))

    best = decisions.threshold(scores, examples)
    assert best is not None
    level, reached = best
    assert reached == pytest.approx(macro(level))
    assert reached >= max(macro(t) for t in np.linspace(0, 1, 101)) - 0.01
    assert reached > macro(0.0) + 0.1  # better than taking everything


def test_scores_that_tell_nothing_take_everything() -> None:
    examples = [_asked((0, 1, 2), (0, 2)), _asked((0, 1, 2), (1, 2))] * 20
    best = decisions.threshold([np.full(3, 0.2, np.float32)] * 40, examples)
    assert best is not None
    assert decisions.taken(np.full(3, 0.2, np.float32), best[0]) == [0, 1, 2]


def test_chances_of_items_are_shares_of_the_candidates() -> None:
    ranked = np.log(np.array([[8.0, 1.0, 1.0, 2.0]], dtype=np.float32))
    (own,) = decisions.chances_of_items(ranked, [_asked((1, 3), (3,))])
    assert own == pytest.approx([1 / 3, 2 / 3], rel=1e-6)
    (none,) = decisions.chances_of_items(ranked, [_asked((), ())])
    assert len(none) == 0


def test_the_best_is_taken_where_none_reaches_the_threshold() -> None:
    assert decisions.taken(np.array([0.1, 0.4, 0.2], dtype=np.float32), 0.5) == [1]
    assert decisions.taken(np.zeros(0, dtype=np.float32), 0.5) == []


@pytest.mark.parametrize("settled", [Decisions(), Decisions((0.5, 1.25), 0.31, "items", {"search": 10.0})])
def test_facts_come_back(settled: Decisions) -> None:
    assert Decisions.of(settled.facts()) == settled


@pytest.mark.parametrize(
    ("gains", "best"),
    [
        ([[0.0] * 4, [1, 1, 0, 0], [1, 1, 1, 0]], 2),
        ([[0.0] * 4, [1, 1, 1, 0], [1, 1, 1, 0]], 1),  # of equals the first
        ([[0.0] * 4, [1, 0, 0, 0], [0, 0, 0, 0]], 0),  # a single hit is chance
        ([[1.0] * 4, [1, 1, 0, 0], [1, 1, 1, 0]], 0),
        ([[1.0, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1]], 1),
    ],
)
def test_a_weight_wants_a_gain_above_its_standard_error(gains: list[list[float]], best: int) -> None:
    assert decisions.best_weight(np.array(gains)) == best


def test_facts_of_before_there_were_neighbours_come_back_without() -> None:
    assert Decisions.of({"scale": None, "threshold": 0.5, "by": "items"}) == Decisions(None, 0.5, "items", {})
