"""The commands ask, pretrain and probe, called as a user calls them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from tests.fakes import register
from tests.shop import home_at
from unimp_bench.cli.main import app
from unimp_bench.errors import ConfigError, UnimpBenchError, UnknownNameError
from unimp_bench.places import Home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    fakes = {name.lower(): f"tests.answering:{name}" for name in ("Looker", "OnlyLists", "Shared")}
    register(monkeypatch, **fakes)
    return home_at(tmp_path / "home")


def _call(home: Home, *words: str | Path) -> Result:
    return CliRunner().invoke(app, ["--home", str(home.root), *map(str, words)])


def _refused(home: Home, error: type[UnimpBenchError], *words: str | Path) -> str:
    done = _call(home, *words)
    assert isinstance(done.exception, error), done.output
    assert "\n" not in str(done.exception)
    return str(done.exception)


def test_ask_shows_answers_and_writes_a_sheet(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = _call(home, "ask", "--user", "u03", "--model", "looker", "--query", "red \x1b[2Jcar", "--top", "3")
    assert done.exit_code == 0, done.output
    assert "u03 · in_domain · history: 7" in done.stdout
    assert "search · red  [2Jcar" in done.stdout
    recommended = done.stdout.split("recommendation\n")[1].split("\n\n")[0].splitlines()
    assert recommended[0] == "#\titem\ttitle"
    assert [line.split("\t")[0] for line in recommended[1:]] == ["1", "2", "3"]
    assert f"Title number {int(recommended[1].split(chr(9))[1][1:])}" in recommended[1]
    assert "explanation\tfitted i" in done.stdout
    assert "no fit of looker" in done.stderr
    assert "pictures in ask-u03.png" in done.stderr
    with Image.open(tmp_path / "ask-u03.png") as page:
        assert page.format == "PNG"


def test_ask_says_what_it_leaves_out_and_what_it_does_not_know(home: Home, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "a.png"
    done = _call(home, "ask", "--user", "u03", "--model", "onlylists", "--dataset", "shop", "--out", out)
    assert done.exit_code == 0, done.output
    assert "left out: image_generation: the runner does not answer it" in done.stderr
    assert out.is_file()
    words = ("ask", "--model", "onlylists", "--dataset", "shop", "--out", out)
    assert "did you mean u03" in _refused(home, UnknownNameError, *words, "--user", "u03x")
    assert _refused(home, UnknownNameError, *words, "--user", "NOBODY").count(", ") == 4
    (tmp_path / "file").touch()
    words = ("ask", "--model", "onlylists", "--user", "u03", "--out", tmp_path / "file" / "x.png")
    assert "choose another --out" in _refused(home, ConfigError, *words)


def test_pretrain_prints_the_folder_and_how_to_use_it(home: Home, tmp_path: Path) -> None:
    words = ("pretrain", "--model", "shared", "--dataset", "shop", "--out", tmp_path / "parts")
    done = _call(home, *words, "--set", "width=8")
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{tmp_path / 'parts'}\n"
    assert f"run --model shared --set pretrained={tmp_path / 'parts'}" in done.stderr
    assert "already" in _call(home, *words, "--set", "width=8").stderr
    assert "another request (width)" in _refused(home, ConfigError, *words)
    words = ("pretrain", "--model", "looker", "--dataset", "shop", "--out", tmp_path / "other")
    assert "has no parts to pre-train" in _refused(home, ConfigError, *words)


def test_probe_prints_a_gain_a_probe_and_cohort(home: Home) -> None:
    words = ("probe", "--model", "looker", "--task", "preference", "--only", "probe:other_history")
    done = _call(home, *words)
    assert done.exit_code == 0, done.output
    head, *lines = [line.split("\t") for line in done.stdout.splitlines()]
    rows = {row["cohort"]: row for row in (dict(zip(head, line, strict=True)) for line in lines)}
    assert set(rows) == {"in_domain", "new_user", "new_domain"}
    row = rows["in_domain"]
    assert (row["probe"], row["metric"], row["n"]) == ("probe:other_history", "rmse", "20")
    assert float(row["low"]) <= float(row["gain"]) <= float(row["high"])
    assert float(row["gain"]) == pytest.approx(float(row["probed"]) - float(row["clean"]), abs=2e-4)
    compared = _call(home, "compare", "looker", "looker@probe:other_history", "--task", "preference")
    assert compared.exit_code == 0, compared.output
    assert "configuration variant\tclean\tprobe:other_history" in compared.stdout
    assert "B  looker on preference (probe:other_history)" in compared.stderr
    board = _call(home, "leaderboard", "--task", "preference")
    assert "probe:other_history" in board.stdout
    assert "mae" in _call(home, *words, "--metric", "mae").stdout
    assert "did you mean mae" in _refused(home, UnknownNameError, *words, "--metric", "mea")
    assert "did you mean preference" in _refused(
        home, UnknownNameError, "probe", "--model", "looker", "--task", "prefrence"
    )


def test_probe_of_a_set_metric_says_where_tests_are(home: Home) -> None:
    words = ("probe", "--model", "looker", "--task", "search", "--only", "probe:no_text", "--metric")
    done = _call(home, *words, "coverage@5")
    assert done.exit_code == 0, done.output
    assert "without a test" in done.stdout
    assert "--metric all shows the others" in done.stderr
    every = _call(home, *words, "all")
    assert "probe:no_text\tndcg@5\tin_domain" in every.stdout.splitlines()[1]
    assert "--metric all" not in every.stderr
