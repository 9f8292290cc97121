from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.finished import write_run
from tests.shop import home_at
from unimp_bench import execute, paired
from unimp_bench.board import LINE, TABLE, rows
from unimp_bench.dataset import Dataset
from unimp_bench.errors import UnknownNameError
from unimp_bench.metrics.spec import METRICS
from unimp_bench.places import Home
from unimp_bench.slices import DIMENSIONS, labels, table, worst


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = home_at(tmp_path_factory.mktemp("slices") / "home")
    for runner in ("bm25", "constant"):
        execute.run(home, "shop", "search", runner)
    execute.run(home, "shop", "preference", "user_mean")
    execute.run(home, "shop", "image_generation", "mean_image")
    return home


def _own(home: Home) -> dict[str, str]:
    """What runs on the shop say of their dataset."""
    data = Dataset.open(home, "shop")
    return {"dataset_id": data.manifest.id, "data_hash": data.data_hash, "split_hash": data.split_hash}


def test_labels_by_hand(home: Home) -> None:
    data = Dataset.open(home, "shop")
    for task in data.tasks:
        found = labels(data, task)
        assert found.columns == ["example_id", "cohort", *DIMENSIONS]
        examples = data.examples(task, "test").collect()
        assert found["example_id"].to_list() == examples["example_id"].to_list()
        assert set(found.filter(pl.col("cohort") == "new_domain")["domain"]) <= {"office"}
        assert found["query"].null_count() == (0 if task in ("search", "image_generation") else found.height)
    searched = labels(data, "search")
    answers = dict(data.sealed_answers("search").select("example_id", pl.col("item_ids").list.first()).iter_rows())
    train = data.interactions().collect()["item_id"].to_list()
    for row in searched.iter_rows(named=True):
        target = answers[row["example_id"]]
        count = train.count(target)
        assert row["popularity"] == ("0" if count == 0 else "1-4" if count < 5 else "5-19")
        assert row["picture"] == ("no" if target == "i03" else "yes")
        assert row["history"] == ("5-9" if row["cohort"] != "new_domain" else "1-4")
    assert searched["popularity"].n_unique() > 1
    rated = labels(data, "preference")
    assert rated["popularity"].null_count() == 0


def test_a_slice_is_the_mean_of_its_examples(home: Home) -> None:
    board = rows(home).filter(pl.col("metric").is_in(["ndcg@5", "rmse"]))
    found = table(home, board)
    data = Dataset.open(home, "shop")
    for row in found.iter_rows(named=True):
        (run,) = (home.runs / "shop" / row["task"] / row["runner"]).iterdir()
        values = paired.example_values([[run]], row["metric"], row["cohort"])
        known = labels(data, row["task"]).filter(pl.col(row["by"]) == row["bucket"])["example_id"]
        inside = values.example_id.is_in(known.implode()).to_numpy()
        mean = values.values[inside, 0].mean()
        assert row["value"] == pytest.approx(mean**0.5 if row["metric"] == "rmse" else mean)
        assert row["n"] == inside.sum()
        assert row["slice"] == f"{row['cohort']}/{row['by']}={row['bucket']}"
        if row["low"] is not None:
            assert row["low"] <= row["value"] <= row["high"]
    keys = [*TABLE, *LINE, "by"]
    totals = found.filter(pl.col("by") != "query").group_by(keys).agg(pl.col("n").sum())
    sizes = totals.join(board, on=[*TABLE, *LINE], suffix="_board")
    assert (sizes["n"] == sizes["n_board"]).all()
    assert (
        found["mean"].to_list() == found.join(board, on=[*TABLE, *LINE], maintain_order="left")["value_right"].to_list()
    )


def test_one_dimension_alone(home: Home) -> None:
    board = rows(home, task="search").filter(pl.col("metric") == "hr@5")
    found = table(home, board, by="picture")
    assert set(found["by"]) == {"picture"}
    whole = table(home, board).filter(pl.col("by") == "picture")
    assert found.equals(whole)
    with pytest.raises(UnknownNameError, match="unknown slice dimension 'pictures'; did you mean picture"):
        table(home, board, by="pictures")


