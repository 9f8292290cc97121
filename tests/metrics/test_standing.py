from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from unimp_bench.metrics.standing import holm, letters, order, tiers


def _separated(k: int, *pairs: tuple[int, int]) -> NDArray[np.bool_]:
    found = np.zeros((k, k), dtype=bool)
    for i, j in pairs:
        found[i, j] = found[j, i] = True
    return found


def test_holm_by_hand() -> None:
    p = np.array([[1, 0.01, 0.04], [0.01, 1, 0.03], [0.04, 0.03, 1]])
    # 0.01 x 3 = 0.03, 0.03 x 2 = 0.06, 0.04 x 1 = 0.04, which is not below the one before.
    assert holm(p).tolist() == [[1, 0.03, 0.06], [0.03, 1, 0.06], [0.06, 0.06, 1]]
    assert holm(np.ones((1, 1))).tolist() == [[1]]
    assert holm(np.array([[1, 0.9], [0.9, 1]]))[0, 1] == 0.9
    assert holm(np.full((4, 4), 0.5)).max() == 1


def test_best_first_whichever_way_is_better() -> None:
    assert order([1.0, 3.0, 2.0, 3.0], True) == [1, 3, 2, 0]
    assert order([1.0, 3.0, 2.0, 3.0], False) == [0, 2, 1, 3]


def test_a_tier_is_all_that_is_not_separated_from_its_best() -> None:
    assert tiers(_separated(0)) == []
    assert tiers(_separated(1)) == [1]
    assert tiers(_separated(3)) == [1, 1, 1]
    assert tiers(_separated(3, (0, 1), (0, 2), (1, 2))) == [1, 2, 3]
    assert tiers(_separated(4, (0, 2), (0, 3))) == [1, 1, 2, 2]
    # 1 and 2 are separated, but the tier's best is 0.
    assert tiers(_separated(3, (1, 2))) == [1, 1, 1]
    # A noisy system below a separated one opens no way back into a closed tier.
    assert tiers(_separated(3, (0, 1))) == [1, 2, 2]


def test_letters_by_hand() -> None:
    assert letters(_separated(0)) == []
    assert letters(_separated(2)) == ["a", "a"]
    assert letters(_separated(2, (0, 1))) == ["a", "b"]
    assert letters(_separated(3, (0, 2))) == ["a", "ab", "b"]
    assert letters(_separated(3, (1, 2))) == ["ab", "a", "b"]


@pytest.mark.parametrize("seed", range(5))
def test_systems_share_a_letter_exactly_if_they_are_not_separated(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.sort(rng.random(9))[::-1]
    apart = np.abs(values[:, None] - values) + rng.normal(0, 0.05, (9, 9)) > 0.3
    apart = np.triu(apart, 1) | np.triu(apart, 1).T
    shown = letters(apart)
    for i in range(9):
        for j in range(9):
            assert bool(set(shown[i]) & set(shown[j])) == (not apart[i, j])
    assert "a" in shown[0]


def test_sixty_systems_that_all_differ_have_sixty_letters() -> None:
    shown = letters(~np.eye(60, dtype=bool))
    assert len(set(shown)) == 60
    assert shown[:2] == ["a", "b"]
    assert shown[59] == "(60)"
