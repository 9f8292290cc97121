from __future__ import annotations

import polars as pl
import pytest

from tests.shop import home_at
from unimp_bench import scoring
from unimp_bench.dataset import Dataset
from unimp_bench.schemas import PREDICTIONS, conform


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return Dataset.open(home_at(tmp_path_factory.mktemp("scoring") / "home"), "shop")


def _value(scored: scoring.Scored, metric: str, cohort: str) -> float:
    return float(scored.metrics.filter(pl.col("metric") == metric, pl.col("slice") == cohort)["value"].item())


def test_the_truth_itself_scores_best_and_order_of_rows_is_nothing(data: Dataset) -> None:
    examples = data.examples("recommendation", "test").collect()
    truth = conform(data.sealed_answers("recommendation"), PREDICTIONS["ranking"].columns)
    scored = scoring.score_predictions(data, "recommendation", truth, examples)
    assert set(scored.metrics["value"]) == {1.0}
    assert scored.metrics["metric"][0] == "ndcg@5"
    shuffled = truth.sample(fraction=1, shuffle=True, seed=1)
    again = scoring.score_predictions(data, "recommendation", shuffled, examples)
    assert again.metrics.equals(scored.metrics)
    assert again.scores.equals(scored.scores)


def test_only_the_examples_that_were_asked_count(data: Dataset) -> None:
    examples = data.examples("preference", "test").filter(pl.col("cohort") == "in_domain").collect().head(4)
    said = examples.select("example_id").with_columns(rating=pl.Series([3.0, None, 3.0, 3.0], dtype=pl.Float32))
    scored = scoring.score_predictions(data, "preference", said, examples)
    assert set(scored.metrics["slice"]) == {"in_domain"}
    assert set(scored.metrics["n"]) == {4}
    assert set(scored.metrics["unanswered"]) == {1}
    truth = dict(data.sealed_answers("preference").select("example_id", "rating").iter_rows())
    errors = [abs(truth[i] - 3.0) for i in examples["example_id"].to_list()]
    silent = truth[examples["example_id"][1]]
    errors[1] = max(5 - silent, silent - 1)
    assert _value(scored, "mae", "in_domain") == pytest.approx(sum(errors) / 4)
    assert _value(scored, "rmse", "in_domain") == pytest.approx((sum(e * e for e in errors) / 4) ** 0.5)


def test_what_cannot_be_computed_is_listed(data: Dataset) -> None:
    examples = data.examples("image_generation", "test").filter(pl.col("cohort") == "new_user").collect().head(1)
    view = data.catalogue()
    picture = next(iter(view.pictures(view.items["image_id"].drop_nulls()).values()))
    image = pl.Series([{"bytes": picture, "path": None}])
    said = conform(pl.DataFrame({"example_id": examples["example_id"], "image": image}), PREDICTIONS["image"].columns)
    scored = scoring.score_predictions(data, "image_generation", said, examples)
    assert scored.metrics["value"].to_list() == [None]
    assert scored.not_computed == {"kid of new_user": "needs more examples than 1"}
