"""The paper's tables beside measured values, and runs made again."""

from __future__ import annotations

import errno
import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from tests.shop import home_at
from unimp_bench import execute, results
from unimp_bench.budget import Budget
from unimp_bench.cli.reproduce import _seconds
from unimp_bench.errors import ConfigError, UnknownNameError
from unimp_bench.paper import reproduce
from unimp_bench.paper.feasibility import feasible
from unimp_bench.paper.tables import PAPER_TABLES
from unimp_bench.places import Home
from unimp_bench.runners import registry


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_at(tmp_path / "home")


def printed(table: str, label: str) -> dict[str, float]:
    part = next(part for parts in PAPER_TABLES.values() for part in parts if part.name == table)
    row = next(row for row in part.rows if row.label == label)
    return dict(zip(part.metrics, row.values, strict=True))


def test_three_users_hit_at_ranks_1_2_and_none() -> None:
    # By hand: HR@3 = 2/3, NDCG@3 = (1 + 1/log2(3)) / 3, MRR@3 = (1 + 1/2) / 3.
    hits = {"hr@3": 0.6667, "ndcg@3": 0.5436, "mrr@3": 0.5}
    assert feasible(hits) is True
    assert feasible({**hits, "ndcg@3": 0.51}) is False
    assert feasible({**hits, "mrr@3": 0.7}) is False
    assert feasible({"mae": 1.0, "rmse": 1.2}) is None


@pytest.mark.parametrize(
    ("table", "label", "expected"),
    [
        ("table1", "UniMP", True),
        ("table1", "S3-Rec", False),  # possible at 5 alone, not at 3 and 5 together
        ("table1", "HGN", False),  # NDCG@3 equals MRR@3 while HR@3 is larger
        ("table2d", "ZAM", True),
        ("table2d", "BM25", False),
        ("table10", "UniMP-Small (MPT-1B)", False),
    ],
)
def test_printed_rows_that_one_list_of_hits_can_or_cannot_give(table: str, label: str, expected: bool) -> None:
    assert feasible(printed(table, label)) is expected


def test_every_printed_row_has_a_figure_for_every_metric() -> None:
    assert list(PAPER_TABLES) == [f"table{n}" for n in (1, 2, 3, 4, 6, 7, 8, 9, 10)]
    for name, parts in PAPER_TABLES.items():
        assert parts, name
        for part in parts:
            assert all(len(row.values) == len(part.metrics) for row in part.rows)


