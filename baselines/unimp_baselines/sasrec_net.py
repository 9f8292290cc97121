"""SASRec's network, its losses over all items or drawn ones, and its training, in plain PyTorch.

Shapes: batch B, history L (padded at the front), width d, items n; item numbers run from 1, 0 is padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its name everywhere)

from unimp_baselines import learning

_LOGITS = 1 << 24  # scores that are in memory at a time: 64 MB
_REDRAWN = 100  # times that a user's own item is drawn anew


@dataclass(frozen=True)
class Shape:
    """Sizes of a network."""

    items: int
    width: int
    layers: int
    heads: int
    inner: int
    dropout: float
    most: int  # items of a history


class Block(nn.Module):
    """Causal self-attention, then a feed-forward layer; each normalises its input and adds to it."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, self.dropout = shape.heads, shape.dropout
        self.norm_attention, self.norm_feed = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.qkv = nn.Linear(shape.width, 3 * shape.width)
        self.out = nn.Linear(shape.width, shape.width)
        self.feed = nn.Sequential(nn.Linear(shape.width, shape.inner), nn.GELU(), nn.Linear(shape.inner, shape.width))
        self.drop = nn.Dropout(shape.dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """States `(B, L, d)`; `mask` `(B, 1, L, L)` is true where a place may look."""
        batch, length, width = x.shape
        parts = self.qkv(self.norm_attention(x)).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)  # each (B, heads, L, d / heads)
        dropout = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        x = x + self.drop(self.out(seen.transpose(1, 2).reshape(batch, length, width)))
        result: Tensor = x + self.drop(self.feed(self.norm_feed(x)))
        return result


