from __future__ import annotations

import numpy as np
import pytest

from unimp_bench.metrics.bleu import corpus_shares
from unimp_bench.metrics.frechet import fid_shares
from unimp_bench.metrics.shares import credit, credit_of, ratio


def test_shares_of_a_ratio_have_it_as_mean() -> None:
    above, below = np.array([1.0, 0, 2]), np.array([2.0, 1, 3])
    assert ratio(above, below) == pytest.approx([0.5, 0.5 - 0.5 / 2, 0.5 + 0.5 / 2])
    assert ratio(above, below).mean() == pytest.approx(0.5)
    assert np.isnan(ratio(above, np.zeros(3))).all()


def test_credit_is_shared_by_all_who_name_a_thing() -> None:
    assert credit_of([["a", "b"], ["a", "a"], []]) == pytest.approx([1.5, 0.5, 0])
    assert credit(np.array([0, 0, 1]), np.array([5, 7, 5]), 3) == pytest.approx([1.5, 0.5, 0])
    assert credit_of([]).shape == (0,)


def slope(value, rows, i: int, step: float = 1e-5) -> float:  # type: ignore[no-untyped-def]
    """n times the derivative of a number in the weight of row i, numerically."""
    weights = np.ones(len(rows))
    weights[i] += step
    up = value(rows, weights)
    weights[i] -= 2 * step
    return len(rows) * (up - value(rows, weights)) / (2 * step)


def test_shares_of_corpus_bleu_are_its_derivatives() -> None:
    rng = np.random.default_rng(0)
    said, true = rng.integers(6, 12, 40), rng.integers(8, 14, 40)
    totals = np.stack([said - n for n in range(4)], axis=1)
    rows = np.concatenate([rng.binomial(totals, 0.4), totals, said[:, None], true[:, None]], axis=1)

    def value(rows: np.ndarray, weights: np.ndarray) -> float:
        sums = (rows * weights[:, None]).sum(axis=0)
        penalty = np.exp(min(0, 1 - sums[9] / sums[8]))
        return float(penalty * np.exp(np.log(sums[:4] / sums[4:8]).mean()))

    shares = corpus_shares(rows, 4)
    assert shares.mean() == pytest.approx(value(rows, np.ones(40)), abs=1e-12)
    assert said.sum() < true.sum()  # the brevity penalty is at work
    for i in (0, 7, 39):
        assert shares[i] - shares.mean() == pytest.approx(slope(value, rows, i), rel=1e-4, abs=1e-7)


def test_shares_of_fid_are_its_derivatives() -> None:
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 3)), rng.normal(0.4, 1.3, size=(200, 3)) @ rng.normal(size=(3, 3))

    def value(pairs: np.ndarray, weights: np.ndarray) -> float:
        means, covariances = [], []
        for points in (pairs[:, :3], pairs[:, 3:]):
            mean = weights @ points / weights.sum()
            centred = points - mean
            means.append(mean)
            covariances.append((centred * weights[:, None]).T @ centred / weights.sum() * 200 / 199)
        root = sqrtm(covariances[0] @ covariances[1]).real
        return float(np.sum((means[0] - means[1]) ** 2) + np.trace(covariances[0] + covariances[1] - 2 * root))

    pairs = np.concatenate([x, y], axis=1)
    shares = fid_shares(x, y)
    assert shares.mean() == pytest.approx(value(pairs, np.ones(200)), abs=1e-6)
    for i in (0, 50, 199):
        assert shares[i] - shares.mean() == pytest.approx(slope(value, pairs, i, 1e-3), rel=0.02, abs=1e-3)
