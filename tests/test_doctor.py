"""What the doctor finds, and what is missing for what."""

from __future__ import annotations

import shutil
import subprocess
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import register
from unimp_bench import doctor
from unimp_bench.places import Home


@pytest.fixture(autouse=True)
def _no_torch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing torch takes seconds, in a process of its own; one test looks at it."""
    if "torch" not in request.node.name:
        monkeypatch.setattr(doctor, "_torch_gpu", lambda: ())


def _found(tmp_path: Path) -> dict[str, doctor.Finding]:
    return {one.name: one for one in doctor.examine(Home(tmp_path / "not" / "there"))}


def test_a_sound_installation_has_nothing_broken(tmp_path: Path) -> None:
    found = _found(tmp_path)
    assert {"python", "polars", "extra test", "CPU", "memory", "disk", "GPU", "WordNet", "browser"} <= set(found)
    assert not [one for one in found.values() if one.status == "broken"]
    assert all(bool(one.without) == (one.status != "ok") for one in found.values())
    assert str(tmp_path) in found["disk"].found


def test_a_missing_package_breaks_and_a_missing_extra_disables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.version

    def version(name: str) -> str:
        if name in ("polars", "ranx"):
            raise PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(doctor, "version", version)
    found = _found(tmp_path)
    assert found["polars"].status == "broken"
    assert found["extra test"].status == "absent"
    assert "ranx" in found["extra test"].without
    assert "pip install 'unimp-bench[test]'" in found["extra test"].without


def test_gpu_browser_and_wordnet_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor.wordnet, "find", lambda folder: None)
    found = _found(tmp_path)
    assert [found[name].status for name in ("GPU", "browser", "WordNet")] == ["absent"] * 3
    assert "meteor_exact_stem" in found["WordNet"].without


def test_a_gpu_is_named_and_a_failing_driver_is_not_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")

    def says(line: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(line, 0, "Model One, 80 GB, 1.0\nModel Two, 80 GB, 1.0\n", "")

    monkeypatch.setattr(subprocess, "run", says)
    assert _found(tmp_path)["GPU"].found == "Model One, 80 GB, 1.0; Model Two, 80 GB, 1.0"

    def fails(line: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        raise subprocess.CalledProcessError(9, line)

    monkeypatch.setattr(subprocess, "run", fails)
    assert _found(tmp_path)["GPU"].found == "nvidia-smi fails"


def test_a_runner_that_cannot_be_loaded_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, lacking="tests.no_such_module:Thing")
    found = _found(tmp_path)
    assert found["runner lacking"].without == "--model lacking"


def test_little_room_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_000))
    monkeypatch.setattr(doctor, "_meminfo", lambda: (10**9, 10**8))
    found = _found(tmp_path)
    assert found["disk"].status == found["memory"].status == "absent"


@pytest.mark.parametrize(("said", "status"), [("True 13.0", "ok"), ("False None", "absent")])
def test_torch_is_asked_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, status: str
) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: "1.0")
    lines: list[list[str]] = []

    def says(line: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        lines.append(line)
        return subprocess.CompletedProcess(line, 0, said + "\n", "")

    monkeypatch.setattr(subprocess, "run", says)
    (found,) = doctor._torch_gpu()
    assert (found.status, found.found) == (status, f"CUDA {said.split()[1]}")
    assert "import torch" in lines[0][-1]


def test_models_of_metrics_are_named_by_folder_or_hub(tmp_path: Path) -> None:
    home = Home(tmp_path)
    (home.models / "clip").mkdir(parents=True)
    (home.models / "models.toml").write_text('bertscore = "no/such"\n')
    found = {one.name: one for one in doctor.examine(home)}
    assert found["model of clip"].found == "clip has no config.json"
    assert found["model of bertscore"].found.startswith("no/such is not in the hub's cache;")
    for file in ("config.json", "model.safetensors"):
        (home.models / "clip" / file).write_text("{}")
    found = {one.name: one for one in doctor.examine(home)}
    assert (found["model of clip"].status, found["model of clip"].without) == ("ok", "")
