"""Selection metrics: precision, recall and F1 of the chosen set, per user; their means are the paper's macro averages.

The reported F1 is the mean of the users' F1 values and hence not a function of the reported precision and recall.
Chosen items are a set: naming one twice changes nothing. Unanswered, or an empty choice, scores 0 in all three.

- exact_match = 1 where exactly the right items are chosen, else 0; unanswered 0.
- micro_precision = sum of hits / sum of items chosen, micro_recall = sum of hits / sum of right items, micro_f1 =
  2 sum of hits / (sum chosen + sum right), over a cohort; stored as `shares`. As silence would be free in a sum of
  chosen items, an unanswered example counts as so many wrong items as there are right ones.
- order_sensitivity = 1 - |A and B| / |A or B| (Jaccard's distance) of the sets A and B that a runner chooses when the
  same candidates stand in two orders: 0 for who does not mind. Silence is an empty set, and two silences are equal.
  Defined for the examples that were asked again, a sample; n is their number.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from unimp_bench.metrics.pairs import MetricContext, Values, paired, scores
from unimp_bench.metrics.pairs import within_cohorts as apart
from unimp_bench.metrics.shares import ratio


def compute(
    names: Sequence[str], answers: pl.DataFrame, predictions: pl.DataFrame, context: MetricContext
) -> pl.DataFrame:
    """Values per example of the metrics above but `order_sensitivity`, as a frame of `schemas.SCORES`."""
    del context
    pairs = paired(answers, predictions, "selection")
    counts = pairs.select(
        hits=pl.col("prediction").list.set_intersection("answer").list.len().fill_null(0),
        chosen=pl.col("prediction").list.n_unique().fill_null(0),
        right=pl.col("answer").list.n_unique(),
    )
    hits, chosen, right = (counts[name].to_numpy().astype(float) for name in counts.columns)
    tried = counts.select(pl.when(pl.col("chosen") > 0).then("chosen").otherwise("right"))["chosen"].to_numpy()
    # F1 = 2PR / (P + R) = 2 hits / (chosen + right); where a denominator is 0 there are no hits either.
    below = {"precision": chosen, "recall": right, "f1": (chosen + right) / 2}
    sums = {"micro_precision": tried.astype(float), "micro_recall": right, "micro_f1": (tried + right) / 2}

    def value(name: str) -> Values:
        if name in below:
            share: Values = hits / below[name].clip(min=0.5)
            return share
        if name in sums:
            return apart(pairs, lambda rows: ratio(hits[rows], sums[name][rows]))
        exact: Values = ((hits == right) & (hits == chosen)).astype(float)
        return exact

    return scores(pairs, {name: value(name) for name in names})


def lacks_order(context: MetricContext) -> str | None:
    """Why order sensitivity cannot be computed."""
    return "needs answers to the same candidates in another order" if context.permuted is None else None


def order_sensitivity(first: pl.DataFrame, second: pl.DataFrame) -> pl.DataFrame:
    """How much a runner's choice changes with the order of candidates: example_id, value, sorted by example.

    Args:
        first: the choices, columns of `schemas.PREDICTIONS["selection"]`.
        second: the choices of the same runner with candidates in another order, one row an example that was asked
            again; values of all others are null.
    """
    both = first.select("example_id", a=pl.col("item_ids").fill_null([])).join(
        second.select("example_id", b=pl.col("item_ids").fill_null([])), on="example_id", how="left"
    )
    shared = pl.col("a").list.set_intersection("b").list.len()
    either = pl.col("a").list.set_union("b").list.len()
    value = pl.when(either > 0).then(1 - shared / either).when(either == 0).then(0.0)
    return both.select("example_id", value=value.cast(pl.Float64)).sort("example_id")


def compute_order(
    names: Sequence[str], answers: pl.DataFrame, predictions: pl.DataFrame, context: MetricContext
) -> pl.DataFrame:
    """Values per example of `order_sensitivity`, as a frame of `schemas.SCORES`."""
    assert context.permuted is not None, "see `lacks_order`"
    pairs = paired(answers, predictions, "selection")
    first = pairs.select("example_id", item_ids="prediction")
    found = order_sensitivity(first, context.permuted)["value"].to_numpy()
    return scores(pairs, dict.fromkeys(names, found))
