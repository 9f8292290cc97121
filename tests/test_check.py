from __future__ import annotations

import io
import struct
import zlib

import polars as pl
import pytest
from PIL import Image

from unimp_bench import check
from unimp_bench.dataset import Catalogue
from unimp_bench.errors import PredictionError
from unimp_bench.schemas import EXAMPLES, ITEMS, conform

VIEW = Catalogue(
    conform(
        pl.DataFrame(
            {"item_id": ["a", "b", "c", "o"], "item_index": [0, 1, 2, 3], "domain": ["toys", "toys", "toys", "office"]}
        ),
        ITEMS.columns,
    ),
    frozenset({"office"}),
    (),
)
ASKED = conform(
    pl.DataFrame({"example_id": ["x", "y"], "cohort": ["in_domain", "new_domain"], "candidates": [["a", "b"], ["o"]]}),
    EXAMPLES.columns,
)
SEEN = pl.DataFrame({"example_id": ["x"], "item_id": ["c"]})


def _ranked(x: list[str] | None, y: list[str] | None) -> pl.DataFrame:
    frame = pl.DataFrame({"example_id": ["y", "x"], "item_ids": pl.Series([y, x], dtype=pl.List(pl.String))})
    return check.answers(frame, "ranking", ASKED, VIEW, SEEN)


def test_good_lists_come_back_sorted_by_example() -> None:
    found = _ranked(["b", "a"], ["o"])
    assert found["example_id"].to_list() == ["x", "y"]
    assert found["item_ids"].to_list() == [["b", "a"], ["o"]]
    assert found["scores"].to_list() == [None, None]
    assert _ranked(None, [])["item_ids"].to_list() == [None, []]


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (["a", "z"], ["o"], "not in the catalogue for example 'x' (1 in all)"),
        (["a", "o"], ["o"], "outside the cohort's catalogue for example 'x'"),
        (["a"], ["b"], "outside the cohort's catalogue for example 'y'"),
        (["a", "c"], ["o"], "already had for example 'x'"),
        (["a", "b"] * 26, ["o"], "an item twice for example 'x'"),
    ],
)
def test_bad_lists_are_named(x: list[str], y: list[str], message: str) -> None:
    with pytest.raises(PredictionError) as caught:
        _ranked(x, y)
    assert message in str(caught.value)


def test_selections_stay_among_the_candidates() -> None:
    good = pl.DataFrame(
        {"example_id": ["x", "y"], "item_ids": [["b"], []]}, schema_overrides={"item_ids": pl.List(pl.String)}
    )
    assert check.answers(good, "selection", ASKED, VIEW, SEEN)["item_ids"].to_list() == [["b"], []]
    with pytest.raises(PredictionError, match="not among the candidates for example 'y'"):
        check.answers(good.with_columns(item_ids=pl.lit(["b"])), "selection", ASKED, VIEW, SEEN)


@pytest.mark.parametrize("rating", [0.99, 5.01, float("nan"), float("inf")])
def test_ratings_stay_on_the_scale(rating: float) -> None:
    frame = pl.DataFrame({"example_id": ["x", "y"], "rating": [1.0, 5.0]})
    assert check.answers(frame, "rating", ASKED, VIEW, SEEN)["rating"].to_list() == [1.0, 5.0]
    with pytest.raises(PredictionError, match="rating outside 1-5 for example 'y'"):
        check.answers(frame.with_columns(rating=pl.Series([None, rating])), "rating", ASKED, VIEW, SEEN)


def _png(width: int, height: int) -> bytes:
    """A PNG that says it has that size, and whose pixels are not there."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def _pictured(data: bytes | None) -> pl.DataFrame:
    images = pl.Series([None if data is None else {"bytes": data, "path": None}, None])
    kind = pl.Struct({"bytes": pl.Binary, "path": pl.String})
    frame = pl.DataFrame({"example_id": ["x", "y"], "image": images.cast(kind) if data else images})
    return check.answers(frame, "image", ASKED, VIEW, SEEN)


def test_pictures_must_decode() -> None:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "JPEG")
    assert _pictured(file.getvalue()).height == 2
    assert _pictured(None)["image"].to_list() == [None, None]
    for data in (b"<html>", file.getvalue()[:100], _png(60_000, 60_000), _png(12_000, 8_000), _png(16, 16)):
        with pytest.raises(PredictionError, match="example 'x'"):
            _pictured(data)
