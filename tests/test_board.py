from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.shop import add_variant, home_at
from unimp_bench import execute, exports, results, tables
from unimp_bench.board import COLUMNS, LINE, TABLE, current, rows, run_folders
from unimp_bench.dataset import Dataset
from unimp_bench.errors import IncompleteError
from unimp_bench.metrics.spec import METRICS
from unimp_bench.places import Home
from unimp_bench.schemas import RESULTS


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_at(tmp_path / "home")


def _edit(folder: Path, **changes: Any) -> None:
    """Change a run's request, or its `created`."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for name, value in changes.items():
        if name in manifest:
            manifest[name] = value
        else:
            manifest["request"][name] = value
    path.write_text(json.dumps(manifest))


def test_a_row_says_where_it_comes_from(home: Home) -> None:
    assert rows(home).schema == pl.Schema(COLUMNS)
    assert rows(home).height == 0
    folder = execute.run(home, "shop", "search", "bm25", parameters={"k1": "1.2"}, seed=3)
    board = rows(home)
    assert board.columns == list(COLUMNS)
    metrics = json.loads((folder / "metrics.json").read_text())["metrics"]
    assert board.height == len(metrics)
    (row,) = board.filter(pl.col("metric") == "ndcg@5", pl.col("cohort") == "in_domain").to_dicts()
    (found,) = [m for m in metrics if m["metric"] == "ndcg@5" and m["slice"] == "in_domain"]
    assert {k: row[k] for k in ("value", "low", "high", "n", "unanswered")} == {
        k: found[k] for k in ("value", "low", "high", "n", "unanswered")
    }
    assert json.loads(row["parameters"]) == {"k1": 1.2, "b": 0.75, "epsilon": 0.25, "history": 5, "expansion": 0.0}
    assert (row["seeds"], row["device"], row["reads_truth"], row["tier"]) == ("3", "cpu", False, 1)
    assert (row["split_hash"], row["protocol"], row["variant"]) == ("abcdef0123456789", "paper", "clean")
    assert row["peak_megabytes"] > 10
    assert row["date"].endswith("+00:00")


def test_the_best_comes_first_whichever_way_is_better(home: Home) -> None:
    for runner in ("random", "popularity", "bm25", "constant"):
        execute.run(home, "shop", "search", runner)
    for runner in ("mean_rating", "user_mean", "repeat_last"):
        execute.run(home, "shop", "preference", runner)
    for table in rows(home).partition_by(TABLE):
        values = table["value"].to_list()
        assert values == sorted(values, reverse=METRICS[table["metric"][0]].higher_is_better)
        assert table["runner"].is_unique().all()
    assert rows(home)["task"].unique(maintain_order=True).to_list() == ["preference", "search"]
    assert rows(home, task="search")["task"].unique().to_list() == ["search"]
    assert rows(home, dataset="other").height == 0


def test_seeds_are_one_row(home: Home) -> None:
    for seed in (2, 1, 10):
        execute.run(home, "shop", "search", "random", seed=seed)
    board = rows(home).filter(pl.col("metric") == "ndcg@5", pl.col("cohort") == "in_domain")
    assert board["seeds"].to_list() == ["1,2,10"]
    alone = [
        next(m["value"] for m in run.metrics if (m["metric"], m["slice"]) == ("ndcg@5", "in_domain"))
        for run in results.records(home)
    ]
    assert len(set(alone)) == 3
    assert board["value"][0] == pytest.approx(sum(alone) / 3)
    assert board["deviation"][0] == pytest.approx(pl.Series(alone).std())


def test_other_parameters_are_another_row(home: Home) -> None:
    execute.run(home, "shop", "search", "bm25")
    execute.run(home, "shop", "search", "bm25", parameters={"b": "0.1"})
    board = rows(home).filter(pl.col("metric") == "ndcg@5", pl.col("cohort") == "new_user")
    assert board.height == 2
    assert board["parameters_hash"].n_unique() == 2


def test_of_equal_requests_the_newest_and_of_versions_the_newest(home: Home) -> None:
    old = execute.run(home, "shop", "search", "random")
    other = old.with_name("f" * 16)
    other.mkdir()
    for file in old.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    text = (other / "metrics.json").read_text()
    metrics = json.loads(text)
    for row in metrics["metrics"]:
        row["value"] = 0.125
    (other / "metrics.json").write_text(json.dumps(metrics))
    _edit(old, created="2020-01-01T00:00:00+00:00")
    _edit(other, created="2021-01-01T00:00:00+00:00")
    assert set(rows(home)["value"]) == {0.125}
    _edit(other, created="2019-01-01T00:00:00+00:00")
    assert set(rows(home)["value"]) != {0.125}
    _edit(other, runner_version=2)
    assert set(rows(home)["value"]) == {0.125}
    assert set(rows(home)["runner_version"]) == {2}


@pytest.mark.parametrize("column", ["split_hash", "task_version", "dataset_id", "data_hash", "variant"])
def test_what_differs_never_shares_a_table(home: Home, column: str) -> None:
    execute.run(home, "shop", "search", "random")
    folder = execute.run(home, "shop", "search", "constant")
    before = len(rows(home).partition_by(TABLE))
    _edit(folder, **{column: 2 if column == "task_version" else "other"})
    assert len(rows(home).partition_by(TABLE)) == 2 * before


def test_metric_versions_never_share_a_table(home: Home) -> None:
    execute.run(home, "shop", "search", "random")
    folder = execute.run(home, "shop", "search", "constant")
    before = len(rows(home).partition_by(TABLE))
    facts = json.loads((folder / "manifest.json").read_text())["facts"]
    _edit(folder, facts={**facts, "metrics": dict.fromkeys(facts["metrics"], 2)})
    assert len(rows(home).partition_by(TABLE)) == 2 * before


def test_a_newer_version_of_a_runner_replaces_the_old_one_whatever_its_parameters(home: Home) -> None:
    execute.run(home, "shop", "search", "bm25")
    newer = execute.run(home, "shop", "search", "bm25", parameters={"k1": "1.2"})
    assert rows(home)["parameters_hash"].n_unique() == 2
    _edit(newer, runner_version=2)
    (left,) = rows(home)["parameters"].unique().to_list()
    assert json.loads(left)["k1"] == 1.2


def test_a_run_of_another_version_of_the_toolkit_is_one_line(home: Home) -> None:
    folder = execute.run(home, "shop", "search", "random")
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["request"]["data_hash"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(IncompleteError, match="another version of unimp-bench; remove it and run again"):
        rows(home)


def test_runs_on_an_earlier_build_are_not_current(home: Home) -> None:
    execute.run(home, "shop", "search", "random")
    old = execute.run(home, "shop", "search", "constant")
    _edit(old, dataset_id="0" * 16)
    board = rows(home)
    assert set(board["runner"]) == {"random", "constant"}
    assert set(current(home, board)["runner"]) == {"random"}
    _edit(old, dataset="gone")  # nobody can say what its last build was
    assert set(current(home, rows(home))["runner"]) == {"random", "constant"}
    assert current(home, rows(home, "nothing")).height == 0


def test_variants_stand_beside_clean(home: Home) -> None:
    add_variant(Dataset.open(home, "shop"))
    execute.run(home, "shop", "search", "bm25")
    execute.run(home, "shop", "search", "bm25", variant="NT-0.2")
    assert set(rows(home)["variant"]) == {"clean", "NT-0.2"}


def test_the_csv_holds_every_row(home: Home, tmp_path: Path) -> None:
    execute.run(home, "shop", "search", "bm25")
    exports.write(exports.csv_text(rows(home)), tmp_path / "new/board.csv")
    again = pl.read_csv(tmp_path / "new/board.csv", schema=COLUMNS)
    assert again.equals(rows(home))


def test_results_can_be_rebuilt(home: Home) -> None:
    execute.run(home, "shop", "search", "bm25")
    execute.run(home, "shop", "preference", "user_mean")
    path = results.rebuild(home)
    before = path.read_bytes()
    found = tables.read(path, RESULTS)
    assert found.height == rows(home).height
    assert found["run_id"].n_unique() == 2
    path.unlink()
    assert results.rebuild(home).read_bytes() == before
    assert rows(home).height == found.height  # the file itself is no run


def test_unfinished_runs_are_not_there_and_broken_ones_are_said(home: Home) -> None:
    folder = execute.run(home, "shop", "search", "bm25")
    (folder / "metrics.json").write_text("{")
    with pytest.raises(IncompleteError, match=r"metrics\.json cannot be read; run again with --force"):
        rows(home)
    (folder / "manifest.json").unlink()
    assert rows(home).height == 0


def test_a_run_with_a_metric_that_nobody_knows_is_one_line(home: Home) -> None:
    folder = execute.run(home, "shop", "search", "random")
    path = folder / "metrics.json"
    path.write_text(path.read_text().replace('"ndcg@5"', '"ndgc@5"'))
    with pytest.raises(IncompleteError, match="another version of unimp-bench; remove it and run again"):
        rows(home)


def test_folders_without_a_manifest_are_counted(home: Home) -> None:
    folder = execute.run(home, "shop", "search", "random")
    assert results.unfinished(home) == []
    killed = folder.with_name("f" * 16)
    killed.mkdir()
    folder.with_name(".0123.doomed").mkdir()
    assert results.unfinished(home) == [killed]
    assert results.unfinished(home, "shop", "search") == [killed]
    assert results.unfinished(home, task="preference") == []


def test_the_runs_behind_a_row(home: Home) -> None:
    folders = [execute.run(home, "shop", "search", "random", seed=seed) for seed in (4, 3)]
    found = run_folders(home)
    for row in rows(home).select(*TABLE, *LINE).iter_rows():
        assert found[row] == folders[::-1]
