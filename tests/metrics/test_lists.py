from __future__ import annotations

import math

import polars as pl
import pytest

from unimp_bench.dataset import Catalogue
from unimp_bench.metrics import spec
from unimp_bench.metrics.lists import compute
from unimp_bench.metrics.pairs import MetricContext
from unimp_bench.schemas import ITEMS, STRINGS, conform

PATHS = [["Toys", "Cars"], ["Toys", "Dolls"], ["Toys", "Cars"], None, ["Office"]]
COUNTS = {"i0": 3, "i1": 1, "i4": 100}


def view(paths: list[list[str] | None] = PATHS) -> Catalogue:
    items = pl.DataFrame(
        {
            "item_id": [f"i{n}" for n in range(5)],
            "item_index": range(5),
            "domain": ["toys"] * 4 + ["office"],
            "categories": pl.Series(paths, dtype=STRINGS),
        }
    )
    return Catalogue(conform(items, ITEMS.columns), frozenset({"office"}), ())


def context(paths: list[list[str] | None] = PATHS) -> MetricContext:
    train = pl.DataFrame({"item_id": list(COUNTS), "count": list(COUNTS.values())})
    return MetricContext(view=view(paths), train=train)


def lists(rows: dict[str, list[str] | None]) -> pl.DataFrame:
    return pl.DataFrame({"example_id": list(rows), "item_ids": pl.Series(list(rows.values()), dtype=STRINGS)})


def of(metric: str, said: dict[str, list[str] | None], cohorts: list[str] | None = None) -> list[float]:
    truth = lists({example: ["i0"] for example in said})
    if cohorts:
        truth = truth.with_columns(cohort=pl.Series(cohorts))
    return compute([metric], truth, lists(said), context())["value"].to_list()


def test_coverage_is_the_share_of_the_catalogue_that_anybody_is_shown() -> None:
    said = {"u1": ["i0", "i1"], "u2": ["i0", "i0", "i2"], "u3": None}
    # i0 and i1 of four toys among the first two places: 0.5, i0 shared by two of three users.
    assert of("coverage@2", said) == pytest.approx([3 / 4 * 1.5, 3 / 4 * 0.5, 0])
    assert sum(of("coverage@3", said)) / 3 == pytest.approx(3 / 4)
    assert sum(of("coverage@1", {**said, "u4": ["i4", "zz"]})) / 4 == pytest.approx(1 / 4)  # not of this catalogue


def test_cohorts_have_catalogues_of_their_own() -> None:
    found = of("coverage@5", {"u1": ["i0"], "u2": ["i4"]}, ["in_domain", "new_domain"])
    assert found == pytest.approx([1 / 4, 1])


def test_novelty_is_information_in_bits() -> None:
    # Toys have 3, 1, 0, 0 rows; one more each makes 4, 2, 1, 1 of 8.
    assert of("novelty@3", {"u1": ["i0", "i1", "i2"], "u2": ["i3"], "u3": []}) == pytest.approx([(1 + 2 + 3) / 3, 3, 0])
    assert of("novelty@1", {"u1": ["i0", "i1"]}) == [1]


def test_popularity_is_a_percentile_with_a_mean_of_one_half() -> None:
    said = {"u1": ["i0"], "u2": ["i1"], "u3": ["i2"], "u4": ["i0", "i1", "i2", "i3"], "u5": None}
    assert of("popularity@4", said) == pytest.approx([7 / 8, 5 / 8, 2 / 8, 1 / 2, 1])


def test_diversity_is_the_mean_distance_of_paths() -> None:
    # Under the domain: i0 toys/Toys/Cars, i1 toys/Toys/Dolls, i2 as i0, i3 toys.
    cars_dolls, cars_bare = 1 - 2 * 2 / 6, 1 - 2 * 1 / 4
    said = {"u1": ["i0", "i1"], "u2": ["i0", "i2"], "u3": ["i0", "i1", "i3"], "u4": ["i0", "i0"], "u5": None}
    apart = (cars_dolls + 2 * cars_bare) / 3
    assert of("ild@3", said) == pytest.approx([cars_dolls, 0, apart, 0, 0])
    assert of("ild@2", said) == pytest.approx([cars_dolls, 0, cars_dolls, 0, 0])


def test_several_cuts_at_once_are_each_alone() -> None:
    said = {"u1": ["i2", "i0", "i1"], "u2": ["i3", "i1"]}
    truth = lists({"u1": ["i0"], "u2": ["i1"]})
    names = ["ild@3", "ild@10", "ild@5", "novelty@3", "popularity@10", "coverage@5"]
    together = spec.score(names, truth, lists(said), context())
    alone = pl.concat([spec.metric(n).compute(truth, lists(said), context()) for n in names])
    assert together.equals(alone.sort("example_id", "metric"))
    assert math.isclose(together.filter(metric="ild@10", example_id="u2")["value"].item(), 0.5)


def test_what_is_lacking_is_named() -> None:
    assert "training rows" in (spec.metric("coverage@5").lacks(MetricContext(view=view())) or "")
    bare = context([None] * 5)
    assert "category paths" in (spec.metric("ild@5").lacks(bare) or "")
    assert spec.metric("novelty@5").lacks(bare) is None
    assert spec.metric("ild@5").lacks(context()) is None
