"""From questions to items: a beam along the tree of semantic ids, exact scores of given items, questions in batches.

Every batch has as many rows, and a width that depends on its own histories' lengths alone, so that an answer does not
depend on the questions beside it. Shapes: batch B, width of the beam W, items n, levels P.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from unimp_baselines.sasrec_net import padded
from unimp_baselines.t5.decoding import Tree
from unimp_baselines.tiger_net import Memory, Tiger

ROWS = 64  # of every batch
_WIDTHS = 5  # histories are as long as the next multiple of it, in items
_ANSWERS = 1 << 13  # prefixes that are decoded at a time, of all rows, where all items are scored


@dataclass(frozen=True)
class Asked:
    """Questions: `users` `(rows,)`, 0 for nobody, and the item numbers of each history, oldest first."""

    users: Tensor
    histories: list[Tensor]

    def __len__(self) -> int:
        return len(self.histories)


def batches(network: Tiger, asked: Asked) -> Iterator[tuple[list[int], Memory]]:
    """Row numbers with `ROWS` encoded questions of one width; the last of a width repeats its last question."""
    most, device = network.shape.history, network.begin.device
    widths = [min(most, -(-len(row) // _WIDTHS) * _WIDTHS) for row in asked.histories]
    for width in sorted(set(widths)):
        rows = [k for k, own in enumerate(widths) if own == width]
        for at in range(0, len(rows), ROWS):
            some = rows[at : at + ROWS]
            filled = [*some, *[some[-1]] * (ROWS - len(some))]
            items = padded([asked.histories[k] for k in filled], width)
            yield some, network.encode(asked.users[filled].to(device), items.to(device))


@torch.no_grad()
def item_scores(network: Tiger, memory: Memory, tree: Tree, width: int) -> Tensor:
    """Scores `(B, n)`: log p(id | question) of the items that the beam reached; all others fall behind these.

    An item that fell out with a prefix is ordered by that prefix's log p, the most that its own could be, so a ranking
    is as long as the catalogue whatever the width. Scores are exact if no level but the last is wider than the beam.
    Only codes that go on with an id are looked at.

    Args:
        network: in evaluation mode.
        memory: of B questions.
        tree: ids of the n items.
        width: prefixes that are kept of each level.
    """
    x = network.starts(len(memory.mask))
    rows, device = len(x), x.device
    past = None
    score, nodes = torch.zeros(rows, 1, device=device), torch.zeros(rows, 1, dtype=torch.int64, device=device)
    bound = score  # of every node of the level: its log p, or that of the last prefix on the way to it that has one
    for depth, level in enumerate(tree.levels):
        parent, token = level.parent.to(device), level.token.to(device)
        states, past = network.decode(memory, x, past)
        log = network.log_chances(states[:, :, -1], depth)
        place = torch.full((rows, bound.shape[1]), -1, dtype=torch.int64, device=device)
        place.scatter_(1, nodes, torch.arange(nodes.shape[1], device=device).expand(rows, -1))
        above = place[:, parent]  # (B, nodes): where in the beam a node's parent is
        held = above.clamp(min=0)
        own = score.gather(1, held) + log.flatten(1).gather(1, held * log.shape[2] + token)
        bound = torch.where(above >= 0, own, bound[:, parent])
        if depth == len(tree.levels) - 1:
            return _behind(bound, above >= 0)
        # Every prefix goes on, so at least as many nodes were reached as are taken here.
        score, nodes = own.masked_fill(above < 0, -torch.inf).topk(min(width, len(token)), dim=1)
        from_ = above.gather(1, nodes) + torch.arange(rows, device=device)[:, None] * log.shape[1]
        past = [(keys[from_.flatten()], values[from_.flatten()]) for keys, values in past]
        x = network.said(token[nodes], depth)
    raise AssertionError("an id has at least one code")


def _behind(bound: Tensor, reached: Tensor) -> Tensor:
    """Bounds `(B, n)`, those of items that were not reached lowered together until all are behind the others."""
    low = bound.masked_fill(~reached, torch.inf).amin(1, keepdim=True)
    top = bound.masked_fill(reached, -torch.inf).amax(1, keepdim=True)
    return torch.where(reached, bound, bound - top + low - 1)


@torch.no_grad()
def exact_scores(network: Tiger, memory: Memory, codes: Tensor) -> Tensor:
    """Scores `(B, n)`: log p(id | question) of ids `(n, P)`, every one decoded whole."""
    rows = len(memory.mask)
    parts = codes.to(memory.mask.device).split(max(1, _ANSWERS // rows))
    return torch.cat([network.log_answers(memory, part.expand(rows, -1, -1)) for part in parts], 1)


@torch.no_grad()
def rankings(network: Tiger, asked: Asked, tree: Tree, width: int) -> Iterator[tuple[list[int], Tensor]]:
    """Row numbers with their scores `(rows, n)`; a width of 0 scores every item exactly."""
    network.eval()
    for rows, memory in batches(network, asked):
        if width:
            scores = item_scores(network, memory, tree, width)
        else:
            scores = exact_scores(network, memory, torch.from_numpy(tree.codes))
        yield rows, scores[: len(rows)]
