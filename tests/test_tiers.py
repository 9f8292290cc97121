from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from tests.finished import write_run
from tests.shop import home_at
from unimp_bench import scoring, tiers
from unimp_bench.board import rows
from unimp_bench.dataset import Dataset
from unimp_bench.places import Home
from unimp_bench.schemas import PREDICTIONS, conform


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def _hits(rate: float, n: int = 20_000, seed: int = 0) -> NDArray[np.float64]:
    """Hits of a system; what is common to all systems decides two of three, their own luck the rest."""
    common = np.random.default_rng(99).random(n)
    own = np.random.default_rng([1, seed])
    return (np.where(own.random(n) < 1 / 3, own.random(n), common) < rate).astype(float)


def _standing(board: pl.DataFrame) -> dict[str, tuple[int | None, str | None]]:
    return {row["runner"]: (row["tier"], row["letters"]) for row in board.iter_rows(named=True)}


def test_noise_shares_a_tier_and_one_hundredth_opens_another(home: Home) -> None:
    for name, rate, seed in (("good", 0.11, 1), ("alike", 0.10, 2), ("noise", 0.10, 3), ("bad", 0.08, 4)):
        write_run(home, name, {"hr@10": _hits(rate, seed=seed)})
    board = rows(home)
    assert _standing(board) == {"good": (1, "a"), "alike": (2, "b"), "noise": (2, "b"), "bad": (3, "c")}
    assert board["detectable"][0] is None
    assert all(0.003 < value < 0.01 for value in board["detectable"][1:])


def test_lower_is_better_where_it_is(home: Home) -> None:
    rng = np.random.default_rng(0)
    for name, scale in (("bad", 2.0), ("good", 1.0)):
        write_run(home, name, {"rmse": (rng.normal(0, scale, 500)) ** 2}, task="preference")
    assert _standing(rows(home)) == {"good": (1, "a"), "bad": (2, "b")}


def test_ceilings_and_what_has_no_test_have_no_tier(home: Home) -> None:
    write_run(home, "oracle", {"hr@10": np.ones(300), "coverage@10": np.ones(300)}, reads_truth=True)
    write_run(home, "system", {"hr@10": _hits(0.5, 300), "coverage@10": np.zeros(300)})
    board = rows(home)
    assert _standing(board.filter(pl.col("metric") == "hr@10")) == {"oracle": (None, None), "system": (1, "a")}
    assert _standing(board.filter(pl.col("metric") == "coverage@10")) == dict.fromkeys(
        ("oracle", "system"), (None, None)
    )


def test_a_system_that_skips_a_cohort_is_tested_where_it_answers(home: Home) -> None:
    for name, cohorts in (("both", ("in_domain", "new_user")), ("one", ("in_domain",)), ("two", ("in_domain",))):
        parts = [
            pl.DataFrame(
                {
                    "example_id": [f"{cohort}{i:03d}" for i in range(300)],
                    "metric": ["hr@10"] * 300,
                    "cohort": [cohort] * 300,
                    "value": _hits(0.9 if name == "both" else 0.1, 300, seed=len(name)),
                }
            )
            for cohort in cohorts
        ]
        write_run(home, name, pl.concat(parts))
    board = rows(home)
    assert _standing(board.filter(pl.col("cohort") == "new_user")) == {"both": (1, "a")}
    inside = _standing(board.filter(pl.col("cohort") == "in_domain"))
    assert inside["both"] == (1, "a")
    assert inside["one"] == inside["two"] == (2, "b")


def test_other_splits_are_other_tables(home: Home) -> None:
    write_run(home, "good", {"hr@10": np.ones(300)})
    write_run(home, "bad", {"hr@10": np.zeros(300)}, split_hash="0" * 16)
    assert _standing(rows(home)) == {"good": (1, "a"), "bad": (1, "a")}


