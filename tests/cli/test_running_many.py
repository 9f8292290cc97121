"""`run` of many systems: one that fails does not stop the others, a budget is the same for all, costs are told."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import typer
from typer.testing import CliRunner, Result

from tests.fakes import register
from tests.shop import home_at
from unimp_bench import tables
from unimp_bench.cli.run import run
from unimp_bench.errors import ConfigError
from unimp_bench.places import Home
from unimp_bench.runners import registry
from unimp_bench.schemas import ITEMS


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_at(tmp_path / "home")


def _call(home: Home, *words: str) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    app.command()(run)
    done = CliRunner().invoke(app, ["run", *words], obj=home)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def _only(monkeypatch: pytest.MonkeyPatch, *real: str, **fakes: str) -> None:
    """Let there be no other runners."""
    register(monkeypatch, **{name: f"tests.{place}" for name, place in fakes.items()})
    known = {name: entry for name, entry in registry.found().items() if name in (*real, *fakes)}
    monkeypatch.setattr(registry, "found", lambda: known)


def test_one_that_fails_does_not_stop_the_others(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    _only(monkeypatch, "popularity", broken="searched:Broken", hostile="fakes:Hostile")
    done = _call(home, "--model", "all", "--task", "recommendation,preference")
    assert done.exit_code == 1
    told = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert len(told) == 4
    assert told[0].startswith("failed: broken on recommendation: RuntimeError: first line; traceback in ")
    assert told[0].endswith("log.txt")
    assert told[1].startswith("failed: broken on preference: RuntimeError: first line")
    assert told[2].startswith("failed: hostile on preference: ")
    assert told[3] == (
        "failed: 3 of 5 runs (broken on recommendation, broken on preference, hostile on preference); "
        "the same command tries these again"
    )
    folders = [Path(line) for line in done.stdout.splitlines()]
    assert [folder.parent.name for folder in folders] == ["hostile", "popularity"]
    assert all((folder / "manifest.json").is_file() for folder in folders)
    (head,) = [line for line in done.stderr.splitlines() if line.startswith("system ")]
    assert " ".join(head.split()) == "system runs budget trials fit s choose s answer s score s all s peak MB"


def test_one_run_alone_fails_as_itself(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    _only(monkeypatch, broken="searched:Broken")
    with pytest.raises(RuntimeError, match="first line"):
        _call(home, "--model", "broken", "--task", "recommendation")


def test_a_full_disk_stops_all(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("unimp_bench.execute.run", full)
    with pytest.raises(OSError, match="No space left"):
        _call(home, "--model", "popularity,random", "--task", "recommendation")


def test_a_budget_for_all_leaves_out_who_cannot_keep_to_it(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where the notes go
    _only(monkeypatch, "popularity", slow="searched:Slow", searched="searched:Searched")
    done = _call(home, "--model", "all", "--task", "recommendation", "--budget", "60s,2trials")
    assert done.exit_code == 0
    assert "leaving out slow: it does not keep to a budget of time; run it apart, without --budget" in done.stderr
    requests = [json.loads((Path(line) / "run.json").read_text())["request"] for line in done.stdout.splitlines()]
    assert {request["runner"]: request["budget"] for request in requests} == {
        name: {"seconds": 60.0, "trials": 2} for name in ("popularity", "searched")
    }
    table = {cells[0]: cells for line in done.stderr.splitlines() if (cells := line.split()) and len(cells) == 10}
    assert table["popularity"][1:4] == ["1", "1min,2trials", "1"]
    assert table["searched"][1:4] == ["1", "1min,2trials", "2"]
    with pytest.raises(ConfigError, match="'slow' does not keep to a budget of time"):
        _call(home, "--model", "slow", "--task", "recommendation", "--budget", "60s")
    assert _call(home, "--model", "all", "--task", "recommendation", "--budget", "1trial").exit_code == 0


def test_a_group_leaves_out_whom_nobody_asks_about(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.fakes import Base

    _only(monkeypatch, "popularity", parameters="fakes:Parameters")
    monkeypatch.setattr(Base, "cohorts", frozenset({"somebody_else"}))
    done = _call(home, "--model", "all", "--task", "recommendation")
    assert done.exit_code == 0
    assert "leaving out parameters on recommendation: shop asks about no user that it knows" in done.stderr
    with pytest.raises(ConfigError, match="answers for somebody_else"):
        _call(home, "--model", "parameters", "--task", "recommendation")


def _without(home: Home, column: str) -> None:
    """Let no item of the shop have an entry there."""
    path = home.dataset("shop") / "visible/items.parquet"
    items = tables.read(path, ITEMS)
    tables.write(items.with_columns(pl.lit(None, items.schema[column]).alias(column)), path, ITEMS)


def test_a_group_leaves_out_who_needs_what_no_item_has(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.fakes import Parameters

    _only(monkeypatch, "popularity", parameters="fakes:Parameters")
    monkeypatch.setattr(Parameters, "needs", frozenset({"pictures", "text"}), raising=False)
    wanted = ("--model", "all", "--task", "recommendation")
    assert "leaving out" not in _call(home, *wanted).stderr
    _without(home, "image_id")
    done = _call(home, *wanted)
    assert done.exit_code == 0
    assert "leaving out parameters: it learns from pictures, and no item of shop has any" in done.stderr
    for column in ("title", "brand", "categories", "attributes"):
        _without(home, column)
    told = "leaving out parameters: it learns from pictures and text, and no item of shop has any"
    assert told in _call(home, *wanted).stderr
    named = _call(home, "--model", "parameters", "--task", "recommendation")  # whoever names it insists
    assert "leaving out" not in named.stderr


def test_a_group_leaves_out_whose_packages_are_not_there(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.fakes import Parameters

    _only(monkeypatch, "popularity", parameters="fakes:Parameters")
    monkeypatch.setattr(Parameters, "packages", ("json", "no_such_package"), raising=False)
    done = _call(home, "--model", "all", "--task", "recommendation")
    assert done.exit_code == 0
    assert "leaving out parameters: it needs the package 'no_such_package', which is not installed" in done.stderr


def test_an_unknown_unit_is_one_line_and_nothing_is_run(home: Home) -> None:
    with pytest.raises(ConfigError, match="unknown unit 'moons'"):
        _call(home, "--model", "popularity", "--budget", "3moons")
    assert not home.runs.exists()
