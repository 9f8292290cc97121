"""Checkpoints of a training: all that the next epoch depends on, so that going on equals never having stopped.

Only tensors, numbers and strings are kept, and PyTorch's restricted unpickler reads them: nothing from a file runs.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unimp_baselines.recbole.refusals import RefusalError


@dataclass
class Progress:
    """Where a stage of training stands."""

    epoch: int = 0  # epochs that are done
    waited: int = 0  # evaluations since the best one
    best: float = float("-inf")  # validation NDCG@10
    best_epoch: int = 0
    finished: bool = False
    seconds: float = 0.0
    weights: dict[str, Any] | None = None  # of the best epoch
    losses: list[float] = field(default_factory=list)


def learned(model: Any) -> dict[str, Any]:
    """A copy of a model's weights: its parameters and buffers, and what RecBole calls its other parameters.

    Raises:
        RefusalError: some of these are no tensors, and the model does not make them anew from its data.
    """
    # Modules among them are in the state dict anyway.
    others = {k: v for k, v in model.other_parameter().items() if not isinstance(v, torch.nn.Module)}
    made_anew = type(model).type.name == "TRADITIONAL"
    odd = [name for name, value in others.items() if not (value is None or isinstance(value, torch.Tensor))]
    if odd and not made_anew:
        raise RefusalError(f"it learns things that are no tensors ({', '.join(odd)}), which are not kept")
    return {
        "parameters": {name: value.detach().cpu().clone() for name, value in model.state_dict().items()},
        "others": {name: _copy(value) for name, value in others.items() if name not in odd},
    }


def _copy(value: torch.Tensor | None) -> torch.Tensor | None:
    return None if value is None else value.detach().cpu().clone()


def restore(model: Any, weights: dict[str, Any]) -> None:
    """Give a model what `learned` kept of it."""
    model.load_state_dict(weights["parameters"])
    device = next(iter(model.parameters())).device
    model.load_other_parameter({k: None if v is None else v.to(device) for k, v in weights["others"].items()})


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a file whole or not at all."""
    draft = path.with_name(f"{path.name}.draft")
    torch.save(content, draft)
    draft.replace(path)


def read(path: Path) -> dict[str, Any]:
    """What `write` wrote."""
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content


def random_state(generator: torch.Generator) -> dict[str, Any]:
    """All generators that RecBole draws from."""
    kind, keys, place, has_gauss, gauss = np.random.get_state(legacy=True)
    version, numbers, following = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "loader": generator.get_state(),
        "numpy": [str(kind), torch.from_numpy(np.asarray(keys).astype(np.int64)), place, has_gauss, gauss],
        "python": [version, list(numbers), following],
    }


def set_random_state(state: dict[str, Any], generator: torch.Generator) -> None:
    """Put all generators back."""
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    generator.set_state(state["loader"])
    kind, keys, place, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), place, has_gauss, gauss))
    version, numbers, following = state["python"]
    random.setstate((version, tuple(numbers), following))