def test_tests_are_made_once_until_the_runs_change(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(home, "good", {"hr@10": _hits(0.9, 300, seed=1)})
    write_run(home, "bad", {"hr@10": _hits(0.1, 300, seed=2)})
    first = rows(home)
    (kept,) = (home.runs / ".tiers").iterdir()
    calls: list[int] = []
    tested = tiers._tested
    monkeypatch.setattr(tiers, "_tested", lambda judged: calls.append(len(judged)) or tested(judged))
    assert rows(home).equals(first)
    assert calls == []
    write_run(home, "new", {"hr@10": _hits(0.1, 300, seed=3)})
    assert rows(home).height == 3
    assert calls == [3]
    kept.write_text('{"made_of": 1')
    assert rows(home).height == 3
    assert calls == [3, 3]
    assert list((home.runs / ".tiers").iterdir()) == [kept]
    spoilt = json.loads(kept.read_text())
    spoilt["standings"] = {key: {"rank": 1} for key in spoilt["standings"]}
    kept.write_text(json.dumps(spoilt))
    assert rows(home)["tier"].to_list() == [1, 2, 2]


def test_a_folder_that_takes_no_file_costs_time_only(home: Home) -> None:
    write_run(home, "good", {"hr@10": _hits(0.9, 300, seed=1)})
    (home.runs / ".tiers").touch()  # a file where the folder would be
    assert rows(home)["tier"].to_list() == [1]


def test_order_of_predictions_changes_nothing(tmp_path: Path) -> None:
    home = home_at(tmp_path / "home")
    data = Dataset.open(home, "shop")
    examples = data.examples("search", "test").collect()
    truth = conform(data.sealed_answers("search"), PREDICTIONS["ranking"].columns)
    said = truth.with_columns(item_ids=pl.col("item_ids").shuffle(seed=3))
    boards = []
    for at, mixed in enumerate((said, said.sample(fraction=1, shuffle=True, seed=1), said.reverse())):
        place = Home(tmp_path / f"{at}")
        write_run(place, "right", scoring.score_predictions(data, "search", truth, examples).scores)
        write_run(place, "mixed", scoring.score_predictions(data, "search", mixed, examples).scores)
        boards.append(rows(place).drop("git_commit"))
    assert boards[0].equals(boards[1])
    assert boards[0].equals(boards[2])
    assert boards[0].filter(pl.col("metric") == "ndcg@5", pl.col("cohort") == "in_domain")["tier"].to_list() == [1, 2]


def test_sixty_runs_are_a_matter_of_seconds(home: Home) -> None:
    names = ["hr@3", "hr@5", "hr@10", "ndcg@5", "mrr@5"]
    for task in ("recommendation", "search"):
        for at in range(30):
            write_run(home, f"r{at}", {name: _hits(0.1, 2000, seed=at) for name in names}, task=task)
    start = time.perf_counter()
    board = rows(home)
    first = time.perf_counter() - start
    assert board.height == 300
    start = time.perf_counter()
    assert rows(home).equals(board)
    assert first < 6  # 1 s on a quiet machine
    assert time.perf_counter() - start < 2


def _with_seeds(home: Home, name: str, rate: float, spread: float, rng: np.random.Generator) -> None:
    users = np.random.default_rng(0).random(4_000)
    for seed in range(3):
        hit = (users < rate + rng.normal(0, spread)).astype(float)
        write_run(home, name, {"hr@10": hit}, seed=seed)


def test_luck_of_seeds_is_no_rank_and_a_difference_beyond_it_is(tmp_path: Path) -> None:
    """Three seeds of a spread of 0.02: users alone would call almost any two alike systems different."""
    rng = np.random.default_rng(3)
    apart = 0
    for at in range(12):
        home = Home(tmp_path / str(at))
        _with_seeds(home, "one", 0.2, 0.02, rng)
        _with_seeds(home, "two", 0.2, 0.02, rng)
        apart += rows(home)["tier"].to_list() == [1, 2]
    assert apart <= 2
    _with_seeds(home, "three", 0.4, 0.02, rng)
    assert rows(home)["tier"].to_list()[:2] == [1, 2]
