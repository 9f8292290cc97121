from __future__ import annotations

import polars as pl
import pytest

from tests.tasks.shop import items
from unimp_bench.errors import ConfigError
from unimp_bench.tasks.search import ai2017, queries


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (["Camera & Photo", "Digital Camera Lenses"], "photo digital camera lenses"),  # the paper's own example
        (["Men's Clothing", "Shirts, & T-Shirts for Men"], "mens clothing t shirts men"),
        (["Toys"], None),
        ([], None),
        (["&", "for the"], None),
        (["B\u00e9b\u00e9", "\u73a9\u5177", "0_12 months"], "b\u00e9b\u00e9 \u73a9\u5177 0 12 months"),
    ],
)
def test_words_of_all_levels_keep_their_last_place(path: list[str], query: str | None) -> None:
    assert ai2017(path) == query


def test_queries_of_a_catalogue() -> None:
    paths = [["A & B", "C of A"], None, [], ["One"], ["A & B", "C of A"]]
    frame = items([{"item_id": f"i{k}", "categories": path} for k, path in enumerate(paths)])
    assert queries(frame, "ai2017").rows() == [("i0", "b c"), ("i1", None), ("i2", None), ("i3", None), ("i4", "b c")]
    assert queries(frame, "official_code")["query"].to_list() == ["A & B C of A", None, None, "One", "A & B C of A"]


def test_a_catalogue_without_categories_has_no_queries() -> None:
    bare = items([{"item_id": "a"}]).with_columns(pl.lit(None).cast(pl.List(pl.String)).alias("categories"))
    assert queries(bare, "ai2017").rows() == [("a", None)]


def test_an_unknown_form_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="ai2017, official_code"):
        queries(items([{"item_id": "a"}]), "title")
