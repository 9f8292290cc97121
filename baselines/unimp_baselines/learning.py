"""Training of a network with Adam: early stopping on validation, checkpoints between epochs, seeds by epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from unimp_bench.errors import ConfigError


@dataclass(frozen=True)
class Plan:
    """How to train."""

    name: str
    epochs: int
    patience: int
    lr: float
    seed: int
    max_seconds: float  # of training: no epoch begins that would end later, and one that does is cut; 0: no limit
    clip: float = 5.0  # largest norm of the gradient; 0 does not clip
    beta2: float = 0.999
    weight_decay: float = 0.0
    checkpoint_seconds: float = 20.0
    average: float = 0.0  # what a moving average of the weights keeps of itself each step; 0: no average


def is_late(seconds: float, epochs: int, limit: float) -> bool:
    """Whether another epoch, as long as the mean of those before, would end after the limit; 0: there is none."""
    return 0 < limit < seconds + seconds / epochs


Epoch = Callable[[torch.Generator, int], Iterator[tuple[Tensor, int]]]


def train(
    network: nn.Module,
    epoch: Epoch,
    score: Callable[[], float | None],
    plan: Plan,
    checkpoint: Path,
    step: Callable[[int, float, float | None], None],
) -> dict[str, Any]:
    """Train with Adam until the validation score no longer gets better; the network ends with its best weights.

    Where weights are averaged, validation judges the average and the best average is kept; training goes on from the
    weights themselves.

    Args:
        network: a fresh one.
        epoch: given a generator and the epoch's number from 0, yields the loss of each batch and its rows.
        score: a validation score, more being better, or None where there is nothing to validate on.
        plan: how to train.
        checkpoint: where to keep the state between epochs; found there, training goes on.
        step: told epoch, loss and score after each epoch.

    Returns:
        The number of epochs, the best score and its epoch, and the seconds it took.

    Raises:
        ConfigError: the loss or the validation score is not finite.
    """
    device = next(network.parameters()).device
    learned = [p for p in network.parameters() if p.requires_grad]
    adam = torch.optim.Adam(learned, lr=plan.lr, betas=(0.9, plan.beta2), weight_decay=plan.weight_decay)
    state: dict[str, Any] = {"epoch": 0, "best": -1.0, "best_epoch": 0, "seconds": 0.0, "weights": None, "end": False}
    averaged = AveragedModel(network, avg_fn=_moving(plan.average)) if plan.average else None
    if checkpoint.is_file():
        kept = torch.load(checkpoint, map_location=device, weights_only=True)
        network.load_state_dict(kept.pop("network"))
        adam.load_state_dict(kept.pop("adam"))
        if averaged is not None:
            averaged.load_state_dict(kept.pop("averaged"))
        state = kept
    written = time.monotonic()
    while not state["end"]:
        started = time.monotonic()
        # Everything random in an epoch follows from its number: a resumed training needs no generator's state.
        torch.manual_seed(plan.seed * 100_003 + state["epoch"])
        generator = torch.Generator().manual_seed(plan.seed * 100_003 + state["epoch"])
        network.train()
        until = started + plan.max_seconds - state["seconds"] if plan.max_seconds else math.inf
        loss = _steps(network, adam, averaged, epoch(generator, state["epoch"]), plan.clip, until)
        state["epoch"] += 1
        if not math.isfinite(loss):
            raise ConfigError(f"{plan.name}: the loss is {loss} in epoch {state['epoch']}; set a lower lr")
        network.eval()
        with _as(network, averaged):
            reached = score()
            if reached is not None and not math.isfinite(reached):
                raise ConfigError(f"{plan.name}: validation gives {reached} in epoch {state['epoch']}; set a lower lr")
            if reached is None or reached > state["best"]:
                best = -1.0 if reached is None else reached
                state |= {"best": best, "best_epoch": state["epoch"], "weights": _copied(network)}
        state["seconds"] += time.monotonic() - started
        late = is_late(state["seconds"], state["epoch"], plan.max_seconds)
        state["end"] = late or state["epoch"] >= plan.epochs or state["epoch"] - state["best_epoch"] > plan.patience
        if state["end"] or time.monotonic() - written >= plan.checkpoint_seconds:
            draft = checkpoint.with_name(f"{checkpoint.name}.draft")
            own = {} if averaged is None else {"averaged": averaged.state_dict()}
            torch.save({**state, **own, "network": network.state_dict(), "adam": adam.state_dict()}, draft)
            draft.replace(checkpoint)
            written = time.monotonic()
        step(state["epoch"], loss, reached)
    network.load_state_dict(state["weights"])
    network.eval()
    return {name: state[name] for name in ("epoch", "best", "best_epoch", "seconds")}


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _moving(keep: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """An exponential average of weights, whose memory grows to its length as steps are made."""

    def moved(average: Tensor, weight: Tensor, steps: Tensor | int) -> Tensor:
        known = float(steps)
        return average.lerp(weight, 1 - min(keep, (1 + known) / (10 + known)))

    return moved


@contextmanager
def _as(network: nn.Module, averaged: AveragedModel | None) -> Iterator[None]:
    """Inside, the network has the averaged weights, if there are any."""
    if averaged is None:
        yield
        return
    own = _copied(network)
    network.load_state_dict(averaged.module.state_dict())
    try:
        yield
    finally:
        network.load_state_dict(own)


def _steps(
    network: nn.Module,
    adam: torch.optim.Optimizer,
    averaged: AveragedModel | None,
    losses: Iterator[tuple[Tensor, int]],
    clip: float,
    until: float,
) -> float:
    """One step a batch, none after the first past the time `until`; the mean loss of a row."""
    total, count = 0.0, 0
    for loss, rows in losses:
        adam.zero_grad()
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(network.parameters(), clip)
        adam.step()
        if averaged is not None:
            averaged.update_parameters(network)
        total += float(loss.detach()) * rows
        count += rows
        if time.monotonic() >= until:
            break
    return total / max(1, count)
