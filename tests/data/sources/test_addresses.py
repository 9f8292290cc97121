from __future__ import annotations

import pytest

from unimp_bench.data.sources import addresses
from unimp_bench.errors import UnknownNameError


@pytest.mark.parametrize(
    ("year", "name", "official"),
    [
        ("2014", "clothing", "Clothing_Shoes_and_Jewelry"),
        ("2014", "Office_Products", "Office_Products"),
        ("2014", "toys and games", "Toys_and_Games"),
        ("2014", "beauty", "Beauty"),
        ("2018", "beauty", "All_Beauty"),
        ("2018", "amazon-fashion", "AMAZON_FASHION"),
        ("2023", "baby", "Baby_Products"),
    ],
)
def test_names(year: str, name: str, official: str) -> None:
    assert addresses.domain_key(year, name) == official


def test_sizes_of_the_releases() -> None:
    assert {year: len(set(r.official)) for year, r in addresses.RELEASES.items()} == {
        "2014": 24,
        "2018": 29,
        "2023": 34,
    }


def test_unknown_names_answer_with_near_ones() -> None:
    with pytest.raises(UnknownNameError, match="did you mean gift_cards"):
        addresses.domain_key("2018", "giftcards")
    with pytest.raises(UnknownNameError, match="unknown release '2015'"):
        addresses.domain_key("2015", "baby")
    with pytest.raises(UnknownNameError):
        addresses.domain_key("2014", "gift_cards")


def test_remotes() -> None:
    found = addresses.remotes("2014", ("office",))
    assert [remote.name for remote in found] == ["reviews_Office_Products_5.json.gz", "meta_Office_Products.json.gz"]
    base = "http://snap.stanford.edu/data/amazon/productGraph/categoryFiles"
    assert found[0].url == f"{base}/reviews_Office_Products_5.json.gz"
    names = [remote.name for year in ("2018", "2023") for remote in addresses.remotes(year, ("gift_cards",))]
    assert names == [
        "Gift_Cards_5.json.gz",
        "meta_Gift_Cards.json.gz",
        "Gift_Cards.jsonl.gz",
        "meta_Gift_Cards.jsonl.gz",
    ]
