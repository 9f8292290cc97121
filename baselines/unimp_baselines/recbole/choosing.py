"""Selection by a threshold: candidates whose probability, a softmax over the user's catalogue, passes it.

The threshold is the one with the best macro F1 on validation examples; where none passes, the best candidate is
chosen (`reference/unimp.md` 20.5). Shapes: examples x candidates, padded with NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Grid = NDArray[np.float64]


def probabilities(scores: NDArray[np.float32], places: NDArray[np.int64]) -> Grid:
    """Softmax over items, at each example's candidates.

    Args:
        scores: `(examples, items)`.
        places: `(examples, candidates)` columns of `scores`; -1 for an item that was not scored (probability 0), -2
            where there is no candidate (NaN).
    """
    exact = scores.astype(np.float64)
    top = exact.max(1, keepdims=True)
    total = np.exp(exact - top).sum(1, keepdims=True)
    found = np.exp(np.take_along_axis(exact, places.clip(min=0), 1) - top) / total
    return np.where(places >= 0, found, np.where(places == -1, 0.0, np.nan))


def chosen(probability: Grid, threshold: float) -> NDArray[np.bool_]:
    """Candidates that pass, or each example's first best one where none does."""
    passing = probability >= threshold  # false for NaN
    best = np.nan_to_num(probability, nan=-1.0).argmax(1)
    alone = np.zeros_like(passing)
    alone[np.arange(len(best)), best] = True
    return np.where(passing.any(1, keepdims=True), passing, alone)


def macro_f1(choice: NDArray[np.bool_], right: NDArray[np.bool_]) -> float:
    """Mean over examples of 2 hits / (chosen + right)."""
    return float((2 * (choice & right).sum(1) / (choice.sum(1) + right.sum(1)).clip(min=1)).mean())


def best_threshold(probability: Grid, right: NDArray[np.bool_], tried: int = 200) -> float:
    """The threshold with the best macro F1, the highest of equal ones, among `tried` quantiles of all probabilities."""
    known = probability[~np.isnan(probability)]
    options = np.unique(np.quantile(known, np.linspace(0, 1, tried), method="nearest"))
    values = [macro_f1(chosen(probability, option), right) for option in options]
    return float(options[len(values) - 1 - int(np.argmax(values[::-1]))])
