"""Weights in files, one tensor at a time, and how they are put into a model so that nothing is left over or left out.

A state dict that is loaded "not strictly" hides real mismatches: here every name of a file has to be known, and every
weight that a file has to bring has to be brought.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from unimp.errors import CheckpointError

Reader = Callable[[], Tensor]
_KINDS = ("model*.safetensors", "pytorch_model*.bin")  # the first that a folder has is read
_SETTINGS = ["config.json", "*.index.json"]
_NAMED = 4  # names an error lists


def local_folder(name: str | Path, kinds: Iterable[str] = _KINDS) -> Path:
    """The folder that holds a published model: `name` itself, or the hub's copy, fetched when it is not there yet.

    Only settings and weights are fetched, safetensors before pickles; nothing that could be run.

    Raises:
        CheckpointError: no such folder and no such name on the hub, or no network.
    """
    if Path(name).is_dir():
        return Path(name)
    try:
        for kind in kinds:
            folder = Path(snapshot_download(str(name), allow_patterns=[*_SETTINGS, kind]))
            if any(folder.glob(kind)):
                return folder
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as problem:
        raise CheckpointError(
            f"'{name}' is no folder and cannot be fetched from the hub: {_said(problem)}; give a local folder"
        ) from problem
    return folder


def weights_of(folder: Path) -> dict[str, Reader]:
    """Readers of all weights in a folder, by name; safetensors where there are any, else pickles without code.

    Raises:
        CheckpointError: no weights, or a damaged file.
    """
    for kind in _KINDS:
        if files := sorted(folder.glob(kind)):
            found: dict[str, Reader] = {}
            for file in files:
                found |= _safe(file) if file.suffix == ".safetensors" else as_readers(unpickled(file))
            return found
    raise CheckpointError(f"{folder} has no weights ({' or '.join(_KINDS)}); fetch the model again")


def _safe(file: Path) -> dict[str, Reader]:
    try:
        opened: Any = safe_open(str(file), framework="pt")
        return {name: partial(opened.get_tensor, name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as problem:
        raise CheckpointError(f"{file} is damaged: {_said(problem)}; fetch or save it again") from problem


def unpickled(file: Path) -> dict[str, Tensor]:
    """Tensors of a torch pickle by name, mapped from disk; a pickle that holds anything to run is refused.

    Raises:
        CheckpointError: no such file, a damaged one, or one that is not tensors by name.
    """
    try:
        try:
            found = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # files older than torch 1.6 cannot be mapped; truly damaged ones fail again
            found = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as problem:
        raise CheckpointError(f"{file} cannot be read as weights: {_said(problem)}; fetch it again") from problem
    if isinstance(found, dict) and "model_state_dict" in found:
        found = found["model_state_dict"]  # as OpenFlamingo's training writes it, beside the optimizer's state
    if not isinstance(found, dict) or not all(isinstance(one, Tensor) for one in found.values()):
        raise CheckpointError(f"{file} holds no tensors by name; a state dict is needed")
    return found


def as_readers(tensors: Mapping[str, Tensor]) -> dict[str, Reader]:
    """Tensors at hand as readers."""
    return {name: tensor.detach for name, tensor in tensors.items()}


@torch.no_grad()
def fill(
    model: nn.Module,
    weights: Mapping[str, Reader],
    targets: Callable[[str], list[str] | None],
    *,
    whole: tuple[str, ...],
    rows: Mapping[str, int],
    source: str,
) -> None:
    """Copy weights into a model, one tensor at a time.

    Args:
        model: its weights of the same names are overwritten.
        weights: what there is.
        targets: the model's names for a file's name; none where the file's weight is not needed, None if unknown.
        whole: prefixes of the model's names that all have to be brought.
        rows: names of the model whose weight is the first so many rows of a longer one.
        source: what an error calls the file.

    Raises:
        CheckpointError: unknown or missing names, other shapes, or two names of one weight that differ.
    """
    into = dict(model.named_parameters())
    plan = {name: targets(name) for name in weights}
    unknown = [name for name, found in plan.items() if found is None or any(one not in into for one in found)]
    if unknown:
        raise CheckpointError(f"{source} has weights that this model has no place for: {listed(unknown)}")
    reached = {target for found in plan.values() for target in found or ()}
    missing = [name for name in into if name.startswith(whole) and name not in reached]
    if missing:
        raise CheckpointError(f"{source} lacks weights of this model: {listed(missing)}")
    done: set[str] = set()
    for name, found in plan.items():
        if not found:
            continue
        tensor = weights[name]()
        for target in found:
            put = into[target]
            part = tensor[: rows[target]] if target in rows and tensor.dim() == put.dim() else tensor
            if part.shape != put.shape:
                raise CheckpointError(
                    f"{source}: {name} is {tuple(tensor.shape)}, the model's {target} {tuple(put.shape)}; "
                    "it belongs to another language model or other sizes"
                )
            if target not in done:
                put.copy_(part)
            elif not torch.equal(put, part.to(put.dtype)):
                raise CheckpointError(
                    f"{source} has {target} under two names with different values, {name} one of them"
                )
            done.add(target)


def listed(names: list[str]) -> str:
    """The first few names and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _said(problem: Exception) -> str:
    text = str(problem).strip()
    return text.split("\n")[0] if text else type(problem).__name__
