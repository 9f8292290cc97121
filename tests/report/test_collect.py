from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.report.shop import HANDLER, SCRIPT
from tests.shop import home_at
from unimp_bench.board import rows as board_rows
from unimp_bench.dataset import Dataset
from unimp_bench.errors import ConfigError
from unimp_bench.places import Home
from unimp_bench.report import collect


def test_rows_are_the_leaderboards(home: Home, data: dict[str, Any]) -> None:
    board = board_rows(home, "shop")
    assert len(data["rows"]) == board.height
    (line,) = board.filter(
        pl.col("runner") == "popularity", pl.col("metric") == "ndcg@5", pl.col("cohort") == "in_domain"
    ).to_dicts()
    rows = [dict(zip(data["columns"], row, strict=True)) for row in data["rows"]]
    (row,) = [
        row
        for row in rows
        if data["runs"][row["run"]]["runner"] == "popularity"
        and data["runs"][row["run"]]["task"] == "search"
        and (row["metric"], row["cohort"]) == ("ndcg@5", "in_domain")
    ]
    assert row["value"] == pytest.approx(line["value"], abs=1e-6)
    assert (row["n"], row["tier"]) == (line["n"], line["tier"])
    assert data["runs"][row["run"]]["seconds_fit"] == line["seconds_fit"]


def test_settings_of_one_runner_are_told_apart_by_what_differs(data: dict[str, Any]) -> None:
    names = {run["runner"] for run in data["runs"] if run["task"] == "search"}
    assert names == {"random", "popularity", "bm25 k1=1.5", "bm25 k1=1.2"}


def test_variants_are_marked_and_limited_runs_absent(data: dict[str, Any]) -> None:
    assert {run["variant"] for run in data["runs"]} == {"", "NT-0.2"}
    assert "constant" not in json.dumps(data["runs"])


def test_learning_curves_by_fit(data: dict[str, Any]) -> None:
    lines = {(one["runner"], one["seed"], one["name"]): one for one in data["curves"] if one["stage"] == "fit"}
    assert {key[:2] for key in lines} == {("trained steps=4", 0), ("trained steps=4", 1), ("trained steps=260", 0)}
    short = lines["trained steps=4", 1, "loss"]
    assert (short["tasks"], short["steps"]) == (["recommendation"], [0, 1, 2, 3])
    assert short["values"] == pytest.approx([2, 1, 2 / 3, 0.5], abs=1e-6)
    long = lines["trained steps=260", 0, "recall"]
    assert (len(long["steps"]), long["steps"][0], long["steps"][-1]) == (200, 0, 259)
    assert long["values"][-1] == pytest.approx(25.9)
    assert [one["values"] for one in data["curves"] if one["stage"] == "pretrain"] == [[None]] * 3


def test_confusion_by_system_and_cohort(home: Home, data: dict[str, Any]) -> None:
    found = {(one["system"], one["cohort"]): one["counts"] for one in data["mistakes"]}
    assert {name for name, _ in found} == {"mean_rating", "user_mean"}
    assert {cohort for _, cohort in found} == {"in_domain", "new_user", "new_domain"}
    shop = Dataset.open(home, "shop")
    asked = shop.examples("preference", "test").filter(pl.col("cohort") == "in_domain").select("example_id").collect()
    due = asked.join(shop.sealed_answers("preference"), on="example_id")["rating"].to_list()
    counts = found["mean_rating", "in_domain"]
    assert [len(row) for row in counts] == [6] * 5
    assert [sum(row) for row in counts] == [due.count(rating) for rating in (1, 2, 3, 4, 5)]


def test_slices_by_cohort_and_within(data: dict[str, Any]) -> None:
    blocks = {(one["task"], one["cohort"], one["family"]): one for one in data["slices"]}
    block = blocks["search", "", "cohort"]
    assert block["slices"] == ["in_domain", "new_user", "new_domain"]
    assert block["n"] == [20, 4, 6]
    assert all(len(values) == 3 for values in block["values"])
    inside = blocks["search", "in_domain", "picture"]
    assert sum(inside["n"]) == 20
    weighted = sum(n * value for n, value in zip(inside["n"], inside["values"][0], strict=True)) / 20
    assert inside["means"][0] == pytest.approx(weighted, abs=1e-5)


def test_examples_say_what_was_asked_answered_and_wanted(home: Home, data: dict[str, Any]) -> None:
    shop = Dataset.open(home, "shop")
    search = data["examples"]["search"]
    assert set(search["systems"]) == {"random", "popularity", "bm25 k1=1.5", "bm25 k1=1.2"}
    assert 3 <= len(search["examples"]) <= 24
    wanted = dict(shop.sealed_answers("search").select("example_id", "item_ids").iter_rows())
    for example in search["examples"]:
        assert example["answer"]["items"] == wanted[example["id"]]
        assert [one["system"] for one in example["said"]] == [0, 1, 2, 3]
        for said in example["said"]:
            assert len(said["items"]) <= 5
            listed = wanted[example["id"]][0] in said["items"]
            assert listed == (1 <= said["rank"] <= 5)
    assert {item for one in search["examples"] for said in one["said"] for item in said["items"]} <= set(data["items"])


def test_every_kind_of_answer(data: dict[str, Any]) -> None:
    said = {task: one["examples"][0]["said"][0] for task, one in data["examples"].items()}
    assert 1 <= said["preference"]["rating"] <= 5
    assert said["explanation"]["text"]
    assert set(said["selection"]["items"]) <= set(data["examples"]["selection"]["examples"][0]["candidates"])
    assert data["pictures"][said["image_generation"]["image"]].startswith("data:image/")
    assert all(one["value"] is None for one in data["examples"]["image_generation"]["examples"][0]["said"])


def test_texts_are_cut_and_markup_is_left_as_it_is(data: dict[str, Any]) -> None:
    titles = {item["title"] for item in data["items"].values()}
    assert {SCRIPT, HANDLER} <= titles
    assert max(map(len, titles)) < 250
    assert data["examples"]["search"]["examples"][0]["history"][0][2] == HANDLER


def test_nothing_to_report_on_is_one_line(tmp_path: Path) -> None:
    home = home_at(tmp_path / "home")
    with pytest.raises(ConfigError, match="no finished run on shop"):
        collect(home, Dataset.open(home, "shop"))