def test_metrics_of_a_whole_cohort_have_no_slices(home: Home) -> None:
    board = rows(home, task="image_generation").filter(pl.col("metric") == "kid")
    assert board.height > 0
    assert table(home, board).height == 0
    assert set(table(home, rows(home))["metric"]) == {
        name
        for name in rows(home).filter(pl.col("value").is_not_null())["metric"].unique()
        if METRICS[name].has_interval and not METRICS[name].by_cohort
    }


def test_runs_on_an_earlier_build_have_no_slices(tmp_path: Path) -> None:
    home = home_at(tmp_path / "home")
    write_run(home, "old", {"hr@5": np.ones(5)})
    assert table(home, rows(home)).height == 0


def test_intervals_of_slices_hold_the_truth(tmp_path: Path) -> None:
    home = home_at(tmp_path / "home")
    data = Dataset.open(home, "shop")
    known = labels(data, "search").filter(pl.col("cohort") == "in_domain")
    ids, rng = known["example_id"].to_list(), np.random.default_rng(0)
    for at in range(100):
        write_run(home, f"r{at}", {"hr@5": rng.normal(0.5, 0.1, len(ids))}, ids=ids, **_own(home))
    found = table(home, rows(home), by="picture").filter(pl.col("bucket") == "yes")
    held = ((found["low"] <= 0.5) & (found["high"] >= 0.5)).sum()
    # 19 or fewer users: percentile intervals are a tenth too short (Efron & Tibshirani 1993, 13.3), 93 hold.
    assert found["n"][0] in range(15, 21)
    assert 83 <= held <= 99
    own = [table(home, rows(home).filter(pl.col("runner") == f"r{at}"), by="picture")["low"][0] for at in range(3)]
    both = table(home, rows(home), by="picture")
    assert own == [both.filter(pl.col("runner") == f"r{at}")["low"][0] for at in range(3)]


def test_the_worst_slice_has_enough_examples(home: Home) -> None:
    board = rows(home).filter(pl.col("metric").is_in(["ndcg@5", "rmse"]), pl.col("cohort") == "in_domain")
    found = table(home, board)
    least = worst(found, at_least=3)
    assert least.height == board.height
    for row in least.iter_rows(named=True):
        alike = found.filter(pl.col("runner") == row["runner"], pl.col("task") == row["task"], pl.col("n") >= 3)[
            "value"
        ]
        assert row["n"] >= 3
        assert row["value"] == (alike.max() if row["metric"] == "rmse" else alike.min())
    assert worst(found, at_least=1000).height == 0
    assert worst(found, at_least=1000).columns == found.columns


def test_seeds_of_a_slice_are_taken_one_by_one(tmp_path: Path) -> None:
    """The mean of two RMSE, 1 and 3, is 2; one root over both seeds' squares would be 2.24."""
    home = home_at(tmp_path / "home")
    ids = (
        labels(Dataset.open(home, "shop"), "preference").filter(pl.col("cohort") == "in_domain")["example_id"].to_list()
    )
    shake = np.random.default_rng(0).normal(0, 1e-3, len(ids))
    for seed, error in enumerate((1.0, 3.0)):
        write_run(home, "r", {"rmse": (error + shake) ** 2}, ids=ids, seed=seed, task="preference", **_own(home))
    board = rows(home, task="preference").filter(pl.col("metric") == "rmse")
    assert board["value"][0] == pytest.approx(2, abs=0.01)
    found = table(home, board, by="history")
    assert found["value"].to_list() == pytest.approx([2] * found.height, abs=0.01)
    assert (found["low"] <= found["value"]).all()
    assert (found["high"] >= found["value"]).all()
    assert found["high"][0] - found["low"][0] < 0.01