def test_what_is_installed_is_run_and_stands_beside_print(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {name: entry for name, entry in registry.found().items() if name == "bm25"}  # the others learn for minutes
    monkeypatch.setattr(registry, "found", lambda: known)
    rows = reproduce.table(home, "shop", "table2")
    line = rows.filter((rows["system"] == "BM25") & (rows["metric"] == "ndcg@5")).row(0, named=True)
    assert (line["printed"], line["printed_is_possible"], line["remark"]) == (0.0378, False, "")
    assert line["low"] <= line["measured"] <= line["high"]
    absent = rows.filter(rows["system"] == "HEM")
    assert absent["measured"].null_count() == 3
    assert set(absent["remark"]) == {"no such runner is installed"}


def test_a_spent_budget_starts_nothing(home: Home) -> None:
    rows = reproduce.table(home, "shop", "table2", budget_seconds=-1)
    assert set(rows.filter(rows["system"] == "BM25")["remark"]) == {"the budget was spent before"}
    assert not home.runs.exists()


def _fakes(monkeypatch: pytest.MonkeyPatch, **places: str) -> None:
    """Let these be all runners."""
    known = {name: EntryPoint(name, f"tests.{place}", registry.GROUP) for name, place in places.items()}
    monkeypatch.setattr(registry, "found", lambda: known)


def test_rows_share_the_budget_and_one_that_fails_is_a_remark(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where the notes go
    _fakes(monkeypatch, bert4rec="searched:Broken", sasrec="searched:Searched", unimp="searched:Slow", hgn="gone:Gone")
    rows = reproduce.table(home, "shop", "table1", budget_seconds=90)
    said = dict(rows.select("system", "remark").unique().iter_rows())
    assert said["BERT4Rec"].startswith("RuntimeError: first line; traceback in ")
    assert "\n" not in said["BERT4Rec"]
    assert said["SASRec"] == said["UniMP"] == ""
    assert said["HGN"].startswith("runner 'hgn' needs the package 'tests.gone'")
    assert rows.filter(rows["system"] == "SASRec")["measured"].null_count() == 0
    asked = {run.request["runner"]: run.request for run in results.records(home)}
    assert asked["sasrec"]["budget"] == {"seconds": 30.0, "trials": 1}  # a third: unimp and bert4rec were to be run
    assert "budget" not in asked["unimp"]  # it does not keep to one
    fits = [json.loads(line)["max_seconds"] for line in Path("notes").read_text().splitlines()]
    assert fits == [30.0, 30.0, None, None]  # fit and adaptation; who keeps to no limit comes last


def test_a_row_that_was_run_before_costs_nothing(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _fakes(monkeypatch, sasrec="searched:Searched", bert4rec="searched:Broken")
    before = execute.run(home, "shop", "recommendation", "sasrec", budget=Budget(7.0))
    first = reproduce.table(home, "shop", "table1", budget_seconds=-1)
    assert first.filter(first["system"] == "SASRec")["measured"].null_count() == 0
    assert set(first.filter(first["system"] == "BERT4Rec")["remark"]) == {"the budget was spent before"}
    assert [run.folder for run in results.records(home)] == [before]


def test_a_full_disk_ends_the_table(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(execute, "run", full)
    _fakes(monkeypatch, sasrec="searched:Searched")
    with pytest.raises(OSError, match="No space left"):
        reproduce.table(home, "shop", "table1")


def test_table_5_sets_counts_side_by_side(home: Home) -> None:
    path = home.dataset("shop") / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["facts"]["counts"] = {"by_domain": {"beauty": {"users": 3, "items": 4, "interactions": 5}}}
    path.write_text(json.dumps(manifest))
    rows = reproduce.counts(home, "shop")
    line = rows.filter((rows["domain"] == "beauty") & (rows["count"] == "users")).row(0, named=True)
    assert (line["printed"], line["public_5_core"], line["here"]) == (25_837, 22_363, 3)


def test_unknown_tables_and_runs(home: Home) -> None:
    with pytest.raises(UnknownNameError, match="did you mean table1"):
        reproduce.table(home, "shop", "table11")
    with pytest.raises(UnknownNameError, match="unknown run 'beef'"):
        reproduce.repeat(home, "beef", home.root / "scratch")


def test_a_run_made_again_matches_bit_for_bit_and_a_changed_one_does_not(home: Home) -> None:
    folder = execute.run(home, "shop", "search", "random", seed=3)
    again = reproduce.repeat(home, folder.name[:8], home.root / "scratch")
    assert again == {"run_id": folder.name, "verdict": "bit for bit", "differences": []}
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["outputs"]["scores.parquet"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest))
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["metrics"][0].update(value=7.0, low=6.0, high=8.0)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    changed = reproduce.repeat(home, str(folder), home.root / "scratch2")
    assert changed["verdict"] == "outside the interval"
    assert len(changed["differences"]) == 1


def test_budgets() -> None:
    assert (_seconds("90s"), _seconds("10min"), _seconds("1.5h"), _seconds("5")) == (90, 600, 5400, 5)
    for text, message in (("soon", "no number with a unit"), ("3moons", "unknown unit"), ("2trials", "no time")):
        with pytest.raises(ConfigError, match=message):
            _seconds(text)


def test_a_run_with_a_budget_is_repeated_with_it(home: Home) -> None:
    folder = execute.run(home, "shop", "search", "bm25", parameters={"b": "0.5"}, budget=Budget(trials=3))
    again = reproduce.repeat(home, folder.name, home.root / "scratch")
    assert again["verdict"] == "bit for bit"
    repeated = list((home.root / "scratch" / "runs").rglob("trials.json"))
    assert [path.parent.name for path in repeated] == [folder.name]  # the very same request