class SASRec(nn.Module):
    """Kang & McAuley 2018, equations 1-6, with GELU and normalisation before each part.

    Positions count from the end of a history, so that the last item has the same one however long the history is.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.items = nn.Embedding(shape.items + 1, shape.width, padding_idx=0)
        self.places = nn.Embedding(shape.most, shape.width)
        self.drop = nn.Dropout(shape.dropout)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            self.items.weight[0] = 0

    def forward(self, histories: Tensor) -> Tensor:
        """States `(B, L, d)` of histories `(B, L)`; those at padding mean nothing."""
        length = histories.shape[1]
        x = self.drop(self.items(histories) * math.sqrt(self.shape.width) + self.places.weight[-length:])
        causal = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
        # Padding may look at itself: a softmax over nothing is NaN.
        itself = torch.eye(length, dtype=torch.bool, device=x.device)
        mask = (causal & (histories != 0)[:, None, :]) | itself
        for block in self.blocks:
            x = block(x, mask[:, None])
        result: Tensor = self.norm(x)
        return result

    def scores(self, histories: Tensor) -> Tensor:
        """Scores `(B, n)` of what follows each history."""
        result: Tensor = self(histories)[:, -1] @ self.items.weight[1:].T
        return result


class AllItems(torch.autograd.Function):
    """Mean cross-entropy of states `(rows, d)` against all items `(n, d)`, never more than 64 MB of scores at a time.

    With p = softmax(h E^T) and y the right item: dL/dh = (p - y) E, dL/dE = (p - y)^T h; both are summed up piece by
    piece in the forward pass, so nothing of size rows x n is kept for the backward one.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, table: Tensor, right: Tensor) -> Tensor:
        """The loss; `right` `(rows,)` are rows of the table."""
        of_states, of_table = torch.empty_like(states), torch.zeros_like(table)
        total = states.new_zeros(())
        for start in range(0, len(states), max(1, _LOGITS // len(table))):
            piece = slice(start, start + max(1, _LOGITS // len(table)))
            logits = states[piece] @ table.T
            norm = logits.logsumexp(1, keepdim=True)
            wanted = right[piece, None]
            total += (norm - logits.gather(1, wanted)).sum()
            off = logits.sub_(norm).exp_().scatter_add_(1, wanted, -torch.ones_like(norm))
            of_states[piece] = off @ table
            of_table.addmm_(off.T, states[piece])
        ctx.save_for_backward(of_states, of_table)
        ctx.rows = len(states)
        return total / len(states)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, Tensor, None]:
        """Gradients that the forward pass summed up."""
        of_states, of_table = ctx.saved_tensors
        scale = outputs[0] / ctx.rows
        return of_states * scale, of_table * scale, None


def binary(states: Tensor, table: Tensor, right: Tensor, wrong: Tensor) -> Tensor:
    """Mean over states `(rows, d)` of -log sigmoid(h . e_right) - mean over drawn ones of log sigmoid(-h . e_wrong).

    Kang & McAuley 2018, equation 7, with `right` `(rows,)` and `wrong` `(rows, drawn)` as rows of the table `(n, d)`.
    """
    of_right = (states * F.embedding(right, table)).sum(1)
    of_wrong = (F.embedding(wrong, table) @ states[:, :, None]).squeeze(2)
    return F.softplus(-of_right).mean() + F.softplus(of_wrong).mean()


def drawn(rows: Tensor, places: int, count: int, items: int, generator: torch.Generator) -> Tensor:
    """Wrong items `(B, places, count)`, numbered from 1, of users whose own items are `rows` `(B, any)`.

    Uniform among all but the user's own; somebody who has them all gets any.
    """
    found = torch.randint(1, items + 1, (len(rows), places * count), generator=generator)
    own = rows.sort(dim=1).values
    for _ in range(_REDRAWN):
        at = torch.searchsorted(own, found).clamp_(max=own.shape[1] - 1)
        again = own.gather(1, at) == found
        if not (left := int(again.sum())):
            break
        found[again] = torch.randint(1, items + 1, (left,), generator=generator)
    return found.view(len(rows), places, count)


@dataclass(frozen=True)
class Plan:
    """How to train."""

    epochs: int
    patience: int
    batch: int  # sequences
    lr: float
    weight_decay: float
    average: float
    seed: int
    max_seconds: float
    checkpoint_seconds: float = 20.0
    wrong: int = 0  # drawn wrong items a place, for the binary loss; 0: cross-entropy over all items
    name: str = "sasrec_ce"


def padded(rows: list[Tensor], width: int) -> Tensor:
    """Lists of item numbers as `(rows, width)`, padded with 0 at the front; the last items of long ones."""
    result = torch.zeros(len(rows), width, dtype=torch.int64)
    for place, row in enumerate(rows):
        kept = row[-width:]
        result[place, width - len(kept) :] = kept
    return result


def batches(lengths: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Row numbers in batches of about one length, all in random order."""
    order = torch.randperm(len(lengths), generator=generator)
    pools = [pool[lengths[pool].argsort(stable=True)] for pool in torch.split(order, 64 * size)]
    pieces = [piece for pool in pools for piece in torch.split(pool, size)]
    for k in torch.randperm(len(pieces), generator=generator).tolist():
        yield pieces[k]


def train(
    model: SASRec,
    sequences: list[Tensor],
    valid: tuple[list[Tensor], Tensor],
    plan: Plan,
    checkpoint: Path,
    step: Callable[[int, float, float | None], None],
) -> dict[str, Any]:
    """Train until validation NDCG@10 no longer gets better; the model ends with its best weights.

    Args:
        model: a fresh network.
        sequences: each user's train items; those of one item teach nothing.
        valid: histories and their targets, ranked over all items but those of the history.
        plan: how to train.
        checkpoint: where to keep the state between epochs; found there, training goes on.
        step: told epoch, loss and NDCG@10 after each epoch.

    Returns:
        What `step` was told of the best epoch, and how long it took.

    Raises:
        ConfigError: the loss is not finite.
    """
    device = model.items.weight.device
    rows = [row for row in sequences if len(row) > 1]
    lengths = torch.tensor([min(len(row) - 1, model.shape.most) for row in rows])

    def epoch(generator: torch.Generator, _: int) -> Iterator[tuple[Tensor, int]]:
        for numbers in batches(lengths, plan.batch, generator):
            some = [rows[k] for k in numbers.tolist()]
            width = min(max(len(row) for row in some) - 1, model.shape.most)
            histories = padded([row[:-1] for row in some], width).to(device)
            right = padded([row[1:] for row in some], width).to(device)
            real = right != 0
            states = model(histories)[real]
            table = model.items.weight[1:]
            loss: Tensor
            if plan.wrong:
                own = padded(some, max(len(row) for row in some))
                wrong = drawn(own, width, plan.wrong, model.shape.items, generator).to(device)
                loss = binary(states, table, right[real] - 1, wrong[real] - 1)
            else:
                loss = AllItems.apply(states, table, right[real] - 1)  # type: ignore[no-untyped-call]
            yield loss, int(real.sum())

    def score() -> float | None:
        return ndcg10(model, *valid) if len(valid[0]) else None

    how = learning.Plan(
        plan.name,
        plan.epochs,
        plan.patience,
        plan.lr,
        plan.seed,
        plan.max_seconds,
        clip=0.0,
        checkpoint_seconds=plan.checkpoint_seconds,
        beta2=0.98,
        weight_decay=plan.weight_decay,
        average=plan.average,
    )
    return learning.train(model, epoch, score, how, checkpoint, step)


@torch.no_grad()
def ndcg10(model: SASRec, histories: list[Tensor], targets: Tensor) -> float:
    """Mean NDCG@10 of one right item each, ranked over all items but those of the history; ties count against it."""
    gains = []
    for part in torch.split(torch.arange(len(histories)), max(1, _LOGITS // model.shape.items)):
        past = [histories[k] for k in part.tolist()]
        scores = scores_of(model, past)
        right = targets[part, None].to(scores.device) - 1
        wanted = scores.gather(1, right)
        place = torch.repeat_interleave(torch.arange(len(past)), torch.tensor([len(row) for row in past]))
        scores[place, torch.cat(past) - 1] = -torch.inf
        scores.scatter_(1, right, -torch.inf)  # itself; also where it stands in the history
        rank = (scores >= wanted).sum(1)
        gains.append(torch.where(rank < 10, 1 / torch.log2(rank + 2.0), 0.0))
    return float(torch.cat(gains).mean())


@torch.no_grad()
def scores_of(model: SASRec, histories: list[Tensor], rows: int = 256) -> Tensor:
    """Scores `(histories, n)`; always so many rows of full width, so that a row does not depend on its neighbours."""
    model.eval()
    device, found = model.items.weight.device, []
    for start in range(0, len(histories), rows):
        some = histories[start : start + rows]
        batch = padded([*some, *[some[-1]] * (rows - len(some))], model.shape.most)
        found.append(model.scores(batch.to(device))[: len(some)])
    return torch.cat(found)
