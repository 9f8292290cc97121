"""Models by hub name: the cache is laid out by hand, the hub itself is never there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from tests.shop import home_at
from unimp_bench import execute, hub, scoring
from unimp_bench.errors import ConfigError, InputError
from unimp_bench.provenance import read_manifest

_COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and a hub that nobody reaches."""
    folder, real = tmp_path / "cache", huggingface_hub.snapshot_download

    def snapshot(name: str, **options: Any) -> str:
        endpoint = "http://127.0.0.1:9"  # the discard port: refused at once
        return str(real(name, **{**options, "cache_dir": folder, "endpoint": endpoint}))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    return folder


def _cached(cache: Path, name: str, **files: str) -> Path:
    folder = cache / f"models--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / _COMMIT
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(_COMMIT)
    for file, text in files.items():
        (snapshot / file.replace("_", ".")).write_text(text)
    return snapshot


def _models(tmp_path: Path, text: str) -> Path:
    folder = tmp_path / "models"
    folder.mkdir(exist_ok=True)
    (folder / "models.toml").write_text(text)
    return folder


def test_without_a_file_folders_count(tmp_path: Path) -> None:
    assert hub.settings(tmp_path) == {}
    assert hub.place(tmp_path, "clip", {})[0] is None
    (tmp_path / "clip").mkdir()
    assert hub.place(tmp_path, "clip", {}) == (tmp_path / "clip", "")


def test_the_file_names_folders_too(tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    folder = _models(tmp_path, f'clip = "{other}"\nbertscore = "../elsewhere"\nwordnet = "/nowhere"\n')
    given = hub.settings(folder)
    assert hub.place(folder, "clip", given) == (other, "")
    assert hub.place(folder, "bertscore", given)[0] == folder / "../elsewhere"
    assert "names /nowhere, which is no folder" in hub.place(folder, "wordnet", given)[1]


def test_a_cached_name_needs_no_connection(tmp_path: Path, cache: Path) -> None:
    snapshot = _cached(cache, "org/tiny", config_json="{}", model_safetensors="w")
    folder = _models(tmp_path, 'bertscore = "org/tiny"\nbertscore_layers = 3\n')
    found = scoring.models_at(folder, "explanation")
    assert (found.bertscore, found.bertscore_layers, found.clip) == (snapshot, 3, None)
    basis = scoring.basis("explanation", found)["models"]
    assert basis["bertscore_layers"] == 3
    assert set(basis) - {"wordnet"} == {"bertscore", "bertscore_layers"}
    assert scoring.models_at(folder, "image_generation").bertscore is None  # not looked for where nothing needs it


def test_offline_is_one_line_of_reason(tmp_path: Path, cache: Path) -> None:
    _cached(cache, "org/half", config_json="{}")
    lines = {
        "org/absent": "is not in the hub's cache and the hub cannot be reached",
        "org/half": "has no weights, neither in the hub's cache nor to be fetched",
    }
    for name, line in lines.items():
        place, why = hub.place(tmp_path, "clip", {"clip": name})
        assert place is None
        assert why == f"{name} {line}; fetch it where there is a connection, or name a folder in models.toml"
        assert hub.place(tmp_path, "clip", {"clip": name}, fetch=False)[1].startswith(
            f"{name} is not in the hub's cache;"
        )
    assert "neither a folder nor a name" in hub.place(tmp_path, "clip", {"clip": "a/b/c"})[1]


def test_what_the_hub_does_not_have_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot(name: str, **options: Any) -> str:
        if options["local_files_only"]:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not here")
        (tmp_path / "config.json").write_text("{}")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert "has no weights, neither" in hub.place(tmp_path, "clip", {"clip": "org/none"})[1]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "has no config.json"),
        ({"config.json": "{}"}, "has no weights"),
        ({"config.json": "{", "model.safetensors": ""}, "no JSON"),
        ({"config.json": '{"auto_map": {}}', "model.safetensors": ""}, "code of its own, which is never run"),
        ({"config.json": "{}", "pytorch_model.bin": ""}, None),
    ],
)
def test_folders_that_are_not_loaded(tmp_path: Path, files: dict[str, str], reason: str | None) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found = hub.unusable(tmp_path)
    assert (found is None) == (reason is None)
    assert reason is None or reason in str(found)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ('bert = "x"', ConfigError, "unknown key 'bert'; known: bertscore"),
        ("clip = 3", ConfigError, "clip is 3; wanted a name or folder"),
        ('bertscore_layers = "3"', ConfigError, "wanted a number"),
        ("bertscore_layers = true", ConfigError, "wanted a number"),
        ('clip = ""', ConfigError, "wanted a name or folder"),
        ("clip = ", InputError, "not TOML"),
    ],
)
def test_a_file_that_cannot_be_understood(
    tmp_path: Path, text: str, error: Callable[..., Exception], message: str
) -> None:
    with pytest.raises(error, match=message):  # type: ignore[call-overload]
        hub.settings(_models(tmp_path, text))


def test_a_run_lists_the_reason_and_is_scored_again_when_the_model_is_there(tmp_path: Path, cache: Path) -> None:
    home = home_at(tmp_path / "home")
    _models(home.root, 'bertscore = "org/tiny"\n')

    def reason(folder: Path) -> str:
        return str(json.loads((folder / "metrics.json").read_text())["not_computed"]["bertscore of in_domain"])

    folder = execute.run(home, "shop", "explanation", "frequent_explanation")
    assert reason(folder).startswith("org/tiny is not in the hub's cache and the hub cannot be reached")
    _cached(cache, "org/tiny", config_json='{"auto_map": {}}', model_safetensors="w")
    execute.run(home, "shop", "explanation", "frequent_explanation")
    assert "never run" in reason(folder) or "bert-score" in reason(folder)
    manifest = read_manifest(folder)
    assert manifest is not None
    assert "bertscore" in manifest.facts["models"]
