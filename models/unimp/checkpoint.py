"""A training run on disk: what it needs to go on as if it had never stopped.

    checkpoint-00003-00001200/     tensors.safetensors   trained weights, the optimizer's moments, random states
                                   state.json            position in the data, best score, sums; whose run it is

A folder is written under another name, made durable, and renamed; only then are older ones removed. A kill at any
moment therefore leaves a whole checkpoint. Nothing is pickled, so nothing in a checkpoint can run.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from unimp.errors import CheckpointError, TrainingError

TENSORS, STATE = "tensors.safetensors", "state.json"
_PREFIX, _PART = "checkpoint-", ".part"


def save(folder: Path, epoch: int, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> Path:
    """Write the checkpoint of a place in the data and remove older ones.

    Args:
        folder: of the run.
        epoch: the epoch that the run stands in.
        step: optimizer steps of that epoch that are done.
        tensors: by name; copied to the CPU.
        state: what JSON can hold.

    Raises:
        TrainingError: the disk is full or not writable; the previous checkpoint, where there is one, is whole.
    """
    target = folder / f"{_PREFIX}{epoch:05d}-{step:08d}"
    part = target.with_name(target.name + _PART)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        write_tensors(part / TENSORS, tensors)
        (part / STATE).write_text(json.dumps(dict(state)) + "\n")
        _durable(part / STATE)
        part.rename(target)
    except (OSError, SafetensorError) as problem:
        shutil.rmtree(part, ignore_errors=True)
        raise TrainingError(_refused(target, problem)) from problem
    for other in _all(folder):
        if other != target:
            shutil.rmtree(other, ignore_errors=True)
    return target


def load(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and state of the newest checkpoint of a run; None where there is none.

    Raises:
        CheckpointError: it is damaged.
    """
    found = _all(folder)
    if not found:
        return None
    newest = found[-1]
    tensors = read_tensors(newest / TENSORS)
    try:
        state = json.loads((newest / STATE).read_text())
    except (OSError, ValueError) as problem:
        raise CheckpointError(
            f"'{newest / STATE}' is damaged ({problem}); remove '{newest}' and start again"
        ) from problem
    return tensors, state


def write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors to a file by way of another name, durably. Errors are the system's own."""
    part = file.with_name(file.name + _PART)
    save_file({name: one.detach().cpu().contiguous() for name, one in tensors.items()}, str(part))
    _durable(part)
    part.replace(file)


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Tensors of a file.

    Raises:
        CheckpointError: it is missing or cut short.
    """
    try:
        return load_file(str(file))
    except (OSError, SafetensorError) as problem:
        said = str(problem).split("\n")[0]
        raise CheckpointError(f"'{file}' is damaged ({said}); remove '{file.parent}' and start again") from problem


def save_best(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Keep the weights that validated best.

    Raises:
        TrainingError: the disk is full or not writable; the previous ones are whole.
    """
    file = folder / "best.safetensors"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(file, tensors)
    except (OSError, SafetensorError) as problem:
        file.with_name(file.name + _PART).unlink(missing_ok=True)
        raise TrainingError(_refused(file, problem)) from problem


def load_best(folder: Path) -> dict[str, Tensor]:
    """The weights that validated best.

    Raises:
        CheckpointError: they are missing or cut short.
    """
    return read_tensors(folder / "best.safetensors")


def _all(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    return sorted(one for one in folder.glob(f"{_PREFIX}*") if one.suffix == "" and one.is_dir())


def _durable(file: Path) -> None:
    """Wait until the disk has it: a rename may otherwise outlive the bytes that it names."""
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refused(target: Path, problem: Exception) -> str:
    said = str(problem).split("\n")[0]
    left = "the previous checkpoint is whole" if _all(target.parent) else "no checkpoint was made yet"
    full = isinstance(problem, OSError) and problem.errno == errno.ENOSPC
    if full or "No space left" in said or "os error 28" in said:
        return f"disk full while writing '{target}'; {left}: free space and start again"
    return f"'{target}' cannot be written ({said}); {left}"
