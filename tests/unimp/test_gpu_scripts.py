"""The scripts for a GPU machine, as far as a CPU can try them: they begin, and count operations as PyTorch does."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.shop import home_at
from unimp import trainable
from unimp.config import PRESETS, UnimpConfig
from unimp.losses import combine, focal
from unimp.modeling import Unimp

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


def script(name: str) -> ModuleType:
    """A script of the benchmarks as a module."""
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def sized(preset: str, **changes: Any) -> UnimpConfig:
    return UnimpConfig(**PRESETS[preset] | changes, text_ids=997, items=500, image_codes=64)


@pytest.mark.parametrize("frozen", [False, True])
def test_operations_are_those_that_pytorch_counts(frozen: bool) -> None:
    gpu, rows, ids, patches = script("gpu"), 3, 120, 100
    config = sized("small", latents=16)
    torch.manual_seed(0)
    model = Unimp(config).train()
    trainable.choose(model, trainable.parts_of(config, "multi_task", scratch=not frozen))
    made = gpu.batch(config, rows, ids, "cpu")
    given = torch.randn(rows * gpu.PICTURES, patches, config.vision_width)
    with FlopCounterMode(display=False) as counted:
        logits, places = model.supervised(made, given)
        labels = made.labels.flatten()[places]
        combine(focal(logits, labels, 2.0), made.weights.flatten()[places], places).backward()
    found = gpu.operations(model, rows, ids, patches)
    # Of attention on a CPU it counts nothing.
    assert found.total - found.attention == pytest.approx(counted.get_total_flops(), rel=0.005)


def test_the_measurement_begins_without_a_gpu() -> None:
    if torch.cuda.is_available():
        pytest.skip("it would measure")
    said = subprocess.run([sys.executable, str(SCRIPTS / "gpu.py")], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert said.stdout.count("ids/s") == 2 and "no measurement" in said.stdout


def test_what_it_starts_finds_unimp_in_the_checkout(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    on_gpu = script("on_gpu")
    assert on_gpu.call("-c", "import os; print(os.environ['PYTHONPATH'].split(os.pathsep)[0])")
    assert (Path(capfd.readouterr().out.strip()) / "unimp/train.py").is_file()
    assert not on_gpu.call("-m", "unimp.train", "--data", str(tmp_path), "--out", str(tmp_path / "saved"))
    assert "is no finished dataset" in capfd.readouterr().err


@pytest.mark.slow
def test_everything_is_trained_answered_and_not_made_twice(tmp_path: Path) -> None:
    data, out = home_at(tmp_path / "home").dataset("shop"), tmp_path / "brought_back"
    words = ["--data", str(data), "--out", str(out), "--skip-speed", "--preset", "tiny", "--set", "effort=0.02"]
    command = [sys.executable, str(SCRIPTS / "on_gpu.py"), *words]
    assert subprocess.run(command, check=False).returncode == 0
    made = {file: file.stat().st_mtime_ns for file in sorted(out.rglob("*")) if file.is_file()}
    answered = {file.stem for file in made if file.parent.name == "shop" and file.suffix == ".parquet"}
    assert answered == {task.parent.name for task in data.glob("visible/tasks/*/test.examples.parquet")} != set()
    assert subprocess.run(command, check=False).returncode == 0
    assert made == {file: file.stat().st_mtime_ns for file in sorted(out.rglob("*")) if file.is_file()}
