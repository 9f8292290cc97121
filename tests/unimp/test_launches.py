"""`python -m unimp.train` in two processes: all stages, one writer, the weights that one process learns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")

import torch
from safetensors.torch import load_file

from tests import shop as small
from tests.unimp import training_runs
from tests.unimp.launched import LaunchError, launch
from unimp import loading, train
from unimp.options import BUDGETS

pytestmark = pytest.mark.slow

QUICK = ("--set", "effort=0.02", "--set", "epochs=50")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.home_at(tmp_path_factory.mktemp("launches") / "home").dataset("shop")


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process learns whose steps are cut as for two."""
    torch.set_num_threads(1)
    out, plain = tmp_path_factory.mktemp("alone") / "saved", loading.steps_of
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unimp.training.steps_of", lambda rows, epoch, draw, _, each: plain(rows, epoch, draw, 2, each))
        assert train.main(["--data", str(data), "--out", str(out), *QUICK]) == 0
    return out


def facts(folder: Path) -> dict[str, object]:
    read: dict[str, object] = json.loads((folder / "unimp.json").read_text())
    del read["seconds"], read["decisions"]  # a line through near equal ratings magnifies rounding
    return read


def apart(one: Path, two: Path) -> torch.Tensor:
    """How far all weights of two saved systems are apart; they must have the same files and names."""
    files = sorted(file.relative_to(one) for file in one.rglob("*.safetensors"))
    assert files == sorted(file.relative_to(two) for file in two.rglob("*.safetensors"))
    assert {file.parts[0] for file in files} >= {"model", "tower", "images", train.ADAPTED}
    found = []
    for file in files:
        a, b = load_file(one / file), load_file(two / file)
        assert a.keys() == b.keys()
        found += [(a[name].double() - b[name].double()).abs().flatten() for name in a]
    return torch.cat(found)


def stages_told(said: str) -> list[str]:
    """Stages that were told to be done, in order."""
    return [
        line.split(" s  ")[1].split(" 100%")[0] for line in said.splitlines() if line.endswith(" s") and "%" in line
    ]


def test_copies_of_a_model_learn_what_one_does(data: Path, alone: Path, tmp_path: Path) -> None:
    out = tmp_path / "saved"
    said = launch("unimp.train", "--data", str(data), "--out", str(out), *QUICK, accelerate=("--multi_gpu",))
    told = stages_told(said)
    assert len(told) == len(set(told)), "one process speaks"
    assert told[:4] == ["tokenizer", "vision tower", "patch tokens", "image tokenizer"]
    assert {"language", "captions", "multi_task", "search", "image_generation", "new_domain"} < set(told)
    assert facts(out) == facts(alone)
    assert training_runs.rounded_only(apart(alone, out), BUDGETS["tiny"].lr)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["saved"]  # nothing is left of the work


def test_shares_of_a_model_learn_what_one_does(data: Path, alone: Path, tmp_path: Path) -> None:
    out, flags = tmp_path / "saved", ("--use_fsdp", "--fsdp_version", "2")
    said = launch("unimp.train", "--data", str(data), "--out", str(out), *QUICK, accelerate=flags)
    assert len(stages_told(said)) == len(set(stages_told(said)))
    assert facts(out) == facts(alone)
    assert training_runs.rounded_only(apart(alone, out), BUDGETS["tiny"].lr)


def test_what_stops_all_processes_is_said_once(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "saved"
    with pytest.raises(LaunchError) as stopped:
        launch("unimp.train", "--data", str(tmp_path), "--out", str(out))
    lines = [line for line in str(stopped.value).splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert "no finished dataset" in lines[0]
    with pytest.raises(LaunchError) as refused:
        launch("unimp.predict", "--model", str(out), "--data", str(data), "--task", "search", "--out", str(out))
    assert "without a launcher" in str(refused.value)


def test_processes_agree_and_fail_together(tmp_path: Path) -> None:
    launch("tests.unimp.agreeing", str(tmp_path))
