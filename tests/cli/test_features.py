"""The command features, and the encoders that `list` shows, called in-process."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.features.known import register
from tests.shop import add_variant, home_at
from unimp_bench.cli.main import app
from unimp_bench.dataset import Dataset
from unimp_bench.errors import UnknownNameError
from unimp_bench.places import Home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    register(monkeypatch, lengths="tests.features.known:Lengths", absent="tests.no_such_module:Thing")
    return home_at(tmp_path / "home")


def _call(home: Home, *words: str) -> Result:
    return CliRunner().invoke(app, ["--home", str(home.root), *words])


def _rows(done: Result) -> list[dict[str, str]]:
    assert done.exit_code == 0, done.output
    names, *lines = [line.split("\t") for line in done.stdout.splitlines()]
    return [dict(zip(names, line, strict=True)) for line in lines]


def test_features_are_made_and_found_again(home: Home) -> None:
    (row,) = _rows(_call(home, "features", "--dataset", "shop", "--encoder", "thumbnail"))
    assert (row["encoder"], row["items"], row["with features"]) == ("thumbnail", "20", "19")
    file = Path(row["file"])
    assert file.parent == home.features
    written = file.stat().st_mtime_ns
    (again,) = _rows(_call(home, "features", "--encoder", "thumbnail"))
    assert again["file"] == row["file"]
    assert file.stat().st_mtime_ns == written
    (other,) = _rows(_call(home, "features", "--encoder", "thumbnail@shuffled"))
    assert other["file"] == row["file"]


def test_a_variant_has_features_of_its_own(home: Home) -> None:
    add_variant(Dataset.open(home, "shop"))  # no item has a title
    rows = [_rows(_call(home, "features", "--encoder", "lengths", "--variant", v))[0] for v in ("clean", "NT-0.2")]
    assert [row["with features"] for row in rows] == ["20", "0"]
    assert rows[0]["file"] != rows[1]["file"]
    pictures = [
        _rows(_call(home, "features", "--encoder", "thumbnail", "--variant", v))[0] for v in ("clean", "NT-0.2")
    ]
    assert pictures[0]["file"] == pictures[1]["file"]


def test_unknown_names_answer_with_near_ones(home: Home) -> None:
    for words in (("--encoder", "tumbnail"), ("--encoder", "thumbnail", "--variant", "NT-0.3")):
        done = _call(home, "features", "--dataset", "shop", *words)
        assert isinstance(done.exception, UnknownNameError)
    assert "did you mean NT-0.2" in str(done.exception) or "known: clean" in str(done.exception)


def test_encoders_are_listed_with_what_they_read(home: Home) -> None:
    done = _call(home, "list", "encoders")
    rows = {row["name"]: row for row in _rows(done)}
    assert rows["tfidf_svd"]["reads"] == "text"
    assert rows["clip:"]["reads"] == rows["unimp_tower"]["reads"] == "image"
    assert rows["absent"]["reads"] == "?"
    assert "needs the package 'tests.no_such_module'" in done.stderr
    assert rows["thumbnail"]["what it is"].startswith("Colours")
