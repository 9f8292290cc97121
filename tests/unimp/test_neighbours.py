"""Neighbours of items: counted by hand on three customers, and against plain loops on many."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from unimp import neighbours
from unimp.neighbours import DECAY, REACH, Neighbours
from unimp.shop import Log

ITEMS = 12


def log_of(*customers: list[int]) -> Log:
    offsets = np.cumsum([0, *map(len, customers)])
    item = np.array([item for own in customers for item in own], dtype=np.int64)
    nothing = np.full(len(item), -1)
    return Log(offsets, item, nothing.astype(np.float32), [None] * len(item), nothing, (), {})


def drawn(customers: int = 60) -> Log:
    rng = np.random.default_rng(3)
    return log_of(*[rng.integers(0, ITEMS, size=rng.integers(0, 40)).tolist() for _ in range(customers)])


def plainly(log: Log) -> np.ndarray:
    """Strengths `(items, items)`, by one loop over pairs of rows."""
    common = np.zeros((ITEMS, ITEMS))
    for user in range(log.users):
        for a, b in combinations(range(log.offsets[user], log.offsets[user + 1]), 2):
            one, two = log.item[a], log.item[b]
            if one != two and b - a <= REACH:
                common[one, two] += DECAY ** (b - a - 1)
                common[two, one] += DECAY ** (b - a - 1)
    bought = np.bincount(log.item, minlength=ITEMS)
    common = np.minimum(common, np.minimum(bought[:, None], bought))
    return common / (np.sqrt(np.outer(bought, bought)) + 1)


def test_three_customers_by_hand() -> None:
    found = Neighbours.of(log_of([0, 1, 2], [1, 0], [3]), ITEMS)
    strong = found.scores([np.array([item]) for item in range(4)])[:, :4]
    by_hand = [
        [0, 2 / 3, 0.9 / (2**0.5 + 1), 0],  # with 1 next to it twice, both bought twice; with 2 two steps away, once
        [2 / 3, 0, 1 / (2**0.5 + 1), 0],
        [0.9 / (2**0.5 + 1), 1 / (2**0.5 + 1), 0, 0],
        [0, 0, 0, 0],  # alone
    ]
    np.testing.assert_allclose(strong, by_hand, rtol=1e-6)


def test_all_pairs_are_counted_whatever_is_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    log = drawn()
    expected = plainly(log)
    one_each = [np.array([item]) for item in range(ITEMS)]
    np.testing.assert_allclose(Neighbours.of(log, ITEMS).scores(one_each), expected, rtol=1e-5)
    monkeypatch.setattr(neighbours, "BLOCK", 100)  # about one item's rows
    np.testing.assert_allclose(Neighbours.of(log, ITEMS).scores(one_each), expected, rtol=1e-5)


def test_the_last_purchase_counts_most_and_old_ones_not_at_all() -> None:
    log = drawn()
    strength, found = plainly(log), Neighbours.of(log, ITEMS)
    history = np.arange(30) % 7
    recent = history[::-1][:REACH]
    expected = sum(DECAY**ago * strength[item] for ago, item in enumerate(recent))
    np.testing.assert_allclose(found.scores([history])[0], expected, rtol=1e-5)
    np.testing.assert_allclose(found.scores([history], reach=2)[0], strength[recent[0]] + DECAY * strength[recent[1]])
    assert not found.scores([np.zeros(0, np.int64)]).any()


def test_the_strongest_neighbours_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    log = drawn()
    strength = plainly(log)
    monkeypatch.setattr(neighbours, "KEPT", 3)
    found = Neighbours.of(log, ITEMS).scores([np.array([item]) for item in range(ITEMS)])
    assert ((found > 0).sum(axis=1) == 3).all()
    for item in range(ITEMS):
        assert found[item].min(where=found[item] > 0, initial=9) >= np.sort(strength[item])[-3] - 1e-6


def test_one_customer_who_buys_both_again_and_again_is_not_more_than_certain() -> None:
    strong = Neighbours.of(log_of([0, 1] * 20), ITEMS).scores([np.array([0])])[0]
    assert strong[1] == pytest.approx(20 / 21)


@pytest.mark.parametrize("log", [log_of(), log_of([]), log_of([4], [4, 4])])
def test_a_log_without_pairs_has_no_neighbours(log: Log) -> None:
    found = Neighbours.of(log, ITEMS)
    assert not found.scores([np.arange(ITEMS)]).any()
    assert found.scores([]).shape == (0, ITEMS)


def test_they_come_back_as_they_were_kept() -> None:
    found = Neighbours.of(drawn(), ITEMS)
    again = Neighbours.from_tensors(found.tensors(), ITEMS)
    asked = [np.array([1, 5]), np.array([2])]
    np.testing.assert_array_equal(again.scores(asked), found.scores(asked))


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        ({"offsets": [0, 1]}, "offsets are not those of 12 items"),
        ({"offsets": [0] * 12 + [7]}, "offsets are not those of 12 items"),
        ({"offsets": [0, 3, *[2] * 10, 2]}, "offsets are not those of 12 items"),
        ({"item": [1, 12]}, "neighbours are not among 12 items"),
        ({"item": [1, -1]}, "neighbours are not among 12 items"),
        ({"strength": [0.5]}, "neighbours are not among 12 items"),
        ({"strength": [0.5, np.nan]}, "strengths are no numbers"),
        ({"item": [[1, 2]]}, "item is no row of torch.int32"),
        ({"offsets": 0}, "offsets is no row of torch.int64"),
    ],
)
def test_tensors_of_something_else_are_refused(spoilt: dict[str, Any], said: str) -> None:
    whole = {"offsets": [0] * 12 + [2], "item": [1, 2], "strength": [0.5, 0.25]}
    kinds = Neighbours.of(drawn(), ITEMS).tensors()

    def tensors(values: dict[str, Any]) -> dict[str, torch.Tensor]:
        return {name: torch.tensor(own, dtype=kinds[name].dtype) for name, own in values.items()}

    Neighbours.from_tensors(tensors(whole), ITEMS)
    with pytest.raises(ValueError, match=said):
        Neighbours.from_tensors(tensors(whole | spoilt), ITEMS)
    with pytest.raises(ValueError, match=r"strength is no row of torch\.float32"):
        Neighbours.from_tensors(tensors(whole) | {"strength": torch.zeros(2, dtype=torch.float64)}, ITEMS)
