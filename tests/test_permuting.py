from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest

from tests.fakes import Base, register
from tests.shop import home_at
from unimp_bench import execute, permuting, tables
from unimp_bench.dataset import Catalogue, Dataset
from unimp_bench.metrics.spec import METRICS
from unimp_bench.places import Home
from unimp_bench.provenance import read_manifest
from unimp_bench.runners.protocol import Context
from unimp_bench.schemas import PREDICTIONS


def _examples(count: int, width: int) -> pl.DataFrame:
    names = [chr(ord("a") + place) for place in range(width)]
    return pl.DataFrame({"example_id": [f"u{n:04d}" for n in range(count)], "candidates": [names] * count, "more": 1})


def test_every_list_stands_in_another_order_and_lacks_nothing() -> None:
    for width in (2, 3, 8):
        before = _examples(200, width)
        after = permuting.permuted(before)
        assert after.drop("candidates").equals(before.drop("candidates"))
        pairs = list(zip(before["candidates"].to_list(), after["candidates"].to_list(), strict=True))
        assert all(sorted(left) == sorted(right) and left != right for left, right in pairs)
    firsts = after["candidates"].list.first().value_counts()["count"]
    assert firsts.len() == 8  # every candidate comes first somewhere
    assert int(firsts.max()) < 60  # type: ignore[arg-type]


def test_one_candidate_or_none_stays() -> None:
    frame = pl.DataFrame({"example_id": ["a", "b"], "candidates": [["x"], ["x", "y"]], "more": [1, 2]})
    assert permuting.permuted(frame)["candidates"].to_list() == [["x"], ["y", "x"]]


def test_order_and_sample_depend_on_ids_alone() -> None:
    frame = _examples(50, 6)
    whole = permuting.permuted(frame)
    assert permuting.permuted(frame.reverse()).reverse().equals(whole)
    assert permuting.permuted(frame[7:9]).equals(whole[7:9])
    some = permuting.sample(frame, 20)
    assert some.height == 20
    assert some["example_id"].is_sorted()
    assert permuting.sample(frame.reverse(), 20).reverse().equals(some)
    assert permuting.sample(frame, 50) is frame


@dataclass
class Reader(Base):
    """Takes what stands first in the instruction's text, not in the column: order-biased through its prompt."""

    tasks: ClassVar[frozenset[str]] = frozenset({"selection"})
    examples_a_part: ClassVar[int] = 7
    fuse: Path = Path("fuse")
    notes: Path = Path("notes")

    def predict(self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context) -> Iterator[pl.DataFrame]:
        chosen = []
        for text, given, pictures in examples.select("instruction", "candidates", "image_item_ids").iter_rows():
            assert pictures[-len(given) :] == given
            (number,) = re.findall(r"s_0 .*?number (\d+)", text)
            chosen.append([f"i{int(number):02d}"])
        with self.notes.open("a") as file:
            file.write(f"{examples.height}\n")
        if self.fuse.exists() and len(self.notes.read_text().splitlines()) == 3:
            raise RuntimeError("the fuse blew")
        yield examples.select("example_id", item_ids=pl.Series(chosen))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    register(monkeypatch, reader="tests.test_permuting:Reader")
    return home_at(tmp_path / "home")


def _metrics(folder: Path) -> dict[str, dict[str, Any]]:
    rows = json.loads((folder / "metrics.json").read_text())["metrics"]
    return {row["slice"]: row for row in rows if row["metric"] == "order_sensitivity"}


def test_whoever_takes_the_first_is_found_out_and_who_takes_all_does_not_mind(home: Home) -> None:
    biased, calm, drawn = (
        execute.run(home, "shop", "selection", name) for name in ("first_candidate", "all_candidates", "random")
    )
    assert _metrics(biased)["in_domain"]["value"] > 0.6
    for folder in (calm, drawn):
        assert {row["value"] for row in _metrics(folder).values()} == {0.0}
    asked = Dataset.open(home, "shop").examples("selection", "test").collect()
    assert sum(row["n"] for row in _metrics(biased).values()) == asked.height
    manifest = read_manifest(biased)
    assert manifest is not None
    assert "permuted.parquet" in manifest.outputs


def test_the_text_is_rendered_for_the_new_order(home: Home, tmp_path: Path) -> None:
    given = {"fuse": str(tmp_path / "fuse"), "notes": str(tmp_path / "notes")}
    folder = execute.run(home, "shop", "selection", "reader", parameters=given)
    first = execute.run(home, "shop", "selection", "first_candidate")
    for name in ("predictions.parquet", "permuted.parquet"):
        kind = PREDICTIONS["selection"]
        assert tables.read(folder / name, kind)["item_ids"].equals(tables.read(first / name, kind)["item_ids"]), name


def test_a_sample_is_asked_and_its_number_is_kept(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permuting.sample, "__defaults__", (5,))
    folder = execute.run(home, "shop", "selection", "first_candidate")
    assert tables.read(folder / "permuted.parquet", PREDICTIONS["selection"]).height == 5
    assert sum(row["n"] for row in _metrics(folder).values() if row["value"] is not None) == 5
    scores = pl.read_parquet(folder / "scores.parquet").filter(metric="order_sensitivity")
    assert scores["value"].drop_nulls().len() == 5 < scores.height


def test_it_goes_on_where_it_was_killed(home: Home, tmp_path: Path) -> None:
    fuse, notes = tmp_path / "fuse", tmp_path / "notes"
    given = {"fuse": str(fuse), "notes": str(notes)}
    whole = execute.run(home, "shop", "selection", "reader", parameters=given)
    parts = len(notes.read_text().splitlines())
    wanted = {name: (whole / name).read_bytes() for name in ("permuted.parquet", "scores.parquet", "metrics.json")}
    notes.write_text("")
    (whole / "manifest.json").unlink()
    for name in wanted:
        (whole / name).unlink()
    fuse.touch()
    with pytest.raises(RuntimeError):
        execute.run(home, "shop", "selection", "reader", parameters=given)
    assert parts == 4  # 2 of the first round, 2 of the second; the third call died
    fuse.unlink()
    assert execute.run(home, "shop", "selection", "reader", parameters=given) == whole
    assert len(notes.read_text().splitlines()) == 3 + 2
    assert {name: (whole / name).read_bytes() for name in wanted} == wanted
    assert not list(whole.glob("parts*"))


def test_a_run_from_before_is_asked_again_when_it_is_scored_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = execute.run(home, "shop", "selection", "first_candidate")
    wanted = (folder / "metrics.json").read_bytes()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["facts"]["metrics"]["order_sensitivity"] = METRICS["order_sensitivity"].version - 1
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "permuted.parquet").unlink()
    (folder / "metrics.json").write_text('{"metrics": []}')
    execute.run(home, "shop", "selection", "first_candidate")
    assert (folder / "metrics.json").read_bytes() == wanted
    assert (folder / "permuted.parquet").is_file()
    assert not list(folder.glob("parts*"))
