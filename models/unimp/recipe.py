"""What a run is told, and what it tells: its recipe, its progress, its outcome.

The learning rate follows the share of the run that is done:

    warm-up    s / w                       for s < w
    cosine     (1 + cos(pi (s - w) / (1 - w))) / 2
    constant   1

with s the share in the middle of a step and w the recipe's `warmup` (released code of UniMP: cosine, 1 %). It depends
on nothing else, so neither the number of processes nor accumulation can hurry it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from unimp.errors import TrainingError
from unimp.losses import NORMS

SCHEDULES = ("cosine", "constant")
HALVES = ("never", "gpu", "amx")


@dataclass(frozen=True)
class Recipe:
    """How a stage is trained.

    Args:
        epochs: passes over the rows.
        part: share of its steps that a single pass takes; their order is drawn, so the rows are a sample.
        lr: highest learning rate.
        weight_decay: of matrices of the gated blocks; `decay_body` adds those of the body.
        warmup: share of the run over which the learning rate rises.
        schedule: one of `SCHEDULES`.
        accumulate: batches of each process that one update learns from.
        clip: largest norm of the gradient; 0 does not clip.
        gamma: exponent of the focal factor; 0 is cross-entropy.
        norm: what the loss is divided by, one of `losses.NORMS`.
        bf16: where products are computed in bfloat16, one of `HALVES`; `amx` is on a GPU and on CPUs with matrix units.
        keep: weights of the `best` epoch by validation, or of the `last` one: where the rate falls to zero and some
            hundred examples judge, the differences between late epochs are chance.
        patience: epochs without a better score after which training ends; 0 never ends it.
        checkpoint_steps, checkpoint_seconds: a checkpoint after so many steps or seconds, and after every epoch; 0: no.
        draws: how many drawings of rows there are; epochs take turns. 0 draws anew for every epoch.
        cached_hidden: compute hidden states of each drawing once; for stages that train output rows alone.
        checkpointing: recompute activations instead of keeping them.
        ahead: batches prepared in the background; 0 prepares them in turn.
        log_steps: steps between records.
    """

    epochs: int = 10
    part: float = 1.0
    lr: float = 2e-4
    weight_decay: float = 0.1
    decay_body: bool = False
    warmup: float = 0.01
    schedule: str = "cosine"
    accumulate: int = 1
    clip: float = 1.0
    gamma: float = 2.0
    norm: str = "tokens"
    bf16: str = "gpu"
    keep: str = "best"
    patience: int = 0
    checkpoint_steps: int = 0
    checkpoint_seconds: float = 600.0
    draws: int = 0
    cached_hidden: bool = False
    checkpointing: bool = False
    ahead: int = 2
    log_steps: int = 10

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise TrainingError(f"schedule is '{self.schedule}'; known: {', '.join(SCHEDULES)}")
        if self.keep not in ("best", "last"):
            raise TrainingError(f"keep is '{self.keep}'; known: best, last")
        if self.norm not in NORMS:
            raise TrainingError(f"norm is '{self.norm}'; known: {', '.join(NORMS)}")
        if self.bf16 not in HALVES:
            raise TrainingError(f"bf16 is '{self.bf16}'; known: {', '.join(HALVES)}")
        if self.epochs < 0 or self.accumulate < 1 or self.lr <= 0:
            raise TrainingError(f"epochs {self.epochs}, accumulate {self.accumulate}, lr {self.lr}: must be positive")
        if not 0 < self.part <= 1 or (self.part < 1 and self.epochs > 1):
            raise TrainingError(f"part is {self.part} with {self.epochs} epochs; it is a share of a single one")
        if self.cached_hidden and self.draws < 1:
            raise TrainingError("cached_hidden needs rows that come again; set draws to 1 or more")

    def rate(self, share: float) -> float:
        """Learning rate where `share` of the run is done."""
        if share < self.warmup:
            return self.lr * share / self.warmup
        if self.schedule == "constant":
            return self.lr
        return self.lr * 0.5 * (1 + math.cos(math.pi * (share - self.warmup) / max(1 - self.warmup, 1e-9)))

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the weights: all but how often something is written and how it is made ready."""
        return {k: v for k, v in asdict(self).items() if k not in _NO_MATTER}


_NO_MATTER = ("checkpoint_steps", "checkpoint_seconds", "ahead", "log_steps", "checkpointing", "cached_hidden")


@dataclass(frozen=True)
class Progress:
    """Where a run stands: `share` of 1, `loss` of the last step, ids a second, seconds to the estimated end."""

    stage: str
    epoch: int
    epochs: int
    step: int
    share: float
    loss: float
    tokens_per_second: float
    seconds_left: float


def passes(count: float) -> dict[str, Any]:
    """Fields of a recipe that reads its rows so many times: whole passes, or a share of a single one."""
    return {"epochs": max(1, round(count)), "part": min(1.0, count)}


class Record(Protocol):
    """Takes figures of a step, for a learning curve."""

    def __call__(self, stage: str, step: int, /, **values: float) -> None:
        """Keep them."""


@dataclass
class Outcome:
    """What came of a run.

    `tokens` ids were read, `padded` with padding, and `dropped` history items found no place, over all epochs.
    `history` has one entry an epoch: loss, loss by task, validation, ids read and padded.
    """

    steps: int = 0
    best_epoch: int | None = None
    best: float | None = None
    tokens: int = 0
    padded: int = 0
    dropped: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
