"""`build` in this process, on a shop of six people: what it leaves behind, records and refuses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import polars as pl
import pytest

from unimp_bench import requests, tables
from unimp_bench.config import BuildConfig
from unimp_bench.data.opening import Places
from unimp_bench.dataset import Dataset, names
from unimp_bench.pipeline import build
from unimp_bench.places import Home
from unimp_bench.progress import Silent
from unimp_bench.requests import Request
from unimp_bench.schemas import INTERACTIONS, ITEMS
from unimp_bench.variants import write_variant
from unimp_bench.verify import verify

REVIEW = "The strap is great and my strap is lovely."


@pytest.fixture
def asked(tmp_path: Path) -> Request:
    """Six people who reviewed six things each, grouped by person as exported tables are."""
    rows = [
        {"user_id": f"u{u}", "item_id": f"i{i}", "timestamp": 86_400 * (1 + i + u), "rating": 4, "review_text": REVIEW}
        for u in range(6)
        for i in range(6)
    ]
    things = [{"item_id": f"i{i}", "title": f"Thing {i}", "colour": f"shade {'ab'[i % 2]}"} for i in range(6)]
    for name, lines in (("rows", rows), ("things", things)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    places = Places(interactions=tmp_path / "rows.jsonl", items=tmp_path / "things.jsonl")
    return Request("files", "six", places, BuildConfig(core_user=1, core_item=1))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_visible_rows_say_nothing_of_their_place_in_the_raw_file(home: Home, asked: Request) -> None:
    """There the gap between two people's rows would be the number of rows held out of the first."""
    dataset = build(home, asked)
    visible = tables.read(dataset.folder / "visible/interactions.parquet", INTERACTIONS)
    assert visible.columns == list(INTERACTIONS.columns)
    assert "source_row" not in visible.columns
    assert "source_row" in dataset.sealed_interactions().collect_schema().names()


def test_the_manifest_says_what_chose_explanations_and_item_text(home: Home, asked: Request) -> None:
    facts = build(home, asked).manifest.facts
    assert facts["explanations"] == {"extractor": "feature noun + opinion word, version 1", "features": 1}
    assert facts["item_text"] == [["Title", "title"], ["Colour", "attributes:colour"]]
    card = (home.dataset("six") / "README.md").read_text()
    assert "chosen by `feature noun + opinion word, version 1`" in card


def test_a_rebuild_leaves_nothing_of_killed_and_superseded_builds(home: Home, asked: Request) -> None:
    build(home, asked)
    stale = home.building("six", "0123456789abcdef")
    (stale / ".state").mkdir(parents=True)
    doomed = home.root / "data/.six.99.doomed"
    home.dataset("six").rename(doomed)  # killed between two names
    assert names(home) == []
    build(home, dataclasses.replace(asked, config=dataclasses.replace(asked.config, seed=1)), force=True)
    assert not stale.exists()
    assert sorted(path.name for path in (home.root / "data").iterdir()) == [".building", "six"]


@pytest.mark.parametrize("made", ["prompts", "extractor"])
def test_other_words_are_another_build(home: Home, asked: Request, monkeypatch: pytest.MonkeyPatch, made: str) -> None:
    first = build(home, asked).manifest.id
    if made == "prompts":
        monkeypatch.setattr(requests, "PROMPTS_VERSION", 99)
    else:
        monkeypatch.setattr(requests, "EXTRACTOR", "another")
    assert build(home, asked, force=True).manifest.id != first


def test_a_variant_is_made_anew_over_what_a_killed_writer_left(home: Home, asked: Request) -> None:
    dataset = build(home, asked)
    name = write_variant(dataset, "NT", 0.5, Silent())
    folder = dataset.folder / "variants" / name
    whole = (folder / "items.parquet").read_bytes()
    (folder / "manifest.json").unlink()
    (folder / "items.parquet").write_bytes(b"half")
    (folder / ".items.parquet.99.draft").write_bytes(b"half")
    (folder / "stray.txt").write_text("of an older version")
    assert dataset.variants() == ["clean"]
    assert write_variant(dataset, "NT", 0.5, Silent()) == name
    assert sorted(path.name for path in folder.iterdir()) == ["items.parquet", "manifest.json"]
    assert (folder / "items.parquet").read_bytes() == whole
    assert verify(Dataset.open(home, "six"), home) == []


def test_a_variant_on_its_way_out_is_no_variant(home: Home, asked: Request) -> None:
    dataset = build(home, asked)
    name = write_variant(dataset, "NT", 0.5, Silent())
    folder = dataset.folder / "variants"
    (folder / name).rename(folder / f".{name}.99.doomed")
    assert dataset.variants() == ["clean"]


def test_a_variant_shares_all_but_the_items(home: Home, asked: Request) -> None:
    dataset = build(home, asked)
    name = write_variant(dataset, "NT", 1.0, Silent())
    clean = tables.read(dataset.folder / "visible/items.parquet", ITEMS)
    noisy = tables.read(dataset.folder / "variants" / name / "items.parquet", ITEMS)
    kept = ["item_id", "item_index", "domain", "image_status", "image_id"]
    assert noisy.select(kept).equals(clean.select(kept))
    assert noisy.select(pl.col("title").is_null().all(), (pl.col("attributes").list.len() == 0).all()).row(0) == (
        True,
        True,
    )
