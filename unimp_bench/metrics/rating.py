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
