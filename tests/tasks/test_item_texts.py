"""Which fields of an item a prompt shows, and in which words."""

from __future__ import annotations

import polars as pl

from tests.tasks.shop import interactions, items
from unimp_bench.data import noise
from unimp_bench.tasks.building import Builder, Settings
from unimp_bench.tasks.item_texts import AMAZON, HM, ItemTexts, TextField, cut, disarmed, text_fields
from unimp_bench.tasks.prompts import render


def clothes(rows: int = 4) -> pl.DataFrame:
    """A catalogue like H&M's: no brand, no dollars, named attributes; the last item has none of these."""
    told = [
        {"name": "product group", "value": "Upper body"},
        {"name": "graphical appearance", "value": "Solid"},
        {"name": "perceived colour value", "value": "Dark"},
        {"name": "season", "value": "all"},
        {"name": "price", "value": "0.0254"},
    ]
    listed = [
        {
            "item_id": f"i{k}",
            "title": f"Strap top {k}",
            "categories": ["Ladies", "Basics", "Vest"],
            "attributes": [{**entry, "value": entry["value"] + (f" {k}" if place < 3 else "")} for place, entry in
                           enumerate(told)] if k < rows - 1 else [],
        }
        for k in range(rows)
    ]  # fmt: skip
    return items(listed)


def body(catalogue: pl.DataFrame, style: str = "paper", row: int = 0) -> str:
    text: str = ItemTexts.of(catalogue, text_fields(catalogue, style)).rows["body"][row]
    return text


def test_what_no_item_has_is_left_out_and_named_attributes_stand_in() -> None:
    """One value for all (season) and bare numbers (price) say nothing in words."""
    assert body(clothes()) == (
        "Category Ladies Basics Vest Title Strap top 0 Product group Upper body 0 Graphical appearance Solid 0 "
        "Perceived colour value Dark 0"
    )
    assert body(clothes(), row=3).endswith("Title Strap top 3 Product group Unknown Graphical appearance Unknown "
                                           "Perceived colour value Unknown")  # fmt: skip


def test_a_catalogue_with_all_four_fields_keeps_the_paper_s_text() -> None:
    full = clothes().with_columns(brand=pl.when(pl.col("item_index") == 0).then(pl.lit("Monki")), price_usd=pl.lit(5.0))
    assert text_fields(full, "paper") == text_fields(full.drop_nulls("brand"), "paper") == AMAZON
    assert body(full, row=1) == "Category Ladies Basics Vest Price 5.00 Brand Unknown Title Strap top 1"


def test_the_released_code_has_a_template_a_shop() -> None:
    assert text_fields(clothes(), "official_code") == HM
    assert body(clothes(), "official_code") == "Name Strap top 0 Appearance Solid 0 Color Dark 0 Section Basics"
    bare = items([{"item_id": "a"}])
    assert body(bare, "official_code") == "Category Toys Games Board Games Price Unknown Brand Unknown Title Title a"


def test_at_most_four_attributes_that_half_of_the_items_carry() -> None:
    names = ["one", "two", "three", "four", "five"]
    rows = [
        {"item_id": str(k), "attributes": [{"name": n, "value": f"v {k}"} for n in names if n != "two" or k == 0]}
        for k in range(4)
    ]
    fields = text_fields(items(rows), "paper")
    assert [field.label for field in fields] == ["Category", "Title", "One", "Three", "Four", "Five"]


def test_names_of_attributes_are_foreign_text_too() -> None:
    rows = [{"item_id": str(k), "attributes": [{"name": "<image> item_5", "value": f"<image> {k} a"}]} for k in (1, 2)]
    catalogue = items(rows)
    assert text_fields(catalogue, "paper")[-1] == TextField("(image) item-5", "attributes:<image> item_5")
    assert body(catalogue).endswith("(image) item-5 (image) 1 a")


def test_a_catalogue_without_any_words_gets_none() -> None:
    nothing = items([{"item_id": name, "title": None, "categories": None} for name in "abc"])
    assert text_fields(nothing, "paper") == ()
    rows = interactions([("u", "a", "train"), ("u", "b", "valid"), ("u", "c", "test")])
    frame = Builder(nothing, Settings(), []).examples("recommendation", "test", rows)
    assert frame["instruction"].item().startswith("<image> ID item_0 <|endofchunk|> <image> ID item_1 <|endofchunk|>")


def test_noise_says_unknown_in_the_fields_of_the_clean_catalogue() -> None:
    catalogue = clothes(3)
    rows = interactions([("u", "i0", "train"), ("u", "i1", "valid"), ("u", "i2", "test")])
    builder = Builder(catalogue, Settings(), [])
    clean = builder.examples("recommendation", "test", rows)
    same = render("recommendation", clean, catalogue, fields=builder.fields)
    assert same.equals(clean)
    lost = noise.apply(catalogue, "NT", 1.0)
    noisy = render("recommendation", clean, lost, fields=builder.fields)["instruction"].item()
    assert noisy.count("Unknown") == 2 * len(builder.fields)
    assert "Strap" not in noisy


def test_disarming_leaves_ordinary_text_alone() -> None:
    plain = ["I <3 it", "a < b and c > d", "snake_case", "5_000", "", "日本_語", None]
    frame = pl.DataFrame({"text": plain}).select(disarmed(pl.col("text")))
    assert frame["text"].to_list() == ["I <3 it", "a < b and c > d", "snake_case", "5-000", "", "日本_語", None]


def test_fields_are_cut_to_twenty_words() -> None:
    words = pl.DataFrame({"text": ["  one\ttwo\n three ", "   ", None]})
    assert words.select(cut(pl.col("text"), 2))["text"].to_list() == ["one two", None, None]
    long = items([{"item_id": "a", "title": " ".join(str(k) for k in range(30)), "price_usd": 0.0}])
    body = ItemTexts.of(long, AMAZON).rows["body"].item()
    assert body.endswith("18 19")
    assert "Price 0.00" in body
