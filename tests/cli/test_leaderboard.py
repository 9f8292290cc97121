"""What `leaderboard` prints beside its plain tables: tiers, slices, exports, and what it says of odd folders."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner, Result

from tests.finished import write_run
from tests.shop import home_at
from unimp_bench import execute
from unimp_bench.board import rows
from unimp_bench.cli.board_view import by_bucket
from unimp_bench.cli.leaderboard import Exporting, leaderboard
from unimp_bench.errors import ConfigError, UnknownNameError
from unimp_bench.places import Home
from unimp_bench.slices import table


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = home_at(tmp_path_factory.mktemp("leaderboard") / "home")
    for runner in ("bm25", "random"):
        execute.run(home, "shop", "search", runner)
    execute.run(home, "shop", "image_generation", "mean_image")
    return home


def _call(home: Home, *words: str) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    app.command(cls=Exporting)(leaderboard)
    done = CliRunner().invoke(app, ["leaderboard", *words], obj=home)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_tiers_are_shown_beside_the_interval(tmp_path: Path) -> None:
    home = Home(tmp_path)
    rng = np.random.default_rng(0)
    for name, mean in (("good", 0.6), ("alike", 0.595), ("bad", 0.2)):
        write_run(home, name, {"ndcg@5": rng.normal(mean, 0.1, 300).clip(0, 1)})
    write_run(home, "oracle", {"ndcg@5": np.ones(300)}, reads_truth=True)
    lines = _call(home).stdout.splitlines()
    shown = {line.split()[0]: line.split() for line in lines if line.strip()}
    assert "tier" in shown["runner"]
    assert [shown[name][5] for name in ("good", "alike", "bad")] == ["1", "1", "2"]
    assert shown["oracle"][1] == "*"
    assert "detectable difference about 0.0" in lines[-2]


def test_slices_beside_the_mean(home: Home) -> None:
    done = _call(home, "--slices", "--cohort", "in_domain")
    assert "image_generation in_domain kid has no slices" in done.stderr
    assert "a place to look, not a test" in done.stdout
    assert "too few examples" in done.stdout  # of 20 users no part has 30
    split = _call(home, "--by", "picture", "--task", "search", "--cohort", "in_domain").stdout
    assert "shop · search · in_domain · by picture" in split
    assert "yes (n = " in split
    with pytest.raises(UnknownNameError, match="unknown slice dimension 'pictur'; did you mean picture"):
        _call(home, "--by", "pictur")


def test_the_worst_slice_is_named(tmp_path: Path) -> None:
    home = home_at(tmp_path / "home")
    execute.run(home, "shop", "search", "bm25")
    from unimp_bench import slices
    from unimp_bench.cli.board_view import worst_slices

    board = rows(home).filter(metric="ndcg@5", cohort="in_domain")
    found = table(home, board)
    least = slices.worst(found, at_least=3)
    console = Console(width=200, file=io.StringIO(), color_system=None)
    console.print(worst_slices(board, least, console))
    assert isinstance(console.file, io.StringIO)
    drawn = console.file.getvalue()
    assert f"{least['by'][0]}={least['bucket'][0]}" in drawn
    assert f"{least['value'][0]:.4f}" in drawn


def test_a_narrow_terminal_gets_lines_for_columns(home: Home) -> None:
    board = rows(home, task="search").filter(metric="ndcg@5", cohort="in_domain")
    found = table(home, board, by="popularity")
    for width in (160, 40):
        console = Console(width=width, file=io.StringIO(), color_system=None)
        console.print(by_bucket(board, found, console))
        assert isinstance(console.file, io.StringIO)
        drawn = console.file.getvalue()
        for value in found["value"]:
            assert f"{value:.4f}" in drawn
        assert ("slice" in drawn) == (width == 40)


def test_every_format_to_a_file(home: Home, tmp_path: Path) -> None:
    files = {name: tmp_path / f"board.{name}" for name in ("csv", "json", "markdown", "latex")}
    words = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    done = _call(home, "--task", "search", *words)
    assert "shop · search · in_domain" in done.stdout
    board = rows(home, task="search")
    assert len(json.loads(files["json"].read_text())) == board.height
    assert len(files["csv"].read_text().splitlines()) == board.height + 1
    for name in ("markdown", "latex"):  # what is shown: the first metric
        text = files[name].read_text()
        assert "ndcg@5" in text and "hr@10" not in text
    assert f"{board.height} rows in {files['csv']}" in done.stderr.replace("\n", "")


def test_stdout_holds_one_format_and_nothing_else(home: Home) -> None:
    listed = json.loads(_call(home, "--task", "search", "--json", "-").stdout)
    assert {row["runner"] for row in listed} == {"bm25", "random"}
    assert _call(home, "--task", "search", "--markdown", "-").stdout.startswith("### shop · search")
    assert _call(home, "--task", "search", "--latex", "-").stdout.startswith("% needs")
    assert _call(home, "--task", "search", "--csv", "-").stdout.startswith("dataset,dataset_id")
    with pytest.raises(ConfigError, match="--csv and --json both want stdout; give one of them a file"):
        _call(home, "--csv", "-", "--json", "-")


@pytest.mark.parametrize("name", ["csv", "json", "markdown", "latex"])
def test_a_format_without_a_file_goes_to_stdout(home: Home, tmp_path: Path, name: str) -> None:
    wanted = _call(home, "--task", "search", f"--{name}", "-").stdout
    assert _call(home, "--task", "search", f"--{name}").stdout == wanted
    assert _call(home, f"--{name}", "--task", "search").stdout == wanted
    for words in ((f"--{name}", str(tmp_path / "a")), (f"--{name}={tmp_path / 'a'}",)):
        assert "shop · search" in _call(home, "--task", "search", *words).stdout
        assert (tmp_path / "a").read_text() == wanted
        (tmp_path / "a").unlink()


def test_one_format_to_a_file_and_another_to_stdout(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    for words in (("--markdown", "--csv", str(file)), ("--csv", str(file), "--markdown")):
        assert _call(home, "--dataset", "shop", *words).stdout.startswith("### shop")
        assert file.read_text().startswith("dataset,dataset_id")
        file.unlink()
    with pytest.raises(ConfigError, match="--markdown and --latex both want stdout"):
        _call(home, "--markdown", "--latex")
    assert "No such option: --marked" in _call(home, "--latex", "--marked").stderr


@pytest.mark.parametrize("name", ["csv", "json", "markdown", "latex"])
def test_a_file_that_cannot_be_written_is_one_line(home: Home, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=rf"cannot write .*choose another --{name}"):
        _call(home, f"--{name}", str(tmp_path / "file" / "board"))


def test_folders_without_a_manifest_are_counted_aloud(tmp_path: Path) -> None:
    home = Home(tmp_path)
    folder = write_run(home, "whole", {"ndcg@5": np.ones(3)})
    assert "no manifest" not in _call(home).stderr
    for name in ("a" * 16, "b" * 16):
        folder.with_name(name).mkdir()
    done = _call(home)
    assert "whole" in done.stdout
    assert "2 run folders have no manifest (killed, or under way), left out: " in done.stderr
    assert "no manifest" not in _call(home, "--task", "preference").stderr


def test_splits_never_share_a_table(tmp_path: Path) -> None:
    home = Home(tmp_path)
    write_run(home, "one", {"ndcg@5": np.ones(3)})
    write_run(home, "two", {"ndcg@5": np.zeros(3)}, split_hash="0" * 16)
    shown = _call(home).stdout
    assert shown.count("shop · search · in_domain") == 2
    assert "split 00000000" in shown and "split abcdef01" in shown


@pytest.mark.parametrize(("option", "near"), [("task", "serch"), ("metric", "ndcg5"), ("cohort", "new_users")])
def test_near_names_are_offered(home: Home, option: str, near: str) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown {option} '{near}'; did you mean "):
        _call(home, f"--{option}", near)


def test_slices_go_to_csv_and_json_with_the_worst_marked(home: Home, tmp_path: Path) -> None:
    for at in range(2):
        ids = [f"e{n:03d}" for n in range(60)]
        write_run(home, f"far{at}", {"hr@3": np.ones(60)}, ids=ids)  # of no build that stands there: no slices
    done = _call(home, "--slices", "--task", "search", "--json", "-")
    listed = json.loads(done.stdout)
    found = table(home, rows(home, task="search").filter(metric="ndcg@5"))
    assert [row["slice"] for row in listed] == found["slice"].to_list()
    assert [row["value"] for row in listed] == found["value"].to_list()
    assert {row["worst"] for row in listed} == {False}  # no part of 20 users has 30
    _call(home, "--by", "picture", "--task", "search", "--csv", str(tmp_path / "slices.csv"))
    lines = (tmp_path / "slices.csv").read_text().splitlines()
    assert lines[0].endswith(",by,bucket,slice,value,low,high,n,mean,worst")
    assert len(lines) == 1 + found.filter(by="picture").height


def test_wide_tables_in_every_form(home: Home, tmp_path: Path) -> None:
    shown = _call(home, "--wide", "--task", "search", "--cohort", "in_domain").stdout
    heads = [line.split() for line in shown.splitlines() if line.strip().startswith("runner")]
    names = [word for head in heads for word in head if "@" in word]  # in pieces where the terminal is narrow
    assert names == ["hr@5", "hr@10", "ndcg@5", "ndcg@10", "mrr@10", "coverage@10"]
    text = _call(home, "--wide", "--task", "search", "--markdown", "-").stdout
    assert text.count("### shop") == 3
    every = _call(home, "--wide", "--metric", "all", "--task", "search", "--latex", "-").stdout
    assert "novelty@3" in every and "$\\uparrow$" in every
    with pytest.raises(ConfigError, match="leave out --slices and --by, or --wide"):
        _call(home, "--wide", "--slices")
