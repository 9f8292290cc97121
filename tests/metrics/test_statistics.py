from __future__ import annotations

import time

import numpy as np
import pytest

from unimp_bench.metrics import statistics
from unimp_bench.metrics.statistics import Interval, interval


def test_no_value_gives_nulls_and_one_value_no_interval() -> None:
    assert interval(np.array([]), "mean", seed=0) == Interval(None, None, None, 0)
    assert interval(np.array([0.5]), "mean", seed=0) == Interval(0.5, None, None, 1)
    assert interval(np.array([np.nan]), "u_statistic", seed=0) == Interval(None, None, None, 1)


@pytest.mark.parametrize(("aggregate", "value"), [("mean", 4.0), ("root_mean", 2.0), ("u_statistic", 4.0)])
def test_aggregates(aggregate: statistics.Aggregate, value: float) -> None:
    found = interval(np.array([0.0, 4.0, 8.0]), aggregate, seed=0)
    assert found.value == value and found.n == 3
    assert found.low is not None and found.high is not None and found.low < value < found.high


@pytest.mark.parametrize("distinct", [True, False])
def test_agrees_with_theory_by_either_way_of_drawing(distinct: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "_FEW_VALUES", 10_000 if distinct else 0)
    values = np.random.default_rng(0).exponential(size=4000)
    found = interval(values, "mean", seed=1, resamples=4000)
    half = 1.96 * values.std() / 4000**0.5
    assert found.low == pytest.approx(values.mean() - half, abs=0.06 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.06 * half)


def test_blocks_do_not_change_the_number_of_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "_FEW_VALUES", 0)
    monkeypatch.setattr(statistics, "_BLOCK", 700)
    means = statistics._resampled_means(np.arange(300.0), 101, np.random.default_rng(0))
    assert len(means) == 101 and means.min() > 100 and means.max() < 200 and len(np.unique(means)) > 90


def test_the_root_is_taken_after_the_mean() -> None:
    squares = np.random.default_rng(0).integers(0, 5, 300).astype(float) ** 2
    mean, root = interval(squares, "mean", seed=4), interval(squares, "root_mean", seed=4)
    assert (root.value, root.low, root.high) == pytest.approx((mean.value**0.5, mean.low**0.5, mean.high**0.5))  # type: ignore[operator]


def test_a_u_statistic_has_twice_the_width_of_its_mean() -> None:
    shares = np.random.default_rng(0).normal(size=200)
    mean, twice = interval(shares, "mean", seed=4), interval(shares, "u_statistic", seed=4)
    assert twice.high - twice.low == pytest.approx(2 * (mean.high - mean.low))  # type: ignore[operator]


def test_order_does_not_matter_and_the_seed_does() -> None:
    for values in (np.random.default_rng(0).random(5000), np.random.default_rng(0).integers(0, 2, 5000) / 3):
        first = interval(values, "mean", seed=1)
        assert interval(np.random.default_rng(9).permutation(values), "mean", seed=1) == first
        assert interval(values, "mean", seed=2) != first


def test_equal_values_do_not_pass_for_certainty() -> None:
    assert interval(np.zeros(50), "mean", seed=0) == Interval(0.0, 0.0, 0.0, 50)
    found = interval(np.zeros(50), "mean", seed=0, bounds=(0, 1))
    # Clopper and Pearson: no success among 50 leaves room for 7.11 %.
    assert (found.low, found.high) == (0, pytest.approx(0.0711, abs=1e-4))
    best = interval(np.zeros(50), "root_mean", seed=0, bounds=(0, 16))
    assert best.high == pytest.approx((16 * 0.0711) ** 0.5, abs=1e-3)
    full = interval(np.ones(50), "mean", seed=0, bounds=(0, 1))
    assert (full.low, full.high) == (pytest.approx(1 - 0.0711, abs=1e-4), 1)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_about_95_of_100_intervals_hold_the_truth(rate: float) -> None:
    rng = np.random.default_rng(5)
    held = 0
    for sample in range(500):
        found = interval((rng.random(400) < rate).astype(float), "mean", seed=sample)
        assert found.low is not None and found.high is not None
        held += found.low <= rate <= found.high
    assert 0.925 <= held / 500 <= 0.975


def test_values_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of 3 values are not finite"):
        interval(np.array([0.0, np.nan, 1.0]), "mean", seed=0)


def test_many_values_take_seconds() -> None:
    start = time.perf_counter()
    found = interval(np.random.default_rng(0).random(200_000), "mean", seed=0)
    assert time.perf_counter() - start < 8  # 1 s on a quiet machine
    assert found.high - found.low == pytest.approx(2 * 1.96 * 12**-0.5 / 200_000**0.5, rel=0.15)  # type: ignore[operator]
