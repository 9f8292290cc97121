from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes import register
from tests.shop import home_at
from unimp_bench import curves, execute
from unimp_bench.dataset import Dataset
from unimp_bench.errors import IncompleteError
from unimp_bench.places import Home
from unimp_bench.runners.protocol import Context
from unimp_bench.verify import verify


def test_records_are_lines_and_what_is_no_number_is_null(tmp_path: Path) -> None:
    context = Context(0, tmp_path, curve=tmp_path / "curve.jsonl")
    context.record("fit", 1, loss=2.5, recall=float("nan"))
    context.record("fit", 2, loss=float("inf"))
    lines = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert lines == [
        {"stage": "fit", "step": 1, "loss": 2.5, "recall": None},
        {"stage": "fit", "step": 2, "loss": None},
    ]


def test_without_a_curve_nothing_is_written(tmp_path: Path) -> None:
    Context(0, tmp_path).record("fit", 1, loss=2.5)
    assert list(tmp_path.iterdir()) == []


def test_the_last_record_of_a_step_counts_and_stages_keep_their_order(tmp_path: Path) -> None:
    path = tmp_path / "curve.jsonl"
    for stage, step, value in (("warm", 9, 1.0), ("fit", 2, 5.0), ("fit", 1, 6.0), ("fit", 2, 4.0), ("warm", 10, 0.5)):
        curves.append(path, stage, step, {"loss": value})
    assert curves.read(path).rows() == [
        ("warm", 9, "loss", 1.0),
        ("warm", 10, "loss", 0.5),
        ("fit", 1, "loss", 6.0),
        ("fit", 2, "loss", 4.0),
    ]


def test_an_unfinished_last_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "curve.jsonl"
    curves.append(path, "fit", 1, {"loss": 2.0})
    with path.open("a") as file:
        file.write('{"stage": "fit", "st')
    with pytest.raises(IncompleteError, match="line 2 is no record"):
        curves.read(path)
    curves.mend(path)
    curves.append(path, "fit", 2, {"loss": 1.0})
    assert curves.read(path)["step"].to_list() == [1, 2]
    curves.mend(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    register(monkeypatch, trained="tests.fakes:Trained")
    return home_at(tmp_path / "home")


def _curve(home: Home) -> Path:
    (path,) = home.root.glob("fits/*/curve.jsonl")
    return path


def test_a_fit_that_died_goes_on_with_its_curve(home: Home, tmp_path: Path) -> None:
    fuse = tmp_path / "fuse"
    fuse.touch()
    given = {"fuse": str(fuse)}
    with pytest.raises(RuntimeError):
        execute.run(home, "shop", "search", "trained", parameters=given)
    with _curve(home).open("a") as file:
        file.write('{"stage": "fi')  # as a kill would leave it
    fuse.unlink()
    execute.run(home, "shop", "search", "trained", parameters=given)
    found = curves.read(_curve(home))
    assert found.filter(name="loss").rows() == [
        ("pretrain", 1, "loss", None),
        *[("fit", step, "loss", pytest.approx(2 / (step + 1))) for step in range(4)],
    ]
    assert len(_curve(home).read_text().splitlines()) == 1 + 3 + 3  # steps 1 and 2 twice
    assert verify(Dataset.open(home, "shop"), home) == []


def test_a_fresh_fit_starts_an_empty_curve(home: Home) -> None:
    execute.run(home, "shop", "search", "trained")
    before = _curve(home).read_bytes()
    (home.root / _curve(home).parent / "manifest.json").unlink()
    execute.run(home, "shop", "search", "trained", force=True)
    assert _curve(home).read_bytes() == before


def test_a_fit_of_an_earlier_start_without_a_checkpoint_leaves_no_records(home: Home) -> None:
    execute.run(home, "shop", "search", "trained")
    before, path = _curve(home).read_bytes(), _curve(home)
    (path.parent / "manifest.json").unlink()
    for folder in home.runs.rglob("manifest.json"):
        folder.unlink()
    curves.append(path, "fit", 99, {"loss": 1.0})
    execute.run(home, "shop", "search", "trained")
    assert path.read_bytes() == before


def test_a_runner_that_records_nothing_has_no_curve(home: Home) -> None:
    execute.run(home, "shop", "search", "random")
    assert list(home.root.glob("fits/*/curve.jsonl")) == []
