"""Which parameters a stage trains: said once, set explicitly, checked.

Every parameter belongs to one part. What is not chosen gets `requires_grad = False` and no optimizer ever sees it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from unimp.config import UnimpConfig
from unimp.errors import TrainingError
from unimp.modeling import Unimp

ROWS_NEW = frozenset({"rows_in_new", "rows_out_new"})
ROWS_TEXT = frozenset({"rows_in_text", "rows_out_text"})
PARTS = frozenset({"resampler", "cross", "body", "content"}) | ROWS_NEW | ROWS_TEXT
STAGES = ("language", "caption", "search", "multi_task", "efficient")

_PREFIXES = {
    "resampler.": "resampler",
    "blocks.": "cross",
    "projection.": "cross",
    "body.": "body",
    "embed.new.": "rows_in_new",
    "embed.text.": "rows_in_text",
    "head.new.": "rows_out_new",
    "head.text.": "rows_out_text",
    "content.": "content",
}


def part_of(name: str) -> str:
    """The part that a parameter belongs to, by its name in the model."""
    for prefix, part in _PREFIXES.items():
        if name.startswith(prefix):
            return part
    raise AssertionError(f"parameter '{name}' belongs to no part; say which in trainable.py")


def parts_of(config: UnimpConfig, stage: str, *, scratch: bool = False) -> frozenset[str]:
    """Parts that a stage trains.

    Args:
        config: `train_rows` says whether the rows of text are among them.
        stage: `language` is next-token prediction on text, `caption` fits pictures to a body that can read, `search`
            lets items be found by words, `multi_task` is the paper's training, `efficient` its fine-tuning of output
            rows alone: those of new ids, of which the answers of fine-tuned tasks are.
        scratch: the body has no published weights and is trained along (presets tiny and small).

    Raises:
        TrainingError: an unknown stage.
    """
    body = frozenset({"body"}) if scratch else frozenset()
    text = config.train_rows == "all"
    if stage == "language":
        return frozenset({"body"}) | ROWS_NEW | ROWS_TEXT
    if stage == "caption":
        return frozenset({"resampler", "cross", "content"}) | ROWS_NEW | (ROWS_TEXT if text else frozenset())
    if stage == "search":
        return frozenset({"content"})
    if stage == "multi_task":
        return frozenset({"resampler", "cross", "content"}) | body | ROWS_NEW | (ROWS_TEXT if text else frozenset())
    if stage == "efficient":
        return frozenset({"rows_out_new"})
    raise TrainingError(f"no stage '{stage}'; known: {', '.join(STAGES)}")


def choose(model: Unimp, parts: frozenset[str]) -> list[str]:
    """Make these parts trainable and all others frozen; their parameters' names, in the model's order.

    Raises:
        TrainingError: an unknown part, or nothing that could be trained.
    """
    if unknown := sorted(parts - PARTS):
        raise TrainingError(f"no part '{unknown[0]}'; known: {', '.join(sorted(PARTS))}")
    chosen = []
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of(name) in parts)
        parameter.grad = None
        if parameter.requires_grad:
            chosen.append(name)
    if not chosen:
        raise TrainingError(f"parts {', '.join(sorted(parts)) or '(none)'} hold no parameter of this model")
    return chosen


def trained(model: Unimp) -> dict[str, nn.Parameter]:
    """Parameters that are trained, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def groups(model: Unimp, weight_decay: float, *, decay_body: bool = False) -> list[dict[str, object]]:
    """What the optimizer is given: parameters with and without weight decay.

    Only matrices of the gated blocks decay, as in the released code: no gates, norms, biases, rows, latents.
    `decay_body` adds those of the body, for models trained from nothing.
    """
    yes: list[nn.Parameter] = []
    no: list[nn.Parameter] = []
    for name, parameter in trained(model).items():
        part = part_of(name)
        inside = part == "body" if decay_body else False
        decays = parameter.dim() > 1 and (name.startswith("blocks.") or inside)
        (yes if decays else no).append(parameter)
    found: list[dict[str, object]] = [
        {"params": yes, "weight_decay": weight_decay},
        {"params": no, "weight_decay": 0.0},
    ]
    return [group for group in found if group["params"]]


def frozen_fingerprint(model: Unimp) -> str:
    """Hash of some values of every frozen parameter: does a checkpoint of trained ones belong to this model?"""
    digest = hashlib.sha256()
    for name, parameter in _frozen(model):
        flat = parameter.detach().flatten()
        some = flat[:: max(len(flat) // 64, 1)].cpu().contiguous()
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
        digest.update(some.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _frozen(model: Unimp) -> Iterator[tuple[str, Tensor]]:
    return ((name, parameter) for name, parameter in model.named_parameters() if not parameter.requires_grad)
