"""The frozen synthetic shop at the demo's size: floors, BM25 and oracles stand where the design wants them."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pytest

from tests.calling import call

pytestmark = pytest.mark.slow

_MODELS = "random,constant,popularity,bm25,oracle_history,oracle"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("small")


@pytest.fixture(scope="module")
def board(home: Path) -> pl.DataFrame:
    for words in (
        ("build", "synthetic", "--size", "small"),
        ("run", "--model", _MODELS, "--task", "recommendation,search", "--dataset", "synthetic-small"),
        ("leaderboard", "--csv", str(home / "board.csv")),
        ("audit", "synthetic-small"),
        ("verify", "synthetic-small"),
    ):
        done = call(home, *words)
        assert done.returncode == 0, done.stderr
    return pl.read_csv(home / "board.csv").filter(pl.col("metric") == "ndcg@5")


def _values(board: pl.DataFrame, task: str, cohort: str) -> dict[str, dict[str, float]]:
    rows = board.filter((pl.col("task") == task) & (pl.col("cohort") == cohort))
    return {row["runner"]: row for row in rows.iter_rows(named=True)}


@pytest.mark.parametrize("task", ["recommendation", "search"])
def test_the_room_that_the_design_asks_for(board: pl.DataFrame, task: str) -> None:
    value = {name: row["value"] for name, row in _values(board, task, "in_domain").items()}
    assert 0.2 <= value["oracle"] <= 0.5
    assert value["popularity"] < value["oracle"] / 3
    assert value["random"] < value["popularity"] < value["oracle_history"] <= value["oracle"]


def test_a_category_query_alone_leaves_many_candidates(board: pl.DataFrame) -> None:
    value = {name: row["value"] for name, row in _values(board, "search", "in_domain").items()}
    assert value["random"] < value["bm25"] < value["oracle"]


@pytest.mark.parametrize("task", ["recommendation", "search"])
@pytest.mark.parametrize("cohort", ["in_domain", "new_user", "new_domain"])
def test_a_constant_scorers_interval_contains_chance(board: pl.DataFrame, home: Path, task: str, cohort: str) -> None:
    rows = _values(board, task, cohort)
    new = pl.col("domain") == "office_products"
    items = pl.read_parquet(home / "data/synthetic-small/visible/items.parquet")
    ranked = items.filter(new if cohort == "new_domain" else ~new).height
    # Chance of NDCG@5 with one relevant item: the discounts of five places over the catalogue of the cohort.
    chance = sum(1 / math.log2(rank + 1) for rank in range(1, 6)) / ranked
    assert rows["constant"]["low"] <= chance <= rows["constant"]["high"]
