"""Parts that variants share: made once, taken up after a kill, never changed under a fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes import register
from tests.shop import home_at
from unimp_bench import curves, execute
from unimp_bench.errors import ConfigError
from unimp_bench.places import Home
from unimp_bench.pretraining import pretrain
from unimp_bench.progress import Silent
from unimp_bench.provenance import read_manifest


class _Heard(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    register(monkeypatch, shared="tests.answering:Shared", looker="tests.answering:Looker")
    return home_at(tmp_path / "home")


def test_parts_are_made_once_and_used_by_runs(home: Home, tmp_path: Path) -> None:
    parts, heard = tmp_path / "a" / "parts", _Heard()
    assert pretrain(home, "shop", "shared", parts) == parts
    manifest = read_manifest(parts)
    assert manifest is not None
    assert set(manifest.outputs) == {"pretrain.json", "curve.jsonl", "first", "parts"}
    assert curves.read(parts / "curve.jsonl")["stage"].to_list() == ["tower"]
    assert not (parts / "scratch").exists()
    before = {path.name: path.read_bytes() for path in parts.iterdir()}
    pretrain(home, "shop", "shared", parts, progress=heard)
    assert {path.name: path.read_bytes() for path in parts.iterdir()} == before
    assert "pre-trained there already" in heard.lines[0]
    execute.run(home, "shop", "search", "shared", parameters={"pretrained": str(parts)})
    (state,) = home.root.glob("fits/*/state/learned")
    assert state.read_text() == (parts / "parts").read_text()
    assert state.read_text().endswith("100 4")  # 20 users, five training rows each that have a history


def test_a_killed_one_goes_on(home: Home, tmp_path: Path) -> None:
    fuse, parts = tmp_path / "fuse", tmp_path / "parts"
    fuse.touch()
    with pytest.raises(RuntimeError, match="the fuse blew"):
        pretrain(home, "shop", "shared", parts, parameters={"fuse": str(fuse)})
    assert read_manifest(parts) is None
    assert (parts / "scratch" / "left").exists()
    fuse.unlink()
    pretrain(home, "shop", "shared", parts, parameters={"fuse": str(fuse)})
    assert (parts / "first").read_text() == "onceagain"
    assert read_manifest(parts) is not None


def test_another_request_in_the_same_folder_is_refused(home: Home, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    pretrain(home, "shop", "shared", parts)
    before = {path.name: path.read_bytes() for path in parts.iterdir()}
    with pytest.raises(ConfigError, match=r"is of another request \(seed, width\); remove it"):
        pretrain(home, "shop", "shared", parts, parameters={"width": "5"}, seed=1)
    (parts / "manifest.json").unlink()
    with pytest.raises(ConfigError, match=r"\(width\)"):
        pretrain(home, "shop", "shared", parts, parameters={"width": "5"})
    assert {path.name: path.read_bytes() for path in parts.iterdir()} == {
        name: data for name, data in before.items() if name != "manifest.json"
    }


def test_what_is_no_place_or_no_runner_for_it(home: Home, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="not empty and no pre-training began there"):
        pretrain(home, "shop", "shared", tmp_path / "mine")
    with pytest.raises(ConfigError, match="is a file; choose another --out"):
        pretrain(home, "shop", "shared", tmp_path / "mine" / "thesis.txt")
    (tmp_path / "mine" / "pretrain.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        pretrain(home, "shop", "shared", tmp_path / "mine")
    with pytest.raises(ConfigError, match="runner 'looker' has no parts to pre-train"):
        pretrain(home, "shop", "looker", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["pretrain.json", "thesis.txt"]


def test_the_request_is_plain_data(home: Home, tmp_path: Path) -> None:
    pretrain(home, "shop", "shared", tmp_path / "parts", seed=3)
    asked = json.loads((tmp_path / "parts" / "pretrain.json").read_text())
    assert (asked["runner"], asked["seed"], asked["parameters"]["width"]) == ("shared", 3, 4)
    manifest = read_manifest(tmp_path / "parts")
    assert manifest is not None
    assert manifest.request == asked
