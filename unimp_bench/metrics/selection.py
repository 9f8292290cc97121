"""Selection metrics: precision, recall and F1 of the chosen set, per user; their means are the paper's macro averages.

The reported F1 is the mean of the users' F1 values and hence not a function of the reported precision and recall.
Chosen items are a set: naming one twice changes nothing. Unanswered, or an empty choice, scores 0 in all three.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from unimp_bench.metrics.pairs import MetricContext, paired, scores


def compute(
    names: Sequence[str], answers: pl.DataFrame, predictions: pl.DataFrame, context: MetricContext
) -> pl.DataFrame:
    """Values per example of `precision`, `recall` and `f1`, as a frame of `schemas.SCORES`."""
    del context
    pairs = paired(answers, predictions, "selection")
    counts = pairs.select(
        hits=pl.col("prediction").list.set_intersection("answer").list.len().fill_null(0),
        chosen=pl.col("prediction").list.n_unique().fill_null(0),
        right=pl.col("answer").list.n_unique(),
    )
    hits, chosen, right = (counts[name].to_numpy().astype(float) for name in counts.columns)
    # F1 = 2PR / (P + R) = 2 hits / (chosen + right); where a denominator is 0 there are no hits either.
    below = {"precision": chosen, "recall": right, "f1": (chosen + right) / 2}
    return scores(pairs, {name: hits / below[name].clip(min=0.5) for name in names})
