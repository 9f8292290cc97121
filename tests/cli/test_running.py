"""The commands run, leaderboard and list, called in-process with a home whose one dataset is the shop."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from tests.fakes import register
from tests.shop import build_shop, home_at
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
    assert bm25[2:4] == ["recommendation,search", "k1=1.5,b=0.75,epsilon=0.25,history=5"]
    assert "shop\tpaper" in _call(home, "list", "datasets").stdout
    assert "image_generation\t1\timage\tkid" in _call(home, "list", "tasks").stdout
    assert "rmse\trating\tlower" in _call(home, "list", "metrics").stdout
    with pytest.raises(UnknownNameError, match="unknown list 'model'; did you mean models"):
        _call(home, "list", "model")
