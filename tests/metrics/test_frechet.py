from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from unimp_bench.metrics.frechet import fid_shares
from unimp_bench.metrics.spec import METRICS


def plain(x: np.ndarray, y: np.ndarray) -> float:
    """The formula as it is printed and as torchmetrics computes it."""
    of_x, of_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = sqrtm(of_x @ of_y).real
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(of_x + of_y - 2 * root))


def test_the_mean_of_shares_is_the_plain_formula() -> None:
    rng = np.random.default_rng(0)
    turn = rng.normal(size=(64, 64)) / 8
    x, y = rng.normal(size=(700, 64)), rng.normal(0.1, 1, size=(700, 64)) @ turn
    assert fid_shares(x, y).mean() == pytest.approx(plain(x, y), abs=1e-6)


def test_a_constant_picture_and_equal_sets() -> None:
    rng = np.random.default_rng(1)
    x, y = np.full((60, 4), 0.3), rng.normal(size=(60, 4))
    by_hand = ((0.3 - y.mean(0)) ** 2).sum() + np.trace(np.cov(y, rowvar=False))
    assert fid_shares(x, y).mean() == pytest.approx(by_hand, abs=1e-6)
    assert fid_shares(y, y[rng.permutation(60)]).mean() == pytest.approx(0, abs=1e-6)
    assert fid_shares(x, x).mean() == pytest.approx(0, abs=1e-6)


def test_too_few_examples_have_no_fid() -> None:
    x = np.random.default_rng(2).normal(size=(39, 4))
    assert np.isnan(fid_shares(x, x)).all()
    assert METRICS["fid"].least == 640


def test_the_interval_holds_the_fid_that_samples_of_this_size_have() -> None:
    rng = np.random.default_rng(3)
    samples = [fid_shares(rng.normal(size=(300, 4)), rng.normal(0.4, 1.2, (300, 4))) for _ in range(200)]
    truth = np.mean([shares.mean() for shares in samples])
    held = 0
    for shares in samples:
        found = METRICS["fid"].interval(shares, seed=0, resamples=400)
        assert found.low is not None and found.high is not None
        held += found.low <= truth <= found.high
    assert 0.89 <= held / 200 <= 0.99
