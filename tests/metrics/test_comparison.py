from __future__ import annotations

import math
import time
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from unimp_bench.metrics import comparison
from unimp_bench.metrics.comparison import (
    Pooled,
    detectable,
    difference,
    p_values,
    p_values_of_many,
    pool,
    resampled_sums,
)
from unimp_bench.metrics.image import kid_shares
from unimp_bench.metrics.standing import holm, tiers


def _exact(gaps: NDArray[np.float64]) -> float:
    """The sign-flip test over all 2^n sign patterns."""
    sums = [abs(sum(s * g for s, g in zip(signs, gaps, strict=True))) for signs in product((-1, 1), repeat=len(gaps))]
    return sum(total >= abs(gaps.sum()) - 1e-12 for total in sums) / len(sums)


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_all_sign_patterns(seed: int) -> None:
    gaps = np.random.default_rng(seed).normal(0.4, 1, 12)
    found = p_values(np.column_stack([gaps, np.zeros(12)]), "mean", flips=20_000)[0, 1]
    assert found == pytest.approx(_exact(gaps), rel=0.15, abs=0.003)


def test_beyond_what_flips_resolve_it_agrees_with_the_binomial_test() -> None:
    """Binary scores: 130 of 200 differing examples for one system is McNemar's exact test."""
    left = np.concatenate([np.ones(130), np.zeros(70), np.ones(500)])
    right = np.concatenate([np.zeros(130), np.ones(70), np.ones(500)])
    exact = 2 * sum(math.comb(200, k) for k in range(130, 201)) / 2**200
    assert exact < 1e-4
    assert p_values(np.column_stack([left, right]), "mean")[0, 1] == pytest.approx(exact, rel=0.2)


def test_where_few_examples_differ_p_errs_on_the_large_side() -> None:
    for m in (9, 12, 16, 30):
        values = np.zeros((1000, 2))
        values[:m, 0] = np.linspace(1, 1.2, m)
        exact = 2.0 ** (1 - m)  # all differences have one sign
        found = p_values(values, "mean")[0, 1]
        assert exact < found < 0.01
    assert p_values(np.zeros((5, 2)), "mean")[0, 1] == 1
    assert p_values(np.ones((1, 3)), "mean").tolist() == np.ones((3, 3)).tolist()


def test_alike_systems_are_called_different_in_5_of_100() -> None:
    rng = np.random.default_rng(3)
    false = 0
    for sample in range(500):
        values = rng.exponential(size=(60, 2)) ** 2
        false += p_values(values, "mean", seed=sample, flips=400)[0, 1] < 0.05
    assert 10 <= false <= 42  # 25 expected; 1 sample in 1,000 falls outside


def test_two_systems_that_differ_by_noise_share_a_tier() -> None:
    rng = np.random.default_rng(7)
    shared = 0
    for _ in range(40):
        easy = rng.beta(0.5, 4.5, 2000)  # chance of a hit differs by user, alike for both systems
        hits = (rng.random((2000, 2)) < easy[:, None]).astype(float)
        hits = hits[:, np.argsort(-hits.mean(axis=0))]
        shared += tiers(holm(p_values(hits, "mean")) < 0.05) == [1, 1]
    assert shared >= 34  # 38 expected


def test_a_planted_difference_of_one_hundredth_is_found() -> None:
    """HR 0.11 against 0.10 at n = 20,000, where a third of the hits is luck of each system's own."""
    found = 0
    for sample in range(40):
        rng = np.random.default_rng([11, sample])
        n = 20_000
        common, own = rng.random(n), rng.random((n, 2))
        lucky = rng.random(n) < 1 / 3
        rates = np.array([0.11, 0.10])
        hits = (np.where(lucky[:, None], own, common[:, None]) < rates).astype(float)
        assert detectable(hits[:, 0], hits[:, 1], "mean") < 0.01
        found += tiers(holm(p_values(hits, "mean", seed=sample, flips=300)) < 0.05) == [1, 2]
    assert found >= 38


@pytest.mark.parametrize("aggregate", ["mean", "root_mean"])
def test_about_95_of_100_intervals_hold_the_true_difference(aggregate: str) -> None:
    rng = np.random.default_rng(5)
    truth = 0.0 if aggregate == "root_mean" else 0.5
    held = 0
    for sample in range(500):
        common = rng.normal(size=300) ** 2
        left, right = common + rng.exponential(size=300), common + rng.exponential(size=300)
        left = left + truth
        found = difference(left, right, aggregate, seed=sample, resamples=300)
        held += found.low <= truth <= found.high
    # Binomial: 99.9 % of experiments with a coverage of 95 % lie within 459 and 490; percentiles fall a little short.
    assert 455 <= held <= 490


def test_root_mean_differences_are_on_the_scale_of_the_root() -> None:
    left, right = np.array([16.0, 4.0, 16.0, 0.0]), np.array([1.0, 1.0, 1.0, 1.0])
    found = difference(left, right, "root_mean")
    assert found.value == 3 - 1
    assert found.n == 4
    assert found.low < 2 < found.high
    assert found.p == difference(left, right, "mean").p


def test_a_u_statistic_is_tested_by_its_projection() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.normal(0.3, 1, 400), rng.normal(0, 1, 400)
    mean, twice = difference(left, right, "mean"), difference(left, right, "u_statistic")
    assert twice.value == mean.value
    assert twice.high - twice.low == pytest.approx(2 * (mean.high - mean.low))
    assert twice.p > 100 * mean.p
    assert twice.detectable == pytest.approx(2 * mean.detectable)


