"""Is one system better than another, or does it look so? Paired tests and intervals from per-example scores.

Systems answer the same examples, so what is tested are differences within examples: rows of all matrices here are
examples in the order of their ids, columns are systems.

- `p_values`: the sign-flip permutation test (Fisher 1935). Under the null an example's two values could as well be
  swapped, so the sum of differences is compared with sums under random signs; for binary scores that is McNemar's exact
  test, sampled. Sampling resolves nothing below 1/flips, and Holm's correction of many pairs needs far smaller
  numbers. There the Gaussian tail of the same permutation distribution is taken (its variance is sum d_i^2, known
  exactly) with a continuity correction of half the smallest step: a little too large a p rather than too small.
- `difference`: bootstrap percentiles of the difference, both systems resampled together.
- KID ("u_statistic"): the sum of differences is compared with twice the flipped sums of *centred* differences, the
  Rademacher bootstrap of the projection that `statistics` describes. In simulations at n = 150 it called generators
  that are alike different in 4 of 100 samples, and in 1 of 100 where both draw from the real distribution.

Several seeds of one system are averaged within examples before they come here, so the sign-flip test speaks of these
fitted systems on other users. That of systems fitted anew is `with_seeds`: the seeds' own spread is added to that of
the users, and the larger of both p-values counts. Of a system with one seed no spread is known, so none is added.

Sums are exact: values are first rounded to multiples of 2^-28 of their largest, so that additions in float64 lose
nothing and the order in which a BLAS adds, hence the number of threads, cannot change a digit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist, fmean, stdev

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

Values = NDArray[np.float64]

TESTABLE: frozenset[str] = frozenset({"mean", "root_mean", "u_statistic"})

_BITS = 28  # of a rounded value; with 2^24 examples sums stay below 2^53
_BLOCK = 1 << 21  # entries of a resampling matrix held at a time: 16 MB
_RESOLVED = 10  # flips at least as extreme from which on their share is the p-value
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Difference:
    """Left minus right, on the scale of the aggregate (RMSE, not squares), with a 95 % interval.

    `p`: two-sided sign-flip permutation test, not corrected for other comparisons.
    `detectable`: smallest true difference that such a test at 5 % finds with a power of 80 %.
    """

    value: float
    low: float
    high: float
    p: float
    n: int
    detectable: float


@dataclass(frozen=True)
class Pooled:
    """One number of several seeds; `deviation` (n - 1 in the denominator) is None for one seed."""

    mean: float
    deviation: float | None
    n: int


def pool(values: Sequence[float]) -> Pooled:
    """Mean, deviation and number of the seeds' values.

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("no seed has a value to pool")
    return Pooled(fmean(values), stdev(values) if len(values) > 1 else None, len(values))


def _rounded(values: NDArray[np.floating]) -> Values:
    """Values `(n, systems)` as `(systems, n)`, each a multiple of one power of two.

    Raises:
        ValueError: a value is NaN or infinite, or there are too many to be summed exactly.
    """
    columns = np.ascontiguousarray(np.asarray(values, dtype=np.float64).T)
    if not np.isfinite(columns).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(columns))} of {columns.size} values are not finite")
    if columns.shape[1] > 1 << (52 - _BITS):
        raise ValueError(f"{columns.shape[1]:,} examples are more than can be summed exactly")
    largest = float(np.abs(columns).max(initial=0.0))
    step = math.ldexp(1.0, math.frexp(largest)[1] - _BITS) if largest else 1.0
    columns /= step
    np.rint(columns, out=columns)
    columns *= step
    return columns


