"""Pre-training: the parts that all variants of a system share, made once into a folder of the user's choice.

    FOLDER/pretrain.json      what was asked, first
    FOLDER/…                  whatever the runner makes
    FOLDER/curve.jsonl        the learning curve, if the runner records one
    FOLDER/manifest.json      last: its presence means complete

A killed pre-training goes on when it is asked for again, with whatever it had left; another one in the same folder is
refused, so that nothing that a fit stands on is ever changed under it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from unimp_bench import curves, fitting
from unimp_bench.dataset import Dataset
from unimp_bench.errors import ConfigError
from unimp_bench.fitting import Asked
from unimp_bench.meter import now, peak_megabytes, reset_peak
from unimp_bench.places import Home, atomic, remove
from unimp_bench.progress import Progress, Silent
from unimp_bench.provenance import Manifest, digest, hash_outputs, read_manifest
from unimp_bench.runners import registry
from unimp_bench.runners.protocol import Context, Runner, TaskData

REQUEST = "pretrain.json"


@runtime_checkable
class Pretraining(Protocol):
    """A runner whose variants share parts."""

    def pretrain(self, data: Mapping[str, TaskData], folder: Path, context: Context) -> None:
        """Make the shared parts in `folder`; what a killed pre-training left there is there again."""


def pretrain(
    home: Home,
    dataset: str,
    runner: str,
    folder: Path,
    *,
    parameters: Mapping[str, str] = MappingProxyType({}),
    seed: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Make the parts that all variants of a runner share, or find them made; returns the folder.

    Args:
        home: where data stands.
        dataset: name of a built dataset; as in `fit`, only its in-domain training rows are learned from.
        runner: name in the registry.
        folder: where the parts go: absent, empty, or of an equal request.
        parameters: the runner's fields as strings.
        seed: of the runner's randomness.
        progress: told what happens.

    Raises:
        UnknownNameError: no such dataset, runner or parameter.
        ConfigError: the runner has nothing to pre-train, or the folder holds something else.
        IncompleteError: another process is making the same.
    """
    progress = progress or Silent()
    data = Dataset.open(home, dataset)
    fresh = registry.load(runner, parameters)
    if not isinstance(fresh, Pretraining):
        raise ConfigError(f"runner '{runner}' has no parts to pre-train; `run --model {runner}` fits it whole")
    if fresh.reads_truth and data.truth is None:
        raise ConfigError(f"runner '{runner}' reads the synthetic shop's truth, which {dataset} does not have")
    tasks = tuple(sorted(fresh.tasks & set(data.tasks)))
    asked = Asked(runner, dict(parameters), data, tasks, seed)
    request = {"kind": "pretrain", **fitting.described(asked)}
    with home.locked("pretrain", digest(str(folder.resolve()))):
        if _is_there(folder, request):
            progress.say(f"{runner} is pre-trained there already: {folder}")
            return folder
        _make(home, folder, asked, fresh, request, progress)
    return folder


def _is_there(folder: Path, request: Mapping[str, Any]) -> bool:
    """Whether the folder is finished; refuses one that is not this request's, which might be anything of the user's."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; choose another --out")
    if not folder.is_dir() or not any(folder.iterdir()):
        return False
    note = folder / REQUEST
    if not note.is_file():
        raise ConfigError(f"{folder} is not empty and no pre-training began there; choose another --out")
    try:
        began = json.loads(note.read_text())
    except ValueError:
        raise ConfigError(f"{note} cannot be read; remove {folder} or choose another --out") from None
    if digest(began) != digest(request):
        differs = ", ".join(sorted(_differing(began, request)))
        raise ConfigError(f"{folder} is of another request ({differs}); remove it or choose another --out")
    return read_manifest(folder) is not None


def _differing(began: object, request: Mapping[str, Any]) -> set[str]:
    known = began if isinstance(began, dict) else {}
    plain = json.loads(json.dumps(request, default=str))
    found = {name for name in {*known, *plain} - {"parameters"} if known.get(name) != plain.get(name)}
    old, new = known.get("parameters") or {}, plain["parameters"]
    return found | {name for name in {*old, *new} if old.get(name) != new.get(name)}


def _make(
    home: Home, folder: Path, asked: Asked, runner: Runner, request: Mapping[str, Any], progress: Progress
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with atomic(folder / REQUEST) as draft:
        draft.write_text(json.dumps(request, indent=1, sort_keys=True, default=str) + "\n")
    curve = folder / curves.NAME
    curves.mend(curve)
    started = time.monotonic()
    reset_peak()
    learning = {task: fitting.task_data(asked.data, task, new_domains=False) for task in asked.tasks}
    assert isinstance(runner, Pretraining)
    around = fitting.context(home, folder, asked, runner, progress, curve=curve)
    runner.pretrain(learning, folder, around)
    remove(folder / "scratch")
    Manifest(
        "pretrain",
        digest(request),
        request,
        inputs={f"data/{asked.data.name}": asked.data.manifest.id},
        outputs=hash_outputs(folder),
        facts={"peak_megabytes": round(peak_megabytes() + around.megabytes_elsewhere, 1)},
        seconds={"pretrain": round(time.monotonic() - started, 3)},
        created=now(),
    ).write(folder)
