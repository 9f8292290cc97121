"""The counts that the real files are known to have, read by our adapters and cored."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from unimp_bench.data.cores import drop_duplicates, k_core
from unimp_bench.data.drops import DropLog
from unimp_bench.data.sources.amazon2018 import Amazon2018
from unimp_bench.data.sources.base import Source
from unimp_bench.data.sources.files import Files
from unimp_bench.data.sources.hm import HM
from unimp_bench.progress import Silent

pytestmark = pytest.mark.real_data


def cored(source: Source, core: int) -> tuple[int, pl.DataFrame]:
    """Rows as read, and the core of the rows without repeated pairs."""
    rows = source.rows(DropLog(), Silent())
    return rows.height, k_core(drop_duplicates(rows, "first", DropLog()), core, core)[0]


def counts(frame: pl.DataFrame) -> tuple[int, int, int]:
    return frame.height, frame["user_id"].n_unique(), frame["item_id"].n_unique()


@pytest.mark.parametrize(
    ("domain", "raw", "expected"), [("gift_cards", 2_972, (2_941, 453, 147)), ("all_beauty", 5_269, (686, 137, 24))]
)
def test_amazon_2018(real_data: Path, domain: str, raw: int, expected: tuple[int, int, int]) -> None:
    read, frame = cored(Amazon2018(real_data / "amazon2018" / domain, (domain,)), 5)
    assert (read, counts(frame)) == (raw, expected)


def test_gift_cards_joined_with_metadata_and_texts(real_data: Path) -> None:
    source = Amazon2018(real_data / "amazon2018", ("gift_cards",))
    _, frame = cored(source, 5)
    items = source.items(frame.select("item_id", "domain").unique(), DropLog(), Silent())
    assert items.height == 147
    assert items["title"].null_count() == 0
    assert not items["title"].str.contains("&amp;|&#|<span").any()
    assert items["price_usd"].drop_nulls().is_between(0, 5_000).all()
    texts = source.texts(frame, Silent())
    assert (texts.height, texts["review_text"].null_count()) == (2_941, 6)


def test_musical_instruments_is_unchanged_by_its_core(real_data: Path) -> None:
    source = Files(real_data / "amazon2014/musical_instruments/Musical_instruments_reviews.csv.zip")
    read, frame = cored(source, 5)
    assert (read, counts(frame)) == (10_261, (10_261, 1_429, 900))
    texts = source.texts(frame, Silent())
    assert (texts.height, texts["review_text"].null_count()) == (10_261, 7)
    assert not texts["review_text"].str.contains("&#34;", literal=True).any()


@pytest.mark.parametrize(("core", "expected"), [(3, (14_692, 901, 2_423)), (5, (8_616, 564, 942))])
def test_hm(real_data: Path, core: int, expected: tuple[int, int, int]) -> None:
    source = HM(real_data / "hm")
    read, frame = cored(source, core)
    assert (read, counts(frame)) == (31_662, expected)
    pictures = source.pictures(frame["item_id"].unique().to_list())
    assert pictures is not None
    assert len(pictures) == expected[2]
    items = source.items(frame.select("item_id", "domain").unique(), DropLog(), Silent())
    assert (items.height, items["title"].null_count(), items["categories"].null_count()) == (expected[2], 0, 0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("beauty", (198_502, 22_363, 12_101)), ("toys", (167_597, 19_412, 11_924)), ("sports", (296_337, 35_598, 18_357))],
)
def test_published_sequences(real_data: Path, name: str, expected: tuple[int, int, int]) -> None:
    folder = real_data / "sequences" / name
    source = Files(folder / "interactions.csv.gz", folder / "items.csv.gz")
    read, frame = cored(source, 5)
    assert (read, counts(frame)) == (expected[0], expected)
    assert frame["sequence"].null_count() == 0


@pytest.mark.parametrize(("name", "items"), [("clothing_bundles", 4_487), ("food_bundles", 3_767)])
def test_bundles_keep_commas_inside_category_names(real_data: Path, name: str, items: int) -> None:
    folder = real_data / "sequences" / name
    source = Files(folder / "interactions.csv.gz", folder / "items.csv.gz")
    rows = source.rows(DropLog(), Silent())
    found = source.items(rows.select("item_id", "domain").unique(), DropLog(), Silent())
    assert found.height == items
    roots = set(found["categories"].drop_nulls().list.first())
    assert roots <= {"Clothing, Shoes & Jewelry", "Grocery & Gourmet Food"} or len(roots) < 30
    levels = found["categories"].explode().drop_nulls()
    assert not levels.str.contains(r"[\[\]]|&amp;").any()