def _flipped_sums(columns: Values, seed: int, flips: int) -> tuple[Values, Values]:
    """Sums `(flips, systems)` of the columns `(systems, n)` under random signs, and the sums of these signs."""
    k, n = columns.shape
    rng = np.random.default_rng([seed, n])
    sums, signs = np.empty((flips, k)), np.empty(flips)
    totals = columns.sum(axis=1)
    width, at_once = -(-n // 8), max(1, _BLOCK // n)
    for start in range(0, flips, at_once):
        rows = min(at_once, flips - start)
        packed = np.frombuffer(rng.bytes(rows * width), dtype=np.uint8).reshape(rows, width)
        plus = np.unpackbits(packed, axis=1, count=n).astype(np.float64)  # 1 where the sign is +
        sums[start : start + rows] = 2 * (plus @ columns.T) - totals
        signs[start : start + rows] = 2 * plus.sum(axis=1) - n
    return sums, signs


def p_values(values: NDArray[np.floating], aggregate: str, *, seed: int = 0, flips: int = 1000) -> NDArray[np.float64]:
    """Two-sided p-values `(systems, systems)` of all pairs, uncorrected; the diagonal is 1.

    Args:
        values: one per example and system, `(n, systems)`; for "root_mean" the squares.
        aggregate: how values become one number.
        seed: of the signs; all pairs share them.
        flips: number of sign patterns.

    Raises:
        ValueError: a value is not finite, or the aggregate has no test.
    """
    return p_values_of_many([(values, aggregate)], seed=seed, flips=flips)[0]


def p_values_of_many(
    tables: Sequence[tuple[NDArray[np.floating], str]], *, seed: int = 0, flips: int = 1000
) -> list[NDArray[np.float64]]:
    """As `p_values` for several metrics of equally many examples, with the signs drawn once for all."""
    for _, aggregate in tables:
        _testable(aggregate)
    rounded = [_rounded(values) for values, _ in tables]
    if not rounded or rounded[0].shape[1] < 2:
        return [np.ones((len(columns), len(columns))) for columns in rounded]
    sums, signs = _flipped_sums(np.concatenate(rounded), seed, flips)
    ends = np.cumsum([len(columns) for columns in rounded])[:-1]
    parts = np.split(sums, ends, axis=1)
    return [
        _of_pairs(columns, part, signs, aggregate)
        for columns, part, (_, aggregate) in zip(rounded, parts, tables, strict=True)
    ]


def _of_pairs(columns: Values, sums: Values, signs: Values, aggregate: str) -> Values:
    k, n = columns.shape
    found = np.ones((k, k))
    for i, j in combinations(range(k), 2):
        gap: Values = columns[i] - columns[j]
        total = float(gap.sum())
        flipped = sums[:, i] - sums[:, j]
        if aggregate == "u_statistic":
            mean = total / n
            flipped = 2 * (flipped - mean * signs)
            gap = 2 * (gap - mean)
        found[i, j] = found[j, i] = _p_value(abs(total), np.abs(flipped), np.abs(gap))
    return found


def _p_value(observed: float, flipped: Values, gaps: Values) -> float:
    """Share of flipped sums that are as extreme, or the tail beyond what they resolve; all arguments absolute."""
    extreme = int(np.count_nonzero(flipped >= observed))
    if extreme >= _RESOLVED:
        return (extreme + 1) / (len(flipped) + 1)
    differing = gaps[gaps > 0]
    if not len(differing):  # centred differences vanish: one system is better by the same in every example
        return 0.0
    # Sums change in steps of twice the smallest difference; half a step is what a smooth curve misses.
    z = (observed - float(differing.min())) / math.sqrt(float((differing**2).sum()))
    return math.erfc(z / math.sqrt(2))


def resampled_sums(columns: NDArray[np.floating], *, seed: int = 0, resamples: int = 1000) -> NDArray[np.float64]:
    """Sums `(resamples, k)` of the columns `(n, k)` over examples drawn with replacement, the same for all columns.

    Raises:
        ValueError: a value is not finite.
    """
    whole = _rounded(columns)
    k, n = whole.shape
    sums = np.zeros((resamples, k))
    rng = np.random.default_rng([seed, n])
    at_once = max(1, _BLOCK // max(n, 1))
    for start in range(0, resamples if n else 0, at_once):
        rows = min(at_once, resamples - start)
        drawn = rng.integers(0, n, size=(rows, n))
        drawn += np.arange(rows)[:, None] * n
        times = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)
        sums[start : start + rows] = times @ whole.T
    return sums


def difference(
    left: NDArray[np.floating],
    right: NDArray[np.floating],
    aggregate: str,
    *,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
) -> Difference:
    """Left minus right over the same examples, with interval, test and what could have been detected.

    Args:
        left: values per example `(n,)`; for "root_mean" the squares.
        right: the other system's, in the same order.
        aggregate: how values become one number.
        seed: of the resampling and of the signs.
        resamples: number of bootstrap samples and of sign patterns.
        level: coverage aimed at.

    Raises:
        ValueError: fewer than two examples, not the same number, a value is not finite, or the aggregate has no test.
    """
    _testable(aggregate)
    if len(left) != len(right) or len(left) < 2:
        raise ValueError(f"{len(left)} and {len(right)} values are no pairs; give two examples or more, in one order")
    both = np.column_stack([left, right]).astype(np.float64)
    n = len(both)
    means = resampled_sums(both, seed=seed, resamples=resamples) / n
    now = both.mean(axis=0)
    if aggregate == "root_mean":
        means, now = np.sqrt(means), np.sqrt(now)
    value = float(now[0] - now[1])
    gaps = means[:, 0] - means[:, 1]
    if aggregate == "u_statistic":
        gaps = value + 2 * (gaps - value)
    tail = (1 - level) / 2
    low, high = np.quantile(gaps, [tail, 1 - tail])
    p = float(p_values(both, aggregate, seed=seed, flips=resamples)[0, 1])
    return Difference(value, float(low), float(high), p, n, detectable(left, right, aggregate))


def detectable(
    left: NDArray[np.floating],
    right: NDArray[np.floating],
    aggregate: str,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
) -> float:
    """Smallest true difference between two systems that a paired two-sided test finds on examples like these.

    (z_{1 - alpha/2} + z_power) sd(d) / sqrt(n), with d the differences within examples (Cohen 1988, chapter 2); for
    "root_mean" carried to the root's scale by its slope.

    Raises:
        ValueError: fewer than two examples, or the aggregate has no test.
    """
    _testable(aggregate)
    if len(left) < 2:
        raise ValueError("one example has no spread; give two or more")
    return (_NORMAL.inv_cdf(1 - alpha / 2) + _NORMAL.inv_cdf(power)) * _standard_error(left, right, aggregate)


def _standard_error(left: NDArray[np.floating], right: NDArray[np.floating], aggregate: str) -> float:
    """Standard error of the difference of two aggregates over users, from paired values `(n,)`."""
    gaps = np.asarray(left, dtype=np.float64) - np.asarray(right, dtype=np.float64)
    error = float(gaps.std(ddof=1)) / math.sqrt(len(gaps))
    if aggregate == "u_statistic":
        return 2 * error
    if aggregate == "root_mean":
        slope = math.sqrt(float(np.mean(left))) + math.sqrt(float(np.mean(right)))
        return error / slope if slope else 0.0
    return error


def with_seeds(
    p: NDArray[np.float64], values: NDArray[np.floating], aggregate: str, pooled: Sequence[Pooled]
) -> NDArray[np.float64]:
    """P-values `(systems, systems)` that also allow for other seeds; pairs of one seed each stay as they are.

    Welch's t-test (1947) on the pooled aggregates: squared errors of users and of both systems' seeds add up, with
    Satterthwaite's degrees of freedom. A spread over seeds of these users holds what seeds and users do together, which
    the users' error holds too, so the sum is a little too large rather than too small.

    Args:
        p: of the sign-flip test.
        values: one per example and system, `(n, systems)`, seeds averaged within examples.
        aggregate: how values become one number.
        pooled: each system's aggregates over its seeds, each computed for itself: never one root over all seeds.
    """
    found = p.copy()
    n = len(values)
    for i, j in combinations(range(len(pooled)), 2):
        seeds = [one for one in (pooled[i], pooled[j]) if one.deviation]
        if not seeds or n < 2:
            continue
        of_users = _standard_error(values[:, i], values[:, j], aggregate) ** 2
        of_seeds = [(one.deviation or 0.0) ** 2 / one.n for one in seeds]
        total = of_users + sum(of_seeds)
        freedom = total**2 / (
            of_users**2 / (n - 1) + sum(part**2 / (one.n - 1) for part, one in zip(of_seeds, seeds, strict=True))
        )
        t = abs(pooled[i].mean - pooled[j].mean) / math.sqrt(total)
        found[i, j] = found[j, i] = max(found[i, j], 2 * float(stdtr(freedom, -t)))  # Student's lower tail
    return found


def _testable(aggregate: str) -> None:
    if aggregate not in TESTABLE:
        raise ValueError(f"no paired test is known for the aggregate {aggregate}")
