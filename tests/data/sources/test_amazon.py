from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import polars as pl
import pytest

from unimp_bench.data.drops import DropLog
from unimp_bench.data.sources import amazon2018, amazon2023
from unimp_bench.data.sources.amazon2014 import Amazon2014
from unimp_bench.data.sources.amazon2018 import Amazon2018
from unimp_bench.data.sources.amazon2023 import Amazon2023
from unimp_bench.errors import ConfigError, InputError, UnknownNameError
from unimp_bench.progress import Silent
from unimp_bench.schemas import RAW_ITEMS, RAW_ROWS, RAW_TEXTS


class Listening(Silent):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def say(self, message: str) -> None:
        self.heard.append(message)


def pack(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(line + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def review(user: str, item: str, **change: object) -> str:
    row = {
        "reviewerID": user,
        "asin": item,
        "overall": 4.0,
        "unixReviewTime": 1400000000,
        "summary": "s",
        "reviewText": "t",
    }
    return json.dumps(row | change)


def wanted(*pairs: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame(pairs, schema=["item_id", "domain"], orient="row")


@pytest.fixture
def baby(tmp_path: Path) -> Path:
    pack(
        tmp_path / "reviews_Baby_5.json.gz",
        [
            review("u1", "B1", summary="It&#39;s ok", reviewText=" Fine &amp; soft "),
            "",
            review("u2", "B2", overall=0),
            review("u3", "B2", reviewText="", summary=None),
        ],
    )
    meta = [
        {
            "asin": "B1", "title": "Men&#39;s \"bib\"", "brand": "", "price": 3.5, "imUrl": "http://x/1",
            "categories": [["Baby"], ["Baby", "Bibs"]], "description": "A <b>bib</b>",
            "related": {"also_bought": ["B2"]},
        },
        {"asin": "B1", "title": "again"},
        {"asin": "B2"},
        {"asin": "B3", "title": "unwanted"},
    ]  # fmt: skip
    pack(tmp_path / "meta_Baby.json.gz", map(repr, meta))
    return tmp_path


def test_2014_rows_texts_and_items(baby: Path) -> None:
    source, drops = Amazon2014(baby, ("Baby",)), DropLog()
    assert source.domains == ("baby",)
    assert [path.name for path in source.inputs()] == ["reviews_Baby_5.json.gz", "meta_Baby.json.gz"]
    rows = source.rows(drops, Silent())
    assert rows.schema == dict(RAW_ROWS)
    assert rows.rows() == [
        ("u1", "B1", "baby", 1_400_000_000_000, 4.0, None, 0),
        ("u3", "B2", "baby", 1_400_000_000_000, 4.0, None, 3),
    ]
    assert drops.frame().rows() == [("read", "baby", "rating_out_of_range", 1)]
    texts = source.texts(rows, Silent())
    assert texts.schema == dict(RAW_TEXTS)
    assert texts.rows() == [("baby", 0, "It's ok", "Fine & soft"), ("baby", 3, None, None)]
    items = source.items(wanted(("B1", "baby"), ("B2", "baby"), ("B9", "baby")), drops, Silent())
    assert items.schema == dict(RAW_ITEMS)
    assert items.rows() == [
        ("B1", "baby", 'Men\'s "bib"', None, ["Baby", "Bibs"], 3.5, "A bib", [], ["http://x/1"]),
        ("B2", "baby", None, None, None, None, None, [], []),
    ]
    assert drops.frame().filter(stage="items").rows() == [("items", "baby", "second_metadata_record", 1)]


def test_texts_of_one_row_only(baby: Path) -> None:
    source = Amazon2014(baby, ("baby",))
    assert source.texts(pl.DataFrame({"domain": ["baby"], "source_row": [3]}), Silent())["source_row"].to_list() == [3]
    none = pl.DataFrame({"domain": [], "source_row": []}, schema={"domain": pl.String, "source_row": pl.Int64})
    assert source.texts(none, Silent()).schema == dict(RAW_TEXTS)


def test_domains_stand_side_by_side_or_in_folders_of_their_own(baby: Path) -> None:
    pack(baby / "clothing_shoes_and_jewelry/reviews_Clothing_Shoes_and_Jewelry.json", [review("u1", "B1")])
    source = Amazon2014(baby, ("clothing", "baby", "Baby"))
    assert source.domains == ("clothing_shoes_and_jewelry", "baby")
    rows = source.rows(DropLog(), Silent())
    assert rows["domain"].to_list() == ["clothing_shoes_and_jewelry", "baby", "baby"]
    talk = Listening()
    items = source.items(wanted(("B1", "clothing_shoes_and_jewelry"), ("B1", "baby")), DropLog(), talk)
    assert items["domain"].to_list() == ["baby"]
    assert "no metadata" in talk.heard[0]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"reviews_Baby_5\.json\.gz or reviews_Baby\.json\.gz"):
        Amazon2014(tmp_path, ("baby",)).inputs()
    with pytest.raises(InputError, match="no such folder"):
        Amazon2014(tmp_path / "absent", ("baby",)).inputs()
    with pytest.raises(UnknownNameError, match="did you mean beauty"):
        Amazon2014(tmp_path, ("beuty",))
    with pytest.raises(ConfigError, match="no domain"):
        Amazon2014(tmp_path, ())
    pack(tmp_path / "reviews_Baby_5.json.gz", [])
    with pytest.raises(InputError, match="no review"):
        Amazon2014(tmp_path, ("baby",)).rows(DropLog(), Silent())


def test_pictures_by_asin(baby: Path) -> None:
    source = Amazon2014(baby, ("baby",))
    assert source.pictures(["B1"]) is None
    for name in ("B1.png", "B1.JPG", "B2.webp", "B3.txt", "B9.jpg"):
        (baby / "images").mkdir(exist_ok=True)
        (baby / "images" / name).touch()
    found = source.pictures(["B1", "B2", "B3"])
    assert found is not None
    assert {item: path.name for item, path in found.items()} == {"B1": "B1.JPG", "B2": "B2.webp"}


def test_2018_reads_both_schemas(tmp_path: Path) -> None:
    new = {
        "asin": "B1", "title": "Card", "brand": "Shop", "price": "$1,234.56", "category": ["Gift Cards", "A &amp; B"],
        "description": ["One.", "Two."], "imageURL": ["http://x/s.jpg"], "imageURLHighRes": ["http://x/l.jpg"],
        "details": {"\n ASIN: ": "B1", "Weight:": "3 oz"}, "feature": ["Short", "x" * 300], "main_cat": "Gift Cards",
    }  # fmt: skip
    assert amazon2018.fields(new) == {
        "title": "Card", "brand": "Shop", "categories": ["Gift Cards", "A & B"], "price_usd": 1234.56,
        "description": "One. Two.", "image_urls": ["http://x/l.jpg", "http://x/s.jpg"],
        "attributes": [
            {"name": "Weight", "value": "3 oz"}, {"name": "Department", "value": "Gift Cards"},
            {"name": "Feature 1", "value": "Short"},
        ],
    }  # fmt: skip
    assert amazon2018.fields({"image": ["http://x/1.jpg"], "price": ".a{color:red}"})["image_urls"] == [
        "http://x/1.jpg"
    ]
    pack(tmp_path / "Gift_Cards_5.json.gz", [review("u", "B1")])
    pack(tmp_path / "older_schema_meta_Gift_Cards.json.gz", [json.dumps({"asin": "B1", "title": "old"})])
    source = Amazon2018(tmp_path, ("gift_cards",))
    assert source.items(wanted(("B1", "gift_cards")), DropLog(), Silent())["title"].to_list() == ["old"]
    pack(tmp_path / "meta_Gift_Cards.json.gz", [repr({"asin": "B1", "title": "new", "x": None})])
    assert source.items(wanted(("B1", "gift_cards")), DropLog(), Silent())["title"].to_list() == ["new"]


def test_2023_is_keyed_by_parent_and_in_milliseconds(tmp_path: Path) -> None:
    row = {
        "user_id": "u",
        "asin": "B0",
        "parent_asin": "B1",
        "rating": 5,
        "timestamp": 1588615855070,
        "title": "a",
        "text": "b",
    }
    pack(tmp_path / "Amazon_Fashion.jsonl.gz", [json.dumps(row)])
    meta = {
        "parent_asin": "B1", "title": "Bag", "store": "Shop", "price": 9.5, "categories": [], "description": [],
        "details": {"Brand": "Maker", "Color": "red", "Best Sellers Rank": {"x": 1}}, "main_category": "AMAZON FASHION",
        "images": [
            {"variant": "PT01", "hi_res": "http://x/2.jpg"},
            {"variant": "MAIN", "hi_res": None, "large": "http://x/1.jpg", "thumb": "http://x/0.jpg"},
        ],
    }  # fmt: skip
    pack(tmp_path / "meta_Amazon_Fashion.jsonl.gz", [json.dumps(meta)])
    source = Amazon2023(tmp_path, ("fashion",))
    rows = source.rows(DropLog(), Silent())
    assert rows.rows() == [("u", "B1", "amazon_fashion", 1588615855070, 5.0, None, 0)]
    assert source.texts(rows, Silent()).rows() == [("amazon_fashion", 0, "a", "b")]
    item = source.items(wanted(("B1", "amazon_fashion")), DropLog(), Silent()).row(0, named=True)
    assert item["brand"] == "Maker"
    assert item["categories"] is None
    assert item["image_urls"] == ["http://x/1.jpg", "http://x/2.jpg"]
    assert {"name": "Color", "value": "red"} in item["attributes"]


@pytest.mark.real_data
def test_real_2023_metadata(real_data: Path) -> None:
    with gzip.open(real_data / "amazon2023/fashion/meta_Amazon_Fashion.sample500.jsonl.gz", "rt") as file:
        found = [amazon2023.fields(json.loads(line)) for line in file]
    assert len(found) == 500
    assert all(item["title"] and item["image_urls"][0].startswith("https://") for item in found)
    assert sum(item["price_usd"] is not None for item in found) > 20


def test_another_release_and_an_empty_metadata_file_are_told(baby: Path) -> None:
    shutil.copy(baby / "reviews_Baby_5.json.gz", baby / "Baby_Products.jsonl.gz")
    with pytest.raises(InputError, match=r"no line with 'user_id' in .*another --release"):
        Amazon2023(baby, ("baby",)).rows(DropLog(), Silent())
    pack(baby / "meta_Baby.json.gz", [])
    with pytest.raises(InputError, match=r"meta_Baby\.json\.gz; the file is empty"):
        Amazon2014(baby, ("baby",)).items(wanted(("B1", "baby")), DropLog(), Silent())
