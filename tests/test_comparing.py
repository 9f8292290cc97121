"""Two runs beside each other: what is asked, what differs, who gains."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from tests.shop import add_variant, home_at
from unimp_bench import execute
from unimp_bench.comparing import contrast, find
from unimp_bench.dataset import Dataset
from unimp_bench.errors import ConfigError, IncompleteError, UnknownNameError
from unimp_bench.places import Home
from unimp_bench.results import Record


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = home_at(tmp_path_factory.mktemp("comparing") / "home")
    for runner, parameters in (("bm25", {}), ("bm25", {"k1": "1.2"}), ("popularity", {}), ("random", {})):
        execute.run(home, "shop", "search", runner, parameters=parameters)
    execute.run(home, "shop", "search", "random", limit=5)
    execute.run(home, "shop", "preference", "user_mean")
    execute.run(home, "shop", "preference", "mean_rating")
    execute.run(home, "shop", "recommendation", "popularity")
    return home


def _changed(record: Record, folder: Path, **request: object) -> Record:
    """The run as a folder of its own with another request."""
    folder.mkdir()
    for name in ("scores.parquet", "metrics.json"):
        (folder / name).write_bytes((record.folder / name).read_bytes())
    manifest = json.loads((record.folder / "manifest.json").read_text())
    manifest["request"] |= request
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return find(Home(folder), str(folder))


def test_runs_are_found_by_folder_id_and_name(home: Home) -> None:
    one = find(home, "random", task="search")
    assert one.request["limit"] is None
    assert find(home, str(one.folder)) == one
    assert find(home, one.folder.name) == one
    assert find(home, one.folder.name[:9]) == one
    with pytest.raises(UnknownNameError, match="did you mean random"):
        find(home, "randon")
    with pytest.raises(ConfigError, match="popularity' ran on recommendation, search; choose one by --task"):
        find(home, "popularity")


def test_a_runner_by_name_is_its_run_on_clean_items(tmp_path: Path) -> None:
    home = home_at(tmp_path / "home")
    add_variant(Dataset.open(home, "shop"))
    execute.run(home, "shop", "search", "random", variant="NT-0.2")
    assert find(home, "random").request["variant"] == "NT-0.2"
    clean = execute.run(home, "shop", "search", "random")
    later = execute.run(home, "shop", "search", "random", variant="NT-0.2", force=True)
    assert find(home, "random").folder == clean != later


def test_a_folder_without_a_manifest_is_no_run(home: Home, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(IncompleteError, match="no finished run"):
        find(home, str(tmp_path))
    with pytest.raises(IncompleteError, match="holds no run"):
        find(home, str(home.dataset("shop")))


def test_differences_of_configuration_are_named(home: Home) -> None:
    ids = {run.name: run for run in (home.runs / "shop/search/bm25").iterdir()}
    one, other = (find(home, name) for name in ids)
    found = contrast(one, other)
    assert [name for name, _, _ in found.configuration] == ["parameters.k1"]
    assert {found.configuration[0][1], found.configuration[0][2]} == {"1.2", "1.5"}
    assert found.data == ()
    same = contrast(one, one)
    assert same.configuration == ()
    assert {row.difference.value for row in same.rows if row.difference} == {0.0}


def test_differences_are_a_minus_b_and_users_add_up(home: Home) -> None:
    a, b = find(home, "bm25", task="search"), find(home, "popularity", task="search")
    found = contrast(a, b)
    (row,) = [row for row in found.rows if (row.metric, row.cohort) == ("ndcg@5", "in_domain")]
    assert row.difference is not None
    assert row.a is not None
    assert row.b is not None
    assert row.difference.value == pytest.approx(row.a - row.b)
    assert row.difference.n == 20
    users = found.users.filter(pl.col("cohort") == "in_domain")
    assert users["gain"].mean() == pytest.approx(row.difference.value)
    assert found.users["gain"].is_sorted(descending=True)
    assert users.filter(pl.col("example_id") == pl.col("user_id") + ":000007").height == 20
    (back,) = [row for row in contrast(b, a).rows if (row.metric, row.cohort) == ("ndcg@5", "in_domain")]
    assert back.difference is not None
    assert back.difference.value == pytest.approx(-row.difference.value)


def test_less_error_is_a_gain(home: Home) -> None:
    found = contrast(find(home, "user_mean"), find(home, "mean_rating"))
    best = found.users.row(0, named=True)
    assert best["a"] < best["b"]
    assert best["gain"] == pytest.approx(best["b"] - best["a"])


def test_a_run_with_a_limit_is_compared_where_both_answered(home: Home) -> None:
    folders = (home.runs / "shop/search/random").iterdir()
    short = next(run for folder in folders if (run := find(home, str(folder))).request["limit"] == 5)
    found = contrast(find(home, "bm25", task="search"), short)
    assert found.alone == (25, 0)
    assert found.users.height == 5
    for row in found.rows:
        assert row.difference is None or row.difference.n <= 5
        if row.metric.startswith("coverage"):
            assert row.difference is None


@pytest.mark.parametrize("key", ["split_hash", "data_hash", "task_version"])
def test_other_data_is_named_and_never_tested(home: Home, tmp_path: Path, key: str) -> None:
    one = find(home, "random", task="search")
    found = contrast(one, _changed(one, tmp_path / "run", **{key: "other"}))
    assert [name for name, _, _ in found.data] == [key]
    assert all(row.difference is None and key.replace("_", " ") in row.why_not for row in found.rows)
    assert found.users.height == 0


def test_what_cannot_be_compared(home: Home) -> None:
    one = find(home, "random", task="search")
    with pytest.raises(ConfigError, match="one run answers search, the other preference"):
        contrast(one, find(home, "user_mean"))
    with pytest.raises(UnknownNameError, match=r"did you mean ndcg@5"):
        contrast(one, one, metric="ndgc@5")