@pytest.mark.parametrize(("other", "least", "most"), [(0.3, 0, 11), (0.1, 85, 100)])
def test_kid_of_alike_and_of_unlike_generators(other: float, least: int, most: int) -> None:
    found = 0
    for sample in range(100):
        rng = np.random.default_rng([sample, 3])
        real, one, two = (rng.normal(mean, 1, (120, 8)) for mean in (0, 0.3, other))
        shares = np.column_stack([kid_shares(one, real), kid_shares(two, real)])
        found += p_values(shares, "u_statistic", seed=sample, flips=300)[0, 1] < 0.05
    assert least <= found <= most


def test_a_constant_lead_in_a_u_statistic_is_certain() -> None:
    assert p_values(np.column_stack([np.full(50, 0.75), np.full(50, 0.5)]), "u_statistic")[0, 1] == 0
    assert p_values(np.column_stack([np.full(50, 0.5), np.full(50, 0.5)]), "u_statistic")[0, 1] == 1


def test_what_is_detectable_is_detected_in_80_of_100() -> None:
    rng = np.random.default_rng(1)
    shown = 0
    for sample in range(300):
        gaps = rng.normal(0, 1, 200)
        step = (1.959964 + 0.841621) / 200**0.5
        if sample == 0:
            assert detectable(gaps, np.zeros(200), "mean") == pytest.approx(step * gaps.std(ddof=1))
        shown += p_values(np.column_stack([gaps + step, np.zeros(200)]), "mean", seed=sample, flips=400)[0, 1] < 0.05
    assert 215 <= shown <= 264


def test_all_columns_are_resampled_together() -> None:
    values = np.random.default_rng(0).random((500, 3))
    sums = resampled_sums(np.column_stack([values, values[:, 0] * 2]), resamples=2000)
    assert sums[:, 3] == pytest.approx(2 * sums[:, 0], rel=1e-8)
    assert sums.mean(axis=0)[:3] == pytest.approx(values.sum(axis=0), rel=0.01)
    assert sums.std(axis=0)[:3] == pytest.approx(values.std(axis=0) * 500**0.5, rel=0.06)
    assert resampled_sums(np.ones((4, 1)), resamples=3).tolist() == [[4], [4], [4]]


def test_blocks_and_company_change_no_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(997, 5))
    alone = p_values(values[:, :2], "mean")
    together = p_values_of_many([(values, "mean"), (values[:, :2], "mean"), (values, "u_statistic")])
    assert together[1].tolist() == alone.tolist()
    assert together[0][:2, :2].tolist() == pytest.approx(alone)
    assert together[2].tolist() == p_values(values, "u_statistic").tolist()
    reversed_ = p_values(values[:, ::-1], "mean")
    assert reversed_[::-1, ::-1].tolist() == together[0].tolist()
    assert p_values(values, "mean", seed=1).tolist() != together[0].tolist()


def test_sums_are_exact_so_that_no_order_of_addition_matters() -> None:
    values = np.random.default_rng(0).normal(size=(100_000, 2)) * 1e-3
    rounded = comparison._rounded(values)
    assert np.abs(rounded.T - values).max() <= np.abs(values).max() * 2**-28
    total = rounded[0].sum()
    assert total == rounded[0][::-1].sum() == math.fsum(rounded[0]) == np.cumsum(rounded[0])[-1]


def test_seeds_are_pooled() -> None:
    assert pool([0.5]) == Pooled(0.5, None, 1)
    assert pool([1.0, 2.0, 3.0]) == Pooled(2.0, 1.0, 3)
    with pytest.raises(ValueError, match="no seed has a value"):
        pool([])


def test_hostile_values_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of 4 values are not finite"):
        p_values(np.array([[0.0, 1.0], [np.nan, 1.0]]), "mean")
    with pytest.raises(ValueError, match="no paired test is known for the aggregate coverage"):
        p_values(np.ones((2, 2)), "coverage")
    with pytest.raises(ValueError, match="2 and 3 values are no pairs"):
        difference(np.ones(2), np.ones(3), "mean")
    with pytest.raises(ValueError, match="one example has no spread"):
        detectable(np.ones(1), np.ones(1), "mean")


def test_twenty_systems_take_seconds() -> None:
    values = np.random.default_rng(0).random((200_000, 20))
    start = time.perf_counter()
    p_values(values, "mean", flips=1000)
    assert time.perf_counter() - start < 15  # 1 s on a quiet machine


def test_seeds_are_allowed_for_as_welch_does() -> None:
    """Where users add next to nothing the p-value is that of Welch's test on the seeds' values."""
    rng = np.random.default_rng(0)
    seeds = rng.normal([0.50, 0.56], 0.02, (4, 2))
    values = np.tile(seeds.mean(axis=0), (50, 1)) + rng.normal(0, 1e-9, (50, 2))
    pooled = [comparison.pool(column.tolist()) for column in seeds.T]
    found = comparison.with_seeds(np.full((2, 2), 1e-9), values, "mean", pooled)
    welch = stats.ttest_ind(seeds[:, 0], seeds[:, 1], equal_var=False).pvalue
    assert found[0, 1] == found[1, 0] == pytest.approx(welch, rel=1e-3)


def test_one_seed_or_equal_seeds_leave_the_flips_alone() -> None:
    values = np.random.default_rng(1).random((40, 2))
    p = comparison.p_values(values, "mean")
    means = values.mean(axis=0)
    for deviation, n in ((None, 1), (0.0, 3)):
        pooled = [comparison.Pooled(float(mean), deviation, n) for mean in means]
        assert np.array_equal(comparison.with_seeds(p, values, "mean", pooled), p)
    wide = [comparison.Pooled(float(mean), 10.0, 3) for mean in means]
    assert comparison.with_seeds(p, values, "mean", wide)[0, 1] > 0.9
