from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from unimp_bench.metrics import spec
from unimp_bench.metrics.pairs import MetricContext, unanswered
from unimp_bench.metrics.rating import compute, confusion

CONTEXT = MetricContext()


def ratings(rows: dict[str, float | None]) -> pl.DataFrame:
    return pl.DataFrame({"example_id": list(rows), "rating": pl.Series(list(rows.values()), dtype=pl.Float32)})


def test_squared_and_absolute_error() -> None:
    truth, said = ratings({"u1": 5, "u2": 3, "u3": 1}), ratings({"u1": 4.5, "u2": 3, "u3": 4})
    found = compute(["rmse", "mae"], truth, said, CONTEXT)
    assert found.filter(metric="rmse")["value"].to_list() == [0.25, 0, 9]
    assert found.filter(metric="mae")["value"].to_list() == [0.5, 0, 3]


@pytest.mark.parametrize("silent", [None, float("nan"), float("inf")])
def test_unanswered_is_the_worst_possible_rating(silent: float | None) -> None:
    truth, said = ratings({"u1": 5, "u2": 2, "u3": 3}), ratings({"u1": silent, "u2": silent})
    assert compute(["rmse"], truth, said, CONTEXT)["value"].to_list() == [16, 9, 4]
    assert unanswered(truth, said, "rating")["unanswered"].all()


def test_equal_to_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth, said = rng.integers(1, 6, 500).astype(np.float32), rng.uniform(1, 5, 500).astype(np.float32)
    ids = [f"u{n:03d}" for n in range(500)]
    scores = spec.score(
        ["rmse", "mae"],
        ratings(dict(zip(ids, truth, strict=True))),
        ratings(dict(zip(ids, said, strict=True))),
        CONTEXT,
    )
    for name, theirs in (("rmse", root_mean_squared_error), ("mae", mean_absolute_error)):
        ours = spec.METRICS[name].interval(scores.filter(metric=name)["value"].to_numpy(), seed=0)
        assert ours.value == pytest.approx(theirs(truth, said), rel=1e-6)
        assert ours.low is not None and ours.high is not None and ours.low < ours.value < ours.high


def test_confusion_counts_every_pair() -> None:
    truth = ratings({"u1": 5, "u2": 5, "u3": 1, "u4": 2, "u5": 4.5})
    said = ratings({"u1": 4.5, "u2": 4.4, "u3": 0.2, "u4": None, "u5": float("nan")})
    found = confusion(truth, said)
    assert found.height == 5 * 6
    assert found.columns == ["truth", "said", "n"]
    counted = {(t, s): n for t, s, n in found.filter(pl.col("n") > 0).iter_rows()}
    assert counted == {(5, 5): 1, (5, 4): 1, (1, 1): 1, (2, None): 1, (5, None): 1}
    assert found["said"].head(6).to_list() == [1, 2, 3, 4, 5, None]
