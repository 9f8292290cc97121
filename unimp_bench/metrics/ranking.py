"""Ranking metrics at a cut k, any k from 1 to 100 (as `ndcg@20`). One pass serves all metrics and cuts.

With relevant items R of an example and r_1 < r_2 < ... the ranks (from 1) at which they stand among the first k:

- hr@k = 1 if there is any r, else 0
- ndcg@k = sum_i 1 / log2(r_i + 1), over the same sum for ranks 1 ... min(k, |R|)
  (Järvelin & Kekäläinen 2002, binary gains)
- mrr@k = 1 / r_1, or 0 where nothing relevant stands among the first k
- map@k = sum_i (i / r_i) / |R|, average precision cut at k (`map_cut` of trec_eval)
- recall@k = |{r}| / |R|
- precision@k = |{r}| / k; a list shorter than k leaves its places empty (`P_k` of trec_eval)

With one relevant item map is mrr, recall is hr and precision is hr / k. A relevant item counts where it first stands;
its repeats further down are wasted places. Unanswered scores 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_bench.metrics.pairs import MetricContext, Values, paired, scores

STEMS = ("hr", "ndcg", "mrr", "map", "recall", "precision")


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
    """Values per example of metrics called as one of `STEMS` and a cut, as a frame of `schemas.SCORES`."""
    del context
    pairs = paired(answers, predictions, "ranking")
    cuts = {name: int(name.split("@")[1]) for name in names}
    deepest = max(cuts.values(), default=0)
    hits = _hits(pairs, deepest)
    row, rank = hits["row"].to_numpy().astype(np.int64), hits["rank"].to_numpy().astype(np.float64)
    relevant = pairs["answer"].list.n_unique().to_numpy()
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, deepest + 2)))])
    # Hits are sorted by rank inside a row, so the first of a row is its best.
    new = np.diff(row, prepend=-1) != 0
    starts = np.flatnonzero(new)
    ordinal = np.arange(len(row)) - np.repeat(starts, np.diff(starts, append=len(row))) + 1

    def summed(gain: Values, within: NDArray[np.bool_]) -> Values:
        return np.bincount(row[within], weights=gain[within], minlength=pairs.height).astype(np.float64)

    def value(stem: str, k: int) -> Values:
        within, one = rank <= k, np.ones(len(rank))
        if stem == "ndcg":
            best = ideal[np.minimum(relevant, k)]
            gained: Values = summed(1 / np.log2(rank + 1), within) / np.where(best > 0, best, 1)
            return gained
        if stem == "map":
            average: Values = summed(ordinal / rank, within) / relevant.clip(min=1)
            return average
        if stem in ("recall", "precision"):
            found: Values = summed(one, within) / (relevant.clip(min=1) if stem == "recall" else k)
            return found
        return summed(one if stem == "hr" else 1 / rank, within & new)

    return scores(pairs, {name: value(name.split("@")[0], k) for name, k in cuts.items()})
