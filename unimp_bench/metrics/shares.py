"""Numbers of a whole set of answers as one share an example, so that they too are means of stored values.

A number T of a set is stored as shares c_i whose mean over the cohort is T exactly.

- Smooth T (a ratio of sums, corpus BLEU, FID): c_i = T + d_i, d_i the influence of example i: n times the derivative
  of T in the weight of i. The d_i sum to 0 and the spread of the c_i is that of the delta method (the infinitesimal
  jackknife: Jaeckel 1972; Efron 1982, chapter 6), so the bootstrap of their mean is an interval for T.
- Counts of different things (coverage, distinct-n): each thing's credit of 1 is shared evenly by the examples that name
  it. Such a count is no mean of independent values: a resample repeats examples and can only lose things. It therefore
  has no interval, nor a test (`has_interval` of its spec).

Shares depend on the whole cohort: cohorts are computed apart and never pooled.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from unimp_bench.metrics.pairs import Values


def ratio(above: Values, below: Values) -> Values:
    """Shares `(n,)` of sum(above) / sum(below): T + (a_i - T b_i) / mean(b). NaN where everything below is 0."""
    total = below.sum()
    if total == 0:
        return np.full(len(below), np.nan)
    value = above.sum() / total
    shares: Values = value + (above - value * below) * (len(below) / total)
    return shares


def credit(example: NDArray[np.integer], thing: NDArray[np.integer], n: int) -> Values:
    """Credits `(n,)` for things named, from pairs (example, thing) without repeats; they sum to the number of things.

    `thing` are small non-negative numbers.
    """
    if not len(thing):
        return np.zeros(n)
    among = np.bincount(thing)
    return np.bincount(example, weights=1 / among[thing], minlength=n).astype(np.float64)


def credit_of(named: Sequence[Iterable[Hashable]]) -> Values:
    """Credits `(n,)` where the things that each of n examples names are any hashable values; repeats count once."""
    numbers: dict[Hashable, int] = {}
    example: list[int] = []
    thing: list[int] = []
    for row, things in enumerate(named):
        found = {numbers.setdefault(one, len(numbers)) for one in things}
        thing.extend(found)
        example.extend([row] * len(found))
    return credit(np.array(example, dtype=np.int64), np.array(thing, dtype=np.int64), len(named))
