"""Selection by a threshold: candidates whose probability, a softmax over the user's catalogue, passes it.

The threshold is the one with the best macro F1 on validation examples; where none passes, the best candidate is
chosen (`reference/unimp.md` 20.5). Shapes: examples x candidates, padded with NaN.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_baselines.recbole.feed import numbered
from unimp_bench.schemas import PREDICTIONS, conform

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


def places(examples: pl.DataFrame, items: pl.Series) -> NDArray[np.int64]:
    """Columns `(examples, candidates)` of each example's candidates in the scores of `items`; see `probabilities`."""
    lengths = examples["candidates"].list.len().to_numpy()
    found = np.full((examples.height, int(lengths.max(initial=1))), -2, dtype=np.int64)
    found[np.arange(found.shape[1]) < lengths[:, None]] = (
        numbered(examples["candidates"].explode(empty_as_null=False), items) - 1
    )
    return found


def rights(examples: pl.DataFrame, there: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which candidates of labelled examples are answers `(examples, candidates)`; `there` says where one stands."""
    good = examples.select(pl.col("candidates").alias("candidate"), "item_ids").explode("candidate")
    marks = np.zeros(there.shape, dtype=bool)
    marks[there] = good.select(pl.col("candidate").is_in(pl.col("item_ids"))).to_series().to_numpy()
    return marks


def tuned(scored: Iterable[tuple[pl.DataFrame, NDArray[np.float32]]], items: pl.Series) -> float:
    """The best threshold for validation examples, given in blocks with their scores `(examples, items)`."""
    found: list[Grid] = []
    right: list[NDArray[np.bool_]] = []
    for some, scores in scored:
        wanted = places(some, items)
        found.append(probabilities(scores, wanted))
        right.append(rights(some, wanted > -2))
    width = max(part.shape[1] for part in found)
    return best_threshold(
        np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=np.nan) for part in found]),
        np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in right]),
    )


def frame(
    examples: pl.DataFrame, scores: NDArray[np.float32], items: pl.Series, threshold: float | None
) -> pl.DataFrame:
    """The choices by scores `(examples, items)` as predictions; see `answers`."""
    return answers(examples, probabilities(scores, places(examples, items)), threshold)


def answers(examples: pl.DataFrame, probability: Grid, threshold: float | None) -> pl.DataFrame:
    """The choices as predictions, most probable first; without a threshold each example's best candidate."""
    choice = chosen(probability, np.inf if threshold is None else threshold)
    picked, strengths = [], []
    for names, marks, p in zip(examples["candidates"].to_list(), choice, probability, strict=True):
        order = sorted(np.flatnonzero(marks), key=lambda place: (-p[place], place))
        picked.append([names[place] for place in order])
        strengths.append([float(p[place]) for place in order])
    said = {"example_id": examples["example_id"], "item_ids": picked, "scores": strengths}
    return conform(pl.DataFrame(said), PREDICTIONS["selection"].columns)
