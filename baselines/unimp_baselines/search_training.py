"""The training that all search systems share: early stopping on validation NDCG@5, checkpoints, scores in blocks.

Scores of all items are never in memory at once: a block has at most 64 MB of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from unimp_baselines.learning import Epoch, Plan, train
from unimp_baselines.recbole.feed import Numbers
from unimp_baselines.search_common import Asks, taken

__all__ = ["Epoch", "Plan", "in_blocks", "inherit", "ndcg5", "shuffled", "train"]

_SCORES = 1 << 24


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
