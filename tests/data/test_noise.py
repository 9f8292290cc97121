"""Noise: who loses what, who gets whose picture, and what stays as it was."""

from __future__ import annotations

import polars as pl
import pytest

from unimp_bench.data import noise
from unimp_bench.errors import ConfigError, UnknownNameError
from unimp_bench.schemas import ITEMS

NAMED = ["title", "brand", "price_usd", "description"]


def shop(image_ids: list[str | None]) -> pl.DataFrame:
    """Items in the order of their ids, one with each of these pictures."""
    n = len(image_ids)
    return pl.DataFrame(
        {
            "item_id": [f"B{i:06d}" for i in range(n)],
            "item_index": list(range(n))[::-1],
            "domain": ["baby"] * n,
            "title": ["t"] * n,
            "brand": ["b"] * n,
            "categories": [["Root", "Leaf"]] * n,
            "price_usd": [9.5] * n,
            "description": ["d"] * n,
            "attributes": [
                [{"name": "colour", "value": "red"}, {"name": "size", "value": "S"}, {"name": "size", "value": "M"}]
            ]
            * n,
            "image_status": ["ok" if image_id else "http_404" for image_id in image_ids],
            "image_id": image_ids,
        },
        schema=dict(ITEMS.columns),
    )


def own(n: int) -> list[str | None]:
    return [f"p{i}" for i in range(n)]


def lost(noisy: pl.DataFrame) -> dict[str, float]:
    """Share of items that lost each value."""
    entries = noisy["attributes"].list
    shares = {name: noisy[name].null_count() / noisy.height for name in NAMED}
    shares["categories"] = (noisy["categories"].list.len() == 0).sum() / noisy.height
    shares["entries"] = 1 - entries.len().sum() / (3 * noisy.height)
    return shares


def test_nt_loses_each_value_at_the_rate_and_on_its_own():
    items = shop(own(4000))
    noisy = noise.apply(items, "NT", 0.2, 0)
    for name, share in lost(noisy).items():
        assert abs(share - 0.2) < 0.03, name
    gone = {name: noisy[name].is_null() for name in NAMED} | {"categories": noisy["categories"].list.len() == 0}
    names = list(gone)
    for i, left in enumerate(names):
        for right in names[i + 1 :]:
            assert abs((gone[left] & gone[right]).sum() / 4000 - 0.04) < 0.015, (left, right)
    sizes = noisy["attributes"].list.eval(pl.element().struct.field("value")).list.join(" ")
    assert {"red S M", "red S", "red M", "S M", "red", ""} <= set(sizes)  # two values of one name are two draws


def test_nt_leaves_all_else():
    items = shop([*own(50), None])
    noisy = noise.apply(items, "NT", 0.7, 3)
    same = ["item_id", "item_index", "domain", "image_status", "image_id"]
    assert noisy.select(same).equals(items.select(same))
    assert noisy.schema == items.schema
    kept = noisy.filter(pl.col("title").is_not_null() & (pl.col("categories").list.len() > 0))
    assert kept.height > 0 and set(kept["title"]) == {"t"} and set(kept["categories"].list.join("/")) == {"Root/Leaf"}


def test_rate_nought_changes_nothing_and_one_takes_all():
    items = shop(own(30))
    assert noise.apply(items, "NT", 0, 0).equals(items)
    assert noise.apply(items, "NV", 0, 0).equals(items)
    assert lost(noise.apply(items, "NT", 1, 0)) == dict.fromkeys([*NAMED, "categories", "entries"], 1.0)
    assert not (noise.apply(items, "NV", 1, 0)["image_id"] == items["image_id"]).any()


def test_missing_values_stay_missing():
    items = shop(own(3)).with_columns(
        pl.lit(None, dtype=pl.String).alias("title"),
        pl.lit(None, dtype=pl.List(pl.String)).alias("categories"),
        pl.Series("attributes", [None, [], None], dtype=ITEMS.columns["attributes"]),
    )
    assert noise.apply(items, "NT", 0, 0).equals(items)
    noisy = noise.apply(items, "NT", 1, 0)
    assert noisy["categories"].null_count() == 3
    assert noisy["attributes"].to_list() == [None, [], None]


