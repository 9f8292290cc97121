"""Rating metrics: squared and absolute error on the scale 1 to 5.

The value of `rmse` for one example is its *squared* error; the root is taken by the aggregate. Predictions are taken as
they are, neither rounded nor clipped. An unanswered example scores as the worst rating that could have been given: the
end of the scale that lies further from the truth. (The released code counts it as 3.0, which rewards silence.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from unimp_bench.metrics.pairs import MetricContext, paired, scores

LOWEST, HIGHEST = 1.0, 5.0
WORST_ERROR = HIGHEST - LOWEST


def compute(
    names: Sequence[str], answers: pl.DataFrame, predictions: pl.DataFrame, context: MetricContext
) -> pl.DataFrame:
    """Values per example of `rmse` and `mae`, as a frame of `schemas.SCORES`."""
    del context
    pairs = paired(answers, predictions, "rating")
    truth = pairs["answer"].cast(pl.Float64).to_numpy()
    said = pairs["prediction"].to_numpy()  # NaN where unanswered
    worst = np.maximum(HIGHEST - truth, truth - LOWEST)
    error = np.where(np.isnan(said), worst, np.abs(said - truth))
    return scores(pairs, {name: error**2 if name == "rmse" else error for name in names})


def confusion(answers: pl.DataFrame, predictions: pl.DataFrame) -> pl.DataFrame:
    """How often each rating was given where each was due: columns truth (1-5), said (1-5, null = unanswered), n.

    Every pair has a row, sorted, null last. Said ratings are rounded to the nearest whole one (halves up) and cut to
    1-5; true ones are rounded alike where a source has halves. Arguments and errors as in `pairs.paired`.
    """
    pairs = paired(answers, predictions, "rating")

    def whole(name: str) -> pl.Expr:
        return (pl.col(name).cast(pl.Float64) + 0.5).floor().clip(LOWEST, HIGHEST).cast(pl.Int32)

    counted = pairs.group_by(truth=whole("answer"), said=whole("prediction")).agg(n=pl.len().cast(pl.Int64))
    steps = [*range(int(LOWEST), int(HIGHEST) + 1)]
    schema = {"truth": pl.Int32, "said": pl.Int32}
    every = pl.DataFrame([(t, s) for t in steps for s in [*steps, None]], schema=schema, orient="row")
    found = every.join(counted, on=["truth", "said"], how="left", nulls_equal=True, maintain_order="left")
    return found.with_columns(pl.col("n").fill_null(0))
