"""The commands run, leaderboard and list, called in-process with a home whose one dataset is the shop."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import polars as pl
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner, Result

from tests.fakes import register
from tests.shop import build_shop, home_at
from unimp_bench.board import rows
from unimp_bench.cli.board_view import standings
from unimp_bench.cli.columns import drawn as listed
from unimp_bench.cli.leaderboard import leaderboard
from unimp_bench.cli.listing import list_
from unimp_bench.cli.run import run
from unimp_bench.errors import ConfigError, UnknownNameError
from unimp_bench.places import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_at(tmp_path / "home")


def _call(home: Home, *words: str) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    app.command()(run)
    app.command()(leaderboard)
    app.command("list")(list_)
    done = CliRunner().invoke(app, list(words), obj=home)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_floors_run_on_what_they_claim_and_the_board_shows_them(home: Home, tmp_path: Path) -> None:
    done = _call(home, "run", "--model", "floors,bm25", "--task", "search,explanation")
    folders = [Path(line) for line in done.stdout.splitlines()]
    assert all((folder / "manifest.json").is_file() for folder in folders)
    pairs = {(folder.parent.parent.name, folder.parent.name) for folder in folders}
    assert ("search", "bm25") in pairs
    assert ("explanation", "frequent_explanation") in pairs
    assert ("search", "mean_rating") not in pairs
    assert "dataset shop (the one built last" in done.stderr
    again = _call(home, "run", "--model", "bm25", "--task", "search")
    assert "there already" in again.stderr
    board = tmp_path / "board.csv"
    shown = _call(home, "leaderboard", "--task", "search", "--csv", str(board), "--cohort", "in_domain")
    assert "shop · search · in_domain" in shown.stdout
    assert "new_user" not in shown.stdout
    assert "ndcg@5" in shown.stdout
    assert "hr@10" not in shown.stdout
    assert "hr@10" in _call(home, "leaderboard", "--metric", "all").stdout
    assert shown.stdout.index("bm25") < shown.stdout.index("constant")
    with board.open() as file:
        rows = list(csv.DictReader(file))
    assert {row["cohort"] for row in rows} == {"in_domain"}
    assert {"bm25", "random", "popularity"} <= {row["runner"] for row in rows}
    assert (home.runs / "results.parquet").is_file()


def test_a_run_ends_with_its_scores_and_leaves_out_aloud(home: Home) -> None:
    done = _call(home, "run", "--model", "random,user_mean", "--task", "search,preference", "--seeds", "0,7")
    folders = [Path(line) for line in done.stdout.splitlines()]
    said = done.stderr.splitlines()
    assert "leaving out random on preference: it does not answer that" in said
    assert "leaving out user_mean on search: it does not answer that" in said
    metrics = json.loads((folders[1] / "metrics.json").read_text())["metrics"]
    value = next(m["value"] for m in metrics if (m["metric"], m["slice"]) == ("ndcg@5", "in_domain"))
    (line,) = [line for line in said if line.startswith("search") and "seed 7" in line]
    assert line.split()[:6] == ["search", "random", "seed", "7", "ndcg@5", "in_domain"]
    assert line.split()[6] == f"{value:.4f}"
    assert sum(line.startswith("preference") and "rmse" in line for line in said) == 2


def test_force_fits_once_for_all_tasks(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, spy="tests.fakes:Spy")
    _call(home, "run", "--model", "spy", "--set", f"notes={tmp_path / 'notes'}", "--force")
    assert len(list((tmp_path / "notes").glob("*fit-search.parquet"))) == 1


def test_a_csv_that_cannot_be_written_is_one_line(home: Home, tmp_path: Path) -> None:
    _call(home, "run", "--model", "random", "--task", "search")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot write .*choose another --csv"):
        _call(home, "leaderboard", "--csv", str(tmp_path / "file" / "board.csv"))
    assert _call(home, "leaderboard", "--csv", str(tmp_path)).exit_code == 2


def test_nothing_to_show_says_why(home: Home) -> None:
    _call(home, "run", "--model", "random", "--task", "search")
    shown = _call(home, "leaderboard", "--metric", "rmse")
    assert shown.stdout == ""
    assert "no row has the metric rmse; there are ndcg@5" in shown.stderr
    (manifest,) = home.runs.rglob("manifest.json")
    manifest.write_text(manifest.read_text().replace('"data_hash": "', '"data_hash": "0'))
    shown = _call(home, "leaderboard")
    assert shown.stdout == ""
    assert "runs on an earlier build of a dataset are left out" in shown.stderr


def test_parameters_tell_rows_apart_and_numbers_stay_whole_however_narrow(home: Home) -> None:
    for k1 in ("1.2", "1.5"):
        _call(home, "run", "--model", "bm25", "--task", "search", "--set", f"k1={k1}")
    _call(home, "run", "--model", "last_index_plus_one", "--task", "search")
    shown = _call(home, "leaderboard", "--cohort", "in_domain").stdout
    assert "bm25 k1=1.2" in shown
    assert "bm25 k1=1.5" in shown
    board = rows(home, task="search").filter(pl.col("metric") == "ndcg@5", pl.col("cohort") == "in_domain")
    for width in (160, 80, 60, 40, 30):
        console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
        console.print(standings(board, console))
        assert isinstance(console.file, io.StringIO)
        drawn = console.file.getvalue()
        assert "…" not in drawn
        for value in board["value"]:
            assert f"{value:.4f}" in drawn
        assert ("95 % interval" in drawn) == (width >= 60)
        assert ("peak MB" in drawn) == (width >= 80)


def test_lists_on_a_terminal_leave_nothing_out() -> None:
    lines = [
        ("name", "tasks", "range"),
        ("a_long_name_of_a_runner", "image_generation,search,recommendation", "[0, 1]"),
    ]
    console = Console(width=60, file=io.StringIO(), color_system=None)
    console.print(listed(lines))
    assert isinstance(console.file, io.StringIO)
    words = console.file.getvalue().replace(",", " ").split()
    assert set(words) == {*lines[0], lines[1][0], "image_generation", "search", "recommendation", "[0", "1]"}


def test_the_dataset_built_last_is_the_default(home: Home) -> None:
    build_shop(home, "later")
    assert "dataset later" in _call(home, "run", "--model", "random", "--task", "search").stderr


def test_seeds_set_and_limit(home: Home) -> None:
    words = ["run", "--model", "bm25", "--task", "search", "--set", "k1=1.2", "--seeds", "1,2", "--limit", "3"]
    done = _call(home, *words)
    requests = [json.loads((Path(f) / "run.json").read_text())["request"] for f in done.stdout.splitlines()]
    assert [request["seed"] for request in requests] == [1, 2]
    assert {request["parameters"]["k1"] for request in requests} == {1.2}
    assert "do not enter the leaderboard" in done.stderr
    empty = _call(home, "leaderboard")
    assert empty.stdout == ""
    assert "no finished run yet" in empty.stderr


def test_groups_leave_out_who_cannot_and_names_insist(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from unimp_bench.runners import registry

    register(monkeypatch, truthful="tests.fakes:Truthful", lacking="tests.no_such_module:Thing")
    known = {name: entry for name, entry in registry.found().items() if name in ("bm25", "truthful", "lacking")}
    monkeypatch.setattr(registry, "found", lambda: known)
    done = _call(home, "run", "--model", "all", "--task", "all")
    assert {Path(line).parent.name for line in done.stdout.splitlines()} == {"bm25"}
    assert "leaving out truthful: shop has no truth to read" in done.stderr
    assert "leaving out lacking: runner 'lacking' needs the package" in done.stderr
    with pytest.raises(ConfigError, match="reads the synthetic shop's truth"):
        _call(home, "run", "--model", "truthful")
    with pytest.raises(ConfigError, match="needs the package"):
        _call(home, "run", "--model", "lacking")


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["--model", "bm25,"], ConfigError, "--model 'bm25,' has an empty name"),
        (["--model", "bm25", "--task", ""], ConfigError, "--task '' has an empty name"),
        (["--model", "bm25", "--dataset", ""], ConfigError, "dataset '' cannot name a folder"),
        (["--model", "bm52"], UnknownNameError, "did you mean bm25"),
        (["--model", "bm25", "--task", "serch"], UnknownNameError, "did you mean search"),
        (["--model", "bm25", "--task", "explanation"], ConfigError, "does not answer explanation"),
        (["--model", "bm25", "--dataset", "shap"], UnknownNameError, "did you mean shop"),
        (["--model", "bm25", "--set", "k1"], ConfigError, "is not KEY=VALUE"),
        (["--model", "bm25", "--set", "k1=1", "--set", "k1=2"], ConfigError, "given twice"),
        (["--model", "bm25,random", "--set", "k1=1"], ConfigError, "--set is for one runner"),
        (["--model", "bm25", "--set", "k9=1"], ConfigError, "unknown parameter 'k9'; did you mean k1"),
        (["--model", "bm25", "--seeds", "1,x"], ConfigError, "not whole numbers"),
        (["--model", "bm25", "--seeds", "-1"], ConfigError, "a seed is 0 or more"),
    ],
)
def test_wrong_words_are_one_line(home: Home, words: list[str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        _call(home, "run", *words)
    assert not home.runs.exists()


def test_no_dataset_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unimp-bench build synthetic"):
        _call(Home(tmp_path), "run", "--model", "bm25")


@pytest.mark.parametrize("option", ["dataset", "task", "cohort", "metric"])
def test_the_leaderboard_knows_its_names(home: Home, option: str) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown {option} 'nothing'"):
        _call(home, "leaderboard", f"--{option}", "nothing")


def test_lists(home: Home) -> None:
    models = [line.split("\t") for line in _call(home, "list", "models").stdout.splitlines()]
    assert models[0][0] == "name"
    bm25 = next(line for line in models if line[0] == "bm25")
    assert bm25[2:4] == ["recommendation,search", "k1=1.5,b=0.75,epsilon=0.25,history=5,expansion=0.0"]
    assert "shop\tpaper" in _call(home, "list", "datasets").stdout
    assert "image_generation\t1\timage\tkid" in _call(home, "list", "tasks").stdout
    assert "rmse\trating\tlower" in _call(home, "list", "metrics").stdout
    with pytest.raises(UnknownNameError, match="unknown list 'model'; did you mean models"):
        _call(home, "list", "model")
