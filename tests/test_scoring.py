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
    cut = pl.col("metric").str.extract("^(hr|ndcg|mrr|map|recall)@")
    assert set(scored.metrics.filter(cut.is_not_null())["value"]) == {1.0}
    assert scored.not_computed == {}
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
    values = dict(scored.metrics.select("metric", "value").iter_rows())
    single = {"picture_similarity", "nearest_train_distance"}
    assert {name for name, value in values.items() if value is not None} == single
    assert scored.not_computed == {
        "kid of new_user": "needs at least 2 examples, there are 1",
        "fid of new_user": "needs at least 640 examples, there are 1",
        "personalization_gain of new_user": "needs at least 2 examples, there are 1",
        "style_accuracy of new_user": "needs the truth of a synthetic shop",
        "clip_text_image of new_user": "needs a CLIP model in models/clip of the home folder",
        "clip_image_image of new_user": "needs a CLIP model in models/clip of the home folder",
    }


def test_lists_are_measured_over_the_catalogue_of_their_cohort(data: Dataset) -> None:
    examples = data.examples("recommendation", "test").collect()
    truth = conform(data.sealed_answers("recommendation"), PREDICTIONS["ranking"].columns)
    scored = scoring.score_predictions(data, "recommendation", truth, examples)
    targets = truth.join(examples.select("example_id", "cohort"), on="example_id").explode("item_ids")
    for cohort, size in (("in_domain", 16), ("new_user", 16), ("new_domain", 4)):
        named = targets.filter(cohort=cohort)["item_ids"].n_unique()
        assert _value(scored, "coverage@10", cohort) == pytest.approx(named / size)
        assert _value(scored, "ild@10", cohort) == 0


def test_order_sensitivity_wants_a_second_answer(data: Dataset) -> None:
    examples = data.examples("selection", "test").collect()
    said = conform(
        examples.select("example_id", item_ids=pl.col("candidates").list.head(2)), PREDICTIONS["selection"].columns
    )
    other = conform(
        examples.select("example_id", item_ids=pl.col("candidates").list.head(1)), PREDICTIONS["selection"].columns
    )
    alone = scoring.score_predictions(data, "selection", said, examples)
    cohort = str(examples["cohort"][0])
    assert "another order" in alone.not_computed[f"order_sensitivity of {cohort}"]
    both = scoring.score_predictions(data, "selection", said, examples, permuted=other)
    assert _value(both, "order_sensitivity", cohort) == 0.5


def test_explanations_are_held_against_their_items(data: Dataset) -> None:
    """References name the wheel of i03, say, which no title does."""
    examples = data.examples("explanation", "test").collect()
    truth = conform(data.sealed_answers("explanation"), PREDICTIONS["text"].columns)
    scored = scoring.score_predictions(data, "explanation", truth, examples)
    assert scored.not_computed["feature_match of in_domain"] == "no reference names a feature of its item"
    assert _value(scored, "bleu4_corpus", "in_domain") == pytest.approx(1)
    bare = scoring.score_predictions(data, "explanation", truth, examples.select("example_id", "cohort"))
    assert "target item" in bare.not_computed["feature_match of in_domain"]
