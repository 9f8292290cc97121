from __future__ import annotations

import polars as pl
import pytest

from tests.metrics.frames import texts
from unimp_bench.dataset import Catalogue
from unimp_bench.metrics import spec
from unimp_bench.metrics.pairs import MetricContext
from unimp_bench.metrics.wording import compute, compute_features, words
from unimp_bench.schemas import EXAMPLES, ITEMS, conform


def mean(name: str, said: dict[str, str | None]) -> float:
    truth = texts(dict.fromkeys(said, "good"))
    found = compute([name], truth, texts(said), MetricContext())
    return float(found["value"].mean())  # type: ignore[arg-type]


def test_words_of_any_script() -> None:
    assert words("Größe: it's_SOFT, 质量 3x!") == ["größe", "it", "s", "soft", "质量", "3x"]


def test_distinct_counts_different_ngrams_over_the_cohort() -> None:
    said = {"u1": "so soft", "u2": "So nice!", "u3": "so so soft"}
    assert mean("distinct_1", said) == pytest.approx(3 / 7)
    assert mean("distinct_2", said) == pytest.approx(3 / 4)  # so soft, so nice, so so, of four
    assert mean("distinct_1", {**said, "u4": None}) == pytest.approx(3 / 8)
    assert mean("distinct_1", {"u1": None, "u2": " "}) == 0


def test_no_pair_of_words_at_all_is_undefined() -> None:
    found = compute(["distinct_2"], texts({"u1": "good"}), texts({"u1": "soft"}), MetricContext())
    assert found["value"].to_list() == [None]


def test_unique_sentences() -> None:
    assert mean("unique_sentence_ratio", {"u1": "a", "u2": "a", "u3": "b", "u4": None}) == pytest.approx(2 / 4)


def test_cohorts_are_counted_apart() -> None:
    truth = texts({"u1": "x", "u2": "x"}).with_columns(cohort=pl.Series(["new_user", "in_domain"]))
    found = compute(["unique_sentence_ratio", "distinct_1"], truth, texts({"u1": "a", "u2": "a"}), MetricContext())
    assert found["value"].to_list() == [1, 1, 1, 1]


def context(targets: list[str]) -> MetricContext:
    items = pl.DataFrame(
        [
            {"item_id": "i0", "item_index": 0, "title": "The Soft Blanket", "brand": "Acme", "categories": ["Home"]},
            {"item_id": "i1", "item_index": 1, "attributes": [{"name": "color", "value": "Deep Blue"}]},
            {"item_id": "i2", "item_index": 2, "title": None, "categories": None},
        ],
        schema_overrides={"attributes": ITEMS.columns["attributes"]},  # type: ignore[dict-item]
    )
    asked = pl.DataFrame({"example_id": [f"u{n}" for n in range(len(targets))], "target_item_id": targets})
    view = Catalogue(conform(items, ITEMS.columns), frozenset(), ())
    return MetricContext(view=view, examples=conform(asked, EXAMPLES.columns))


def test_features_that_the_reference_names_are_looked_for() -> None:
    truth = texts({"u0": "the blanket is soft", "u1": "a lovely blue", "u2": "great", "u3": "from acme", "u4": "home"})
    said = texts({"u0": "so SOFT!", "u1": "very deep", "u2": "great", "u3": None, "u4": "the home"})
    asked = context(["i0", "i1", "i2", "i0", "i0"])
    found = compute_features(["feature_match"], truth, said, asked)
    assert found["value"].mean() == pytest.approx(2 / 4)  # u2's reference names nothing of i2, u1 says another feature
    assert "target item" in (spec.metric("feature_match").lacks(MetricContext(view=asked.view)) or "")


def test_function_words_are_no_features() -> None:
    found = compute_features(["feature_match"], texts({"u0": "the"}), texts({"u0": "the"}), context(["i0"]))
    assert found["value"].to_list() == [None]
