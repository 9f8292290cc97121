"""The training that all search systems share: early stopping on validation NDCG@5, checkpoints, scores in blocks.

Scores of all items are never in memory at once: a block has at most 64 MB of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unimp_baselines.recbole.feed import Numbers
from unimp_baselines.search_common import Asks, taken
from unimp_bench.errors import ConfigError

_SCORES = 1 << 24


@dataclass(frozen=True)
class Plan:
    """How to train."""

    name: str
    epochs: int
    patience: int
    lr: float
    seed: int
    max_seconds: float
    clip: float = 5.0
    checkpoint_seconds: float = 20.0


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

    Args:
        network: a fresh one.
        epoch: given a generator and the epoch's number from 0, yields the loss of each batch and its rows.
        score: validation NDCG@5, or None where there is nothing to validate on.
        plan: how to train.
        checkpoint: where to keep the state between epochs; found there, training goes on.
        step: told epoch, loss and score after each epoch.

    Returns:
        The number of epochs, the best score and its epoch, and the seconds it took.

    Raises:
        ConfigError: the loss is not finite.
    """
    device = next(network.parameters()).device
    adam = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=plan.lr)
    state: dict[str, Any] = {"epoch": 0, "best": -1.0, "best_epoch": 0, "seconds": 0.0, "weights": None, "end": False}
    if checkpoint.is_file():
        kept = torch.load(checkpoint, map_location=device, weights_only=True)
        network.load_state_dict(kept.pop("network"))
        adam.load_state_dict(kept.pop("adam"))
        state = kept
    written = time.monotonic()
    while not state["end"]:
        started = time.monotonic()
        # Everything random in an epoch follows from its number: a resumed training needs no generator's state.
        torch.manual_seed(plan.seed * 100_003 + state["epoch"])
        generator = torch.Generator().manual_seed(plan.seed * 100_003 + state["epoch"])
        network.train()
        loss = _steps(network, adam, epoch(generator, state["epoch"]), plan.clip)
        state["epoch"] += 1
        if not math.isfinite(loss):
            raise ConfigError(f"{plan.name}: the loss is {loss} in epoch {state['epoch']}; set a lower lr")
        network.eval()
        reached = score()
        if reached is None or reached > state["best"]:
            best = {name: value.detach().clone() for name, value in network.state_dict().items()}
            state |= {"best": -1.0 if reached is None else reached, "best_epoch": state["epoch"], "weights": best}
        state["seconds"] += time.monotonic() - started
        late = 0 < plan.max_seconds <= state["seconds"]
        state["end"] = late or state["epoch"] >= plan.epochs or state["epoch"] - state["best_epoch"] > plan.patience
        if state["end"] or time.monotonic() - written >= plan.checkpoint_seconds:
            draft = checkpoint.with_name(f"{checkpoint.name}.draft")
            torch.save({**state, "network": network.state_dict(), "adam": adam.state_dict()}, draft)
            draft.replace(checkpoint)
            written = time.monotonic()
        step(state["epoch"], loss, reached)
    network.load_state_dict(state["weights"])
    network.eval()
    return {name: state[name] for name in ("epoch", "best", "best_epoch", "seconds")}


def _steps(network: nn.Module, adam: torch.optim.Optimizer, losses: Iterator[tuple[Tensor, int]], clip: float) -> float:
    """One step a batch; the mean loss of a row."""
    total, count = 0.0, 0
    for loss, rows in losses:
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), clip)
        adam.step()
        total += float(loss.detach()) * rows
        count += rows
    return total / max(1, count)


def shuffled(rows: int, size: int, generator: torch.Generator) -> Iterator[Numbers]:
    """Row numbers in batches, in random order."""
    for part in torch.split(torch.randperm(rows, generator=generator), size):
        if len(part):
            yield part.numpy()


Scorer = Callable[[Numbers], Tensor]  # scores `(rows, n)` of some rows


@torch.no_grad()
def in_blocks(scorer: Scorer, rows: int, items: int) -> Iterator[tuple[Numbers, Tensor]]:
    """Row numbers with their scores; each block has one size, so that a row does not depend on its neighbours."""
    size = max(1, min(256, _SCORES // max(1, items)))
    for start in range(0, rows, size):
        some = np.arange(start, min(rows, start + size))
        whole = np.pad(some, (0, size - len(some)), mode="edge")
        yield some, scorer(whole)[: len(some)]


def ndcg5(scorer: Scorer, asks: Asks, items: int) -> float | None:
    """Mean NDCG@5 of the targets, ranked over all items but the history's; ties count against it. None: no rows."""
    gains = []
    for rows, scores in in_blocks(scorer, len(asks), items):
        right = torch.from_numpy(asks.targets[rows, None] - 1).to(scores.device)
        wanted = scores.gather(1, right)
        lengths = np.diff(asks.histories.starts)[rows]
        seen = torch.from_numpy(taken(asks.histories, rows).values - 1)
        others = scores.clone()
        others[torch.from_numpy(np.repeat(np.arange(len(rows)), lengths)), seen] = -torch.inf
        others.scatter_(1, right, -torch.inf)  # itself; also where it stands in the history
        rank = (others >= wanted).sum(1)
        gains.append(torch.where(rank < 5, 1 / torch.log2(rank + 2.0), 0.0))
    return float(torch.cat(gains).mean()) if gains else None


def inherit(network: nn.Module, earlier: nn.Module, rows: tuple[Tensor, Tensor]) -> None:
    """Take up what an earlier network learned: all but users and items, words by the words they stand for.

    `rows` are word numbers of the new network and of the earlier one that mean the same.
    """
    state = network.state_dict()
    for name, value in earlier.state_dict().items():
        if name.startswith(("word", "context")):
            state[name][rows[0]] = value[rows[1]].to(state[name].device)
        elif not name.startswith(("user", "item")):
            state[name].copy_(value)
