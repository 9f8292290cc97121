from __future__ import annotations

import time

import polars as pl
import pytest

from unimp_bench.data import values
from unimp_bench.data.drops import DropLog
from unimp_bench.schemas import RAW_ROWS


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("Men&#39;s  &amp; Boys'", "Men's & Boys'"),
        ("&amp;amp;", "&amp;"),  # once, not twice
        ('<span class="a">Nice <b>mug</b></span>', "Nice mug"),
        ('<span class="a-size-large', None),
        ("I <3 you, 5 < 6", "I <3 you, 5 < 6"),
        ("var aPageStart = (new Date()).getTime();", None),
        (".aok-hidden{display:none;}", None),
        ("N/A", None),
        ("--", None),
        ("   ", None),
        (None, None),
        (7, None),
        ("a\x00b\ud800", "ab\ufffd"),
    ],
)
def test_name(raw: object, clean: str | None) -> None:
    assert values.name(raw) == clean


@pytest.mark.parametrize(
    ("raw", "price"),
    [
        ("$1,234.56", 1234.56), ("$5", 5.0), ("12.99", 12.99), ("$10.00 - $25.50", 10.0), ("from 14.99", 14.99),
        (3, 3.0), (0.0, 0.0), ("", None), (None, None), ("—", None), ("$1,23.4", None), ("free", None), (True, None),
        (float("nan"), None), (-1, None), (".a-section{margin:0}", None), ("$$$", None), ("1e9", None), ([5], None),
    ],
)  # fmt: skip
def test_price(raw: object, price: float | None) -> None:
    assert values.price_usd(raw) == price


def test_paths_keep_names_and_stop_at_page_code() -> None:
    assert values.path(["Arts &amp; Crafts", "Yarn", "</span></span></span>", "Imported"]) == ["Arts & Crafts", "Yarn"]
    assert values.path(["Gift Cards", "Gift Cards"]) == ["Gift Cards", "Gift Cards"]
    bullets = ["No expiration, no fees.", "Choose your amount from $1.00 to $2,000."]  # as the real files have them
    assert values.path(["Gift Cards", "Gift Cards", *bullets]) == ["Gift Cards", "Gift Cards"]
    assert values.path(["Dolls, etc.", "x" * 80, "x" * 81]) == ["Dolls, etc.", "x" * 80]
    assert values.path([]) is None
    assert values.path("Yarn") is None
    assert values.best_path([["Baby"], ["Baby", "Toys"], ["A", "B"]]) == ["Baby", "Toys"]
    assert values.best_path([["Baby"], ["Toys"]]) == ["Baby"]
    assert values.best_path(None) is None


def test_attributes_are_short_unique_and_ordered() -> None:
    pairs = [
        ("\n  Weight: \n", "3 oz"),
        ("Weight", "4 oz"),
        ("Prose", "x" * 500),
        ("Empty", ""),
        ("Size", 7),
        ("L", ["a", "b"]),
    ]
    assert values.attributes(pairs) == [
        {"name": "Weight", "value": "3 oz"},
        {"name": "Size", "value": "7"},
        {"name": "L", "value": "a, b"},
    ]


def test_the_stump_of_a_link_is_cut_off() -> None:
    found = values.attributes([("Shipping Weight", "3 ounces (<a href='x'></a>")])
    assert found == [{"name": "Shipping Weight", "value": "3 ounces"}]


def test_urls_are_addresses_once_and_in_order() -> None:
    assert values.urls(["http://b", ""], "https://a", None, ["http://b", "x"]) == ["http://b", "https://a"]
    assert values.urls("//c/1.jpg ", "HTTP://d", "httpx://e", 7) == ["https://c/1.jpg", "HTTP://d"]


def test_review_texts() -> None:
    raw = pl.Series("t", [" It&#39;s &amp;amp; good\n", "", None, "plain\x00", "&#160;"])
    assert values.unescaped(raw).to_list() == ["It's &amp; good", None, None, "plain", None]


def rows(**change: object) -> pl.DataFrame:
    row = {
        "user_id": "u",
        "item_id": "i",
        "domain": "d",
        "timestamp": 1e12,
        "rating": 5.0,
        "sequence": None,
        "source_row": 0,
    }
    kinds = {**RAW_ROWS, "timestamp": pl.Float64, "rating": pl.Float64}
    return pl.DataFrame([row | change], schema=kinds)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"user_id": None}, "empty_user_id"),
        ({"user_id": "  "}, "empty_user_id"),
        ({"item_id": "a/b"}, "unsafe_item_id"),
        ({"item_id": "a\\b"}, "unsafe_item_id"),
        ({"item_id": "..a"}, "unsafe_item_id"),
        ({"user_id": "a\nb"}, "unsafe_user_id"),
        ({"user_id": "x" * 257}, "unsafe_user_id"),
        ({"user_id": '{"a": 1}'}, "unsafe_user_id"),
        ({"rating": None}, "rating_missing"),
        ({"rating": float("nan")}, "rating_missing"),
        ({"rating": 0.0}, "rating_out_of_range"),
        ({"rating": 6.0}, "rating_out_of_range"),
        ({"timestamp": None}, "time_missing"),
        ({"timestamp": 0.0}, "time_out_of_range"),
        ({"timestamp": -5.0}, "time_out_of_range"),
        ({"timestamp": 4102444800000.0}, "time_out_of_range"),
        ({"timestamp": 1e300}, "time_out_of_range"),
    ],
)
def test_a_bad_row_is_dropped_for_its_reason(change: dict[str, object], reason: str) -> None:
    drops = DropLog()
    assert values.valid_rows(rows(**change), drops, ratings=True, times=True).height == 0
    assert drops.frame().rows() == [("read", "d", reason, 1)]


@pytest.mark.parametrize(
    "change", [{}, {"user_id": "x" * 256}, {"rating": 1.0}, {"timestamp": 1.0}, {"user_id": "ü.n_-@1"}]
)
def test_a_good_row_stays(change: dict[str, object]) -> None:
    drops = DropLog()
    kept = values.valid_rows(rows(**change), drops, ratings=True, times=True)
    assert kept.schema == dict(RAW_ROWS)
    assert kept.height == 1
    assert drops.frame().height == 0


def test_what_a_source_does_not_have_is_not_missed() -> None:
    drops = DropLog()
    assert values.valid_rows(rows(rating=None, timestamp=None), drops, ratings=False, times=False).height == 1


@pytest.mark.parametrize(
    "hostile", ["{" + ":;" * 50_000, "<!--" * 50_000, "US" + " " * 100_000 + "x", "<a" * 50_000, "var " + "x" * 100_000]
)
def test_no_text_keeps_us_busy(hostile: str) -> None:
    began = time.monotonic()
    values.name(hostile)
    values.description([hostile])
    values.price_usd(hostile)
    assert time.monotonic() - began < 5


def test_a_very_long_text_is_cut() -> None:
    assert len(values.description("word " * 100_000) or "") < 100_001
