"""Ranking metrics at a cut k: hit rate, NDCG, reciprocal rank. One pass serves all metrics and cuts.

With relevant items R of an example and r_1 < r_2 < ... the ranks (from 1) at which they stand among the first k:

- hr@k = 1 if there is any r, else 0
- ndcg@k = sum_i 1 / log2(r_i + 1), over the same sum for ranks 1 ... min(k, |R|)
  (Järvelin & Kekäläinen 2002, binary gains)
- mrr@k = 1 / r_1, or 0 where nothing relevant stands among the first k

A relevant item counts where it first stands; its repeats further down are wasted places. Unanswered scores 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_bench.metrics.pairs import MetricContext, Values, paired, scores


def _hits(pairs: pl.DataFrame, k: int) -> pl.DataFrame:
    """Where relevant items stand: `row` of `pairs`, `rank` (from 1, at most k), sorted by both."""
    rows = pairs.with_row_index("row")
    # Cut before unrolling: lists are 100 long and nobody looks beyond k.
    said = (
        rows.select("row", item=pl.col("prediction").list.head(k))
        .drop_nulls("item")
        .with_columns(rank=pl.int_ranges(1, pl.col("item").list.len() + 1))
        .explode("item", "rank")
    )
    relevant = rows.select("row", item="answer").explode("item").unique()
    found = said.join(relevant, on=["row", "item"], how="inner")
    return found.group_by("row", "item").agg(pl.col("rank").min()).sort("row", "rank")


def compute(
    names: Sequence[str], answers: pl.DataFrame, predictions: pl.DataFrame, context: MetricContext
) -> pl.DataFrame:
    """Values per example of the metrics called `hr@k`, `ndcg@k` or `mrr@k`, as a frame of `schemas.SCORES`."""
    del context
    pairs = paired(answers, predictions, "ranking")
    cuts = {name: int(name.split("@")[1]) for name in names}
    deepest = max(cuts.values(), default=0)
    hits = _hits(pairs, deepest)
    row, rank = hits["row"].to_numpy().astype(np.int64), hits["rank"].to_numpy().astype(np.float64)
    relevant = pairs["answer"].list.n_unique().to_numpy()
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, deepest + 2)))])

    def summed(gain: Values, within: NDArray[np.bool_]) -> Values:
        return np.bincount(row[within], weights=gain[within], minlength=pairs.height).astype(np.float64)

    values: dict[str, Values] = {}
    for name, k in cuts.items():
        within = rank <= k
        if name.startswith("ndcg@"):
            best = ideal[np.minimum(relevant, k)]
            values[name] = summed(1 / np.log2(rank + 1), within) / np.where(best > 0, best, 1)
            continue
        # Hits are sorted by rank inside a row, so the first of a row is its best.
        first = within & (np.diff(row, prepend=-1) != 0)
        values[name] = summed(np.ones(len(rank)) if name.startswith("hr@") else 1 / rank, first)
    return scores(pairs, values)
