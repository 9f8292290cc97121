"""Training of TIGER's network: the next item's codes after each prefix of a user's items; NDCG@10 on validation.

L = mean over targets of -(1 / P) sum over levels l of log p(c_l | c_1 .. c_(l-1), user, past items)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unimp_baselines import learning
from unimp_baselines.sasrec_net import batches, padded
from unimp_baselines.t5.decoding import Tree
from unimp_baselines.tiger_decoding import Asked, rankings
from unimp_baselines.tiger_net import Tiger


@dataclass(frozen=True)
class Lessons:
    """What is learned from: each user's row `(users,)` and train items, oldest first; what is validated on."""

    users: Tensor
    sequences: list[Tensor]
    valid: Asked
    targets: Tensor  # item numbers `(rows of valid,)`


@dataclass(frozen=True)
class Manner:
    """How to train on them."""

    batch: int  # targets
    targets: int  # of each user in an epoch, drawn anew; 0: all
    nobody: float  # share of targets whose user is not told, so that new users can be answered
    beam: int


def drawn(lengths: Tensor, most: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pairs (user, place of the target) `(pairs,)` of users with so many items; at most `most` a user, 0 for all."""
    user = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    place = torch.arange(len(user)) - (lengths.cumsum(0) - lengths)[user]
    if not most:
        return user, place
    order = torch.randperm(len(user), generator=generator)
    order = order[user[order].argsort(stable=True)]  # users together, each one's targets in random order
    kept = order[place < most]  # after sorting, row k of a user stands where its place k was
    return user[kept], place[kept]


def train(
    network: Tiger,
    lessons: Lessons,
    tree: Tree,
    manner: Manner,
    plan: learning.Plan,
    checkpoint: Path,
    step: Callable[[int, float, float | None], None],
) -> dict[str, Any]:
    """Train until validation NDCG@10 no longer gets better; see `learning.train`.

    Raises:
        ConfigError: the loss is not finite.
    """
    device, most = network.begin.device, network.shape.history
    lengths = torch.tensor([len(row) for row in lessons.sequences])

    def epoch(generator: torch.Generator, _: int) -> Iterator[tuple[Tensor, int]]:
        user, place = drawn(lengths, manner.targets, generator)
        told = torch.rand(len(user), generator=generator) >= manner.nobody
        for numbers in batches(place.clamp(max=most), manner.batch, generator):
            past = [
                lessons.sequences[u][:t] for u, t in zip(user[numbers].tolist(), place[numbers].tolist(), strict=True)
            ]
            right = torch.stack([lessons.sequences[u][t] for u, t in zip(user[numbers], place[numbers], strict=True)])
            width = min(most, max(len(row) for row in past))
            users = lessons.users[user[numbers]] * told[numbers]
            memory = network.encode(users.to(device), padded(past, width).to(device))
            wanted = network.names[right.to(device)][:, None]
            yield -network.log_answers(memory, wanted).mean() / wanted.shape[2], len(numbers)

    def score() -> float | None:
        return ndcg10(network, lessons.valid, lessons.targets, tree, manner.beam)

    return learning.train(network, epoch, score, plan, checkpoint, step)


def ndcg10(network: Tiger, asked: Asked, targets: Tensor, tree: Tree, width: int) -> float | None:
    """Mean NDCG@10 of one right item each, ranked over all items but those of the history; ties count against it."""
    gains = torch.zeros(len(asked))
    for rows, scores in rankings(network, asked, tree, width):
        right = targets[rows, None].to(scores.device) - 1
        wanted = scores.gather(1, right)
        for own, row in zip(scores, rows, strict=True):
            own[asked.histories[row].to(scores.device) - 1] = -torch.inf
        scores.scatter_(1, right, -torch.inf)  # itself; also where it stands in the history
        rank = (scores >= wanted).sum(1).cpu()
        gains[rows] = torch.where(rank < 10, 1 / torch.log2(rank + 2.0), 0.0)
    return float(gains.mean()) if len(asked) else None