def test_a_higher_rate_loses_more_of_the_same():
    items = shop(own(500))
    low, high = noise.apply(items, "NT", 0.2, 0), noise.apply(items, "NT", 0.4, 0)
    assert (low["title"].is_null() & high["title"].is_not_null()).sum() == 0
    low, high = noise.apply(items, "NV", 0.2, 0), noise.apply(items, "NV", 0.4, 0)
    changed = low["image_id"] != items["image_id"]
    assert low.filter(changed)["image_id"].equals(high.filter(changed)["image_id"])


@pytest.mark.parametrize("kind", noise.KINDS)
def test_draws_follow_the_seed_and_the_item_and_nothing_else(kind):
    items = shop(own(400))
    one = noise.apply(items, kind, 0.3, 1)
    assert one.equals(noise.apply(items, kind, 0.3, 1))
    assert not one.equals(noise.apply(items, kind, 0.3, 2))
    assert noise.apply(items.reverse(), kind, 0.3, 1).reverse().equals(one)


@pytest.mark.parametrize(
    ("n", "rate", "changed"), [(10, 0.2, 2), (7, 0.2, 1), (1000, 0.25, 250), (2, 0.5, 1), (3, 1, 3)]
)
def test_nv_changes_the_picture_of_just_that_many(n, rate, changed):
    items = shop([*own(n), None, None])
    noisy = noise.apply(items, "NV", rate, 0)
    assert (noisy["image_id"] != items["image_id"]).sum() == changed
    assert noisy["image_id"].to_list()[-2:] == [None, None]
    assert set(noisy["image_id"].drop_nulls()) <= set(items["image_id"].drop_nulls())
    assert noisy.drop("image_id").equals(items.drop("image_id"))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "shares",
    [[5, 5], [4, 3, 2, 1], [6, 1, 1, 1], [9, 1], [1, 1], [2, 2, 2, 2, 2], [50, 30, 20, 1]],
)
def test_nv_never_gives_back_the_same_picture_of_another_item(shares, seed):
    items = shop([f"p{i}" for i, share in enumerate(shares) for _ in range(share)])
    noisy = noise.apply(items, "NV", 1.0, seed)
    assert (noisy["image_id"] != items["image_id"]).all()
    if max(shares) <= sum(shares) / 2:  # a derangement: every picture is as common as it was
        assert noisy["image_id"].sort().equals(items["image_id"].sort())


def test_nv_with_one_picture_only_has_no_other_to_give():
    for items in (shop(["p", "p", "p"]), shop(["p"]), shop([None, None]), shop([])):
        assert noise.apply(items, "NV", 1.0, 0).equals(items)
        assert noise.apply(items, "NT", 0.0, 0).equals(items)


@pytest.mark.parametrize("rate", [-0.1, 1.01, float("nan"), float("inf")])
def test_rates_are_shares(rate):
    with pytest.raises(ConfigError, match="from 0 to 1"):
        noise.apply(shop(own(2)), "NT", rate, 0)


def test_unknown_kinds_and_negative_seeds():
    with pytest.raises(UnknownNameError, match="NT"):
        noise.apply(shop(own(2)), "NX", 0.1, 0)
    with pytest.raises(ConfigError, match="seed"):
        noise.variant_name("NT", 0.2, -1)


@pytest.mark.parametrize(
    ("kind", "rate", "seed", "name"),
    [
        ("NT", 0.2, 0, "NT-0.2"),
        ("NV", 1.0, 0, "NV-1"),
        ("NT", 0.25, 7, "NT-0.25-s7"),
        ("NV", 1e-5, 0, "NV-1e-05"),
        ("NT", 0, 0, "NT-0"),
    ],
)
def test_names_of_variants_say_all(kind, rate, seed, name):
    assert noise.variant_name(kind, rate, seed) == name
    assert noise.parse(name) == (kind, rate, seed)


@pytest.mark.parametrize(
    "name", ["NT", "NT-", "NT-2", "NX-0.2", "NT-0.20", "NT-0.2-s0", "NT-0.2-s01", "NT-1.2.3", "", "clean"]
)
def test_other_names_are_refused(name):
    with pytest.raises(ConfigError):
        noise.parse(name)
