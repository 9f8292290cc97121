"""Answers of the network: items by a beam over the tree of their ids, ratings, labels and sentences.

Every batch has as many rows and each question a width that depends on its own length alone, so that an answer does not
depend on the questions beside it. Shapes: batch B, width of the beam W, items n, pieces of an id P.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimp_baselines.t5.encoding import Batch, Read, Reader
from unimp_baselines.t5.network import Personal

ROWS = 32  # of every batch
_WIDTHS = 32  # questions are as wide as the next multiple of it


@dataclass(frozen=True)
class Level:
    """Prefixes of one length: each prefix's `parent` among those one shorter, and its last `token`, both `(nodes,)`."""

    parent: Tensor
    token: Tensor


@dataclass(frozen=True)
class Tree:
    """All ids that may be answered as `levels`; the prefixes of the last one are the items in order of `codes`."""

    codes: NDArray[np.int64]  # (n, P)

    @cached_property
    def levels(self) -> list[Level]:
        """One level for each piece."""
        found = []
        before = np.zeros(len(self.codes), dtype=np.int64)
        for depth in range(self.codes.shape[1]):
            both = np.stack([before, self.codes[:, depth]], axis=1)
            last = depth == self.codes.shape[1] - 1
            nodes, inverse = (both, np.arange(len(both))) if last else np.unique(both, axis=0, return_inverse=True)
            found.append(Level(torch.from_numpy(nodes[:, 0].copy()), torch.from_numpy(nodes[:, 1].copy())))
            before = inverse.reshape(-1)
        return found


@torch.no_grad()
def item_scores(model: Personal, batch: Batch, tree: Tree, width: int) -> Tensor:
    """Scores `(B, n)`: log p(id | question), -inf for items that the beam did not reach.

    They are exact if no level but the last is wider than the beam. Every answer is an item: only tokens that go on with
    an id are looked at. Probabilities are over all tokens; the end token is left out, since all ids are equally long.
    """
    model.eval()
    states = model.encode(batch)
    rows, device = len(states), states.device
    prefixes, scores = model.starts(rows)[:, None], torch.zeros(rows, 1, device=device)  # (B, W, length), (B, W)
    nodes = torch.zeros(rows, 1, dtype=torch.int64, device=device)  # which prefix of the level each of the beam is
    known = 1
    for depth, level in enumerate(tree.levels):
        parent, token = level.parent.to(device), level.token.to(device)
        wide = nodes.shape[1]
        said, _ = model.decode(
            prefixes.flatten(0, 1), states.repeat_interleave(wide, 0), batch.mask.repeat_interleave(wide, 0)
        )
        log = model.logits(said[:, -1]).log_softmax(-1).view(rows, wide, -1)
        place = torch.full((rows, known), -1, dtype=torch.int64, device=device)
        place.scatter_(1, nodes, torch.arange(wide, device=device).expand(rows, wide))
        above = place[:, parent]  # (B, nodes): where in the beam a node's parent is
        row = torch.arange(rows, device=device)[:, None]
        reached = scores.gather(1, above.clamp(min=0)) + log[row, above.clamp(min=0), token]
        reached = reached.masked_fill(above < 0, -torch.inf)
        if depth == len(tree.levels) - 1:
            return reached
        known = len(token)
        scores, nodes = reached.topk(min(width, known), dim=1)
        held = above.gather(1, nodes).clamp(min=0)
        longer = prefixes.gather(1, held[..., None].expand(-1, -1, prefixes.shape[2]))
        prefixes = torch.cat([longer, token[nodes][..., None]], dim=2)
    raise AssertionError("an id has at least one piece")


class Saying:
    """An answer in the making, token by token."""

    def __init__(self, model: Personal, batch: Batch) -> None:
        from transformers import DynamicCache, EncoderDecoderCache

        model.eval()
        self.model, self.mask, self.states = model, batch.mask, model.encode(batch)
        self.cache: Any = EncoderDecoderCache(DynamicCache(), DynamicCache())
        self.last = model.starts(len(self.states))

    def logits(self) -> Tensor:
        """Scores `(B, V)` of the next token."""
        said, self.cache = self.model.decode(self.last, self.states, self.mask, self.cache)
        return self.model.logits(said[:, -1])

    def say(self, tokens: Tensor) -> None:
        """Go on with these tokens `(B,)`."""
        self.last = tokens[:, None]


@torch.no_grad()
def rating_chances(model: Personal, batch: Batch, tokens: Sequence[int]) -> Tensor:
    """Probabilities `(B, 5)` of the five ratings among themselves: five stars is an answer like the others."""
    return Saying(model, batch).logits()[:, list(tokens)].softmax(-1)


@torch.no_grad()
def chosen_labels(model: Personal, batch: Batch, counts: Sequence[int], first: int, end: int) -> list[list[int]]:
    """Places of the choices that are listed, most likely next one first; at least one, none twice, in order of place.

    Args:
        model: the network.
        batch: questions.
        counts: how many choices each has.
        first: token of the first label.
        end: the end token.
    """
    saying, most = Saying(model, batch), max(counts)
    place = torch.arange(most, device=batch.tokens.device)
    limits = torch.tensor(counts, device=place.device)[:, None]
    least = torch.zeros_like(limits)  # the lowest place that may follow
    chosen: list[list[int]] = [[] for _ in counts]
    for step in range(most):
        logits = saying.logits()
        open_ = (place >= least) & (place < limits)
        labels = logits[:, first : first + most].masked_fill(~open_, -torch.inf)
        ends = logits[:, end, None] if step else torch.full_like(logits[:, :1], -torch.inf)
        best = torch.cat([ends, labels], dim=1).argmax(1)  # 0: the end
        over = torch.tensor([step > 0 and len(said) < step for said in chosen], device=place.device)
        best = torch.where(over, torch.zeros_like(best), best)
        for said, k in zip(chosen, best.tolist(), strict=True):
            if k:
                said.append(k - 1)
        if not bool(best.any()):
            break
        least = torch.maximum(least, best[:, None])
        saying.say(torch.where(best > 0, first + best - 1, end))
    return chosen


@torch.no_grad()
def sentences(model: Personal, batch: Batch, most: int, end: int, allowed: int) -> list[list[int]]:
    """The likeliest next text token at each step (tokens below `allowed`), until the end token; never an empty text."""
    saying, said = Saying(model, batch), []
    going = torch.ones(len(batch.tokens), dtype=torch.bool, device=batch.tokens.device)
    for step in range(most):
        logits = saying.logits()[:, :allowed]
        logits[:, model.t5.config.pad_token_id] = -torch.inf
        if step == 0:
            logits[:, end] = -torch.inf
        best = torch.where(going, logits.argmax(1), end)
        said.append(best)
        going = going & (best != end)
        if not bool(going.any()):
            break
        saying.say(best)
    rows = torch.stack(said, dim=1).tolist()
    return [row[: row.index(end)] if end in row else row for row in rows]


def batches(reader: Reader, reads: Sequence[Read], device: str) -> Iterator[tuple[list[int], Batch]]:
    """Row numbers with batches of `ROWS` questions of one width; the last of a width repeats its last question."""
    widths = [-(-len(read.tokens) // _WIDTHS) * _WIDTHS for read in reads]
    for width in sorted(set(widths)):
        rows = [k for k, own in enumerate(widths) if own == width]
        for at in range(0, len(rows), ROWS):
            some = rows[at : at + ROWS]
            filled = [*some, *[some[-1]] * (ROWS - len(some))]
            yield some, reader.batch([reads[k] for k in filled], None, width).to(device)
