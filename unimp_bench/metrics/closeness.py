"""How close single pictures are, on the built-in descriptor.

Pictures are as similar as s(a, b) = 1 - |a - b| / (2 sqrt(64)), from 0 to 1: the descriptor's numbers lie between -1
and 1, or (edges) differ by less than 2.

- picture_similarity = s(generated, target). Unanswered counts as a plain mid-grey picture.
- nearest_train_distance = the smallest 1 - s(generated, t) over pictures t of items with training rows: 0 for a copy,
  so copying shows. Beyond 20,000 such pictures a fixed draw of so many is searched. Unanswered scores 0.
- personalization_gain = mean of s(generated, h) over the pictures h of the user's own history, minus that over the
  history of another user of the cohort; others are dealt by a fixed random cycle in which nobody draws themselves. 0
  where either has no picture, and for unanswered.
- style_accuracy, on the synthetic shop: 1 where the generated picture has the target's style, else 0; unanswered 0. A
  picture's style is that of the closest catalogue picture, which is right for 95 % of held-out catalogue pictures.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_bench.descriptor import WIDTH
from unimp_bench.keyed import string_keys
from unimp_bench.metrics.pairs import Values

MOST = 20_000  # pictures searched for the closest
_BLOCK = 1024
_LARGEST = 2 * WIDTH**0.5


def similarity(left: NDArray[np.floating], right: NDArray[np.floating]) -> Values:
    """Similarity s of two sets of descriptors `(n, 64)`, row by row."""
    found: Values = 1 - np.linalg.norm(left.astype(np.float64) - right.astype(np.float64), axis=1) / _LARGEST
    return found


def nearest(points: NDArray[np.floating], among: NDArray[np.floating]) -> tuple[NDArray[np.intp], Values]:
    """Which row of `among` `(m, 64)`, not empty, is the closest to each point `(n, 64)`, and 1 - s to it."""
    there = among.astype(np.float64)
    lengths = (there**2).sum(axis=1)
    best = np.empty(len(points), dtype=np.intp)
    for start in range(0, len(points), _BLOCK):
        block = points[start : start + _BLOCK].astype(np.float64)
        best[start : start + _BLOCK] = (lengths - 2 * (block @ there.T)).argmin(axis=1)
    # Again and exactly: what the expanded square makes of a copy is not 0.
    return best, 1 - similarity(points, among[best])


def partners(example_ids: pl.Series) -> NDArray[np.intp]:
    """Another row `(n,)` for each row, n > 1: the next of a fixed random cycle, whatever the order of rows."""
    order = np.argsort(string_keys(example_ids, "personalization gain"), kind="stable")
    partner = np.empty(len(order), dtype=np.intp)
    partner[order] = np.roll(order, -1)
    return partner


def gains(
    points: NDArray[np.floating],
    histories: list[NDArray[np.floating]],
    partner: NDArray[np.intp],
    answered: NDArray[np.bool_],
) -> Values:
    """Personalization gain `(n,)` of descriptors `(n, 64)`, from the pictures `(any, 64)` of each one's history."""
    lengths = np.array([len(history) for history in histories])

    def mean(owner: NDArray[np.intp]) -> Values:
        shown = np.concatenate([histories[row] for row in owner])
        whose = np.repeat(np.arange(len(owner)), lengths[owner])
        total = np.bincount(whose, weights=similarity(points[whose], shown), minlength=len(owner))
        found: Values = total / np.maximum(lengths[owner], 1)
        return found

    counts = answered & (lengths > 0) & (lengths[partner] > 0)
    return np.where(counts, mean(np.arange(len(points))) - mean(partner), 0)
