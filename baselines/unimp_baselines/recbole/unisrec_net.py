"""UniSRec's own parts (Hou et al. 2022, KDD): the adaptor of text features, and contrast within a batch.

Shapes: rows of features R, batch B, history L, feature width f, width d, experts K.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its name everywhere)
from torch.utils.checkpoint import checkpoint

_PIECE = 8_192  # rows whose intermediate values are kept at a time: of 120,000 items all would be gigabytes
_LEAST_NOISE = 0.01  # epsilon of equation 4


class Adaptor(nn.Module):
    """Text features to item vectors: a mixture of parametric whitenings with noisy gates (equations 2-4).

        v = sum_k g_k W_k (dropout(x) - b_k)
        g = softmax(x W_g + n * (softplus(x W_n) + 0.01)),   n ~ N(0, 1) while training, else 0

    Features are first multiplied by one number, `scale`, so that what is learned does not depend on the encoder's unit;
    it is part of the state, so that items of another catalogue are read on the same scale.
    """

    def __init__(self, features: int, width: int, experts: int, dropout: float, std: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, features, width).normal_(std=std))
        self.bias = nn.Parameter(torch.zeros(experts, features))
        self.gate = nn.Parameter(torch.zeros(features, experts))
        self.noise = nn.Parameter(torch.zeros(features, experts))
        self.register_buffer("scale", torch.ones(()))
        self.dropout = nn.Dropout(dropout)

    def measure(self, features: Tensor) -> None:
        """Set the scale: features `(R, f)` that are not all zeros then have a mean square of 1."""
        present = features[(features != 0).any(1)]
        if len(present):
            self.scale = present.square().mean().rsqrt()

    def gates(self, features: Tensor) -> Tensor:
        """Shares of the experts `(R, K)`, of scaled features."""
        logits = features @ self.gate
        if self.training:
            logits = logits + torch.randn_like(logits) * (F.softplus(features @ self.noise) + _LEAST_NOISE)
        return logits.softmax(-1)

    def forward(self, features: Tensor) -> Tensor:
        """Item vectors `(R, d)` of features `(R, f)`."""
        pieces = features.split(_PIECE)
        if len(pieces) > 1 and torch.is_grad_enabled():
            return torch.cat([checkpoint(self._mixed, piece, use_reentrant=False) for piece in pieces])
        return torch.cat([self._mixed(piece) for piece in pieces])

    def _mixed(self, features: Tensor) -> Tensor:
        scaled = features * self.scale
        gates = self.gates(scaled)
        total = torch.zeros(len(features), self.weight.shape[2], device=features.device)
        for k, (weight, bias) in enumerate(zip(self.weight, self.bias, strict=True)):
            total = total + gates[:, k, None] * ((self.dropout(scaled) - bias) @ weight)
        return total


def contrast(left: Tensor, right: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Mean of -log softmax of each row's cosine with its partner, against the other partners (equations 7 and 8).

    Rows with the same next item are no wrong answers to each other: they are left out of the sum, where the authors'
    code gives them the logit 0 and so still adds 1 for each.

    Args:
        left: `(B, d)`.
        right: `(B, d)`; row i belongs to row i of `left`.
        targets: `(B,)` the next items.
        temperature: what cosines are divided by.
    """
    logits = F.normalize(left, dim=1) @ F.normalize(right, dim=1).T / temperature
    own = torch.arange(len(targets), device=targets.device)
    same = (targets[:, None] == targets) & (own[:, None] != own)
    return F.cross_entropy(logits.masked_fill(same, float("-inf")), own)


def without(items: Tensor, dropped: Tensor) -> tuple[Tensor, Tensor]:
    """Histories with some items left out and the others moved together; each keeps its first item.

    Args:
        items: `(B, L)`, padded with 0 at the end.
        dropped: `(B, L)` what to leave out.

    Returns:
        Histories `(B, L)` and their lengths `(B,)`.
    """
    first = torch.arange(items.shape[1], device=items.device) == 0
    kept = (items != 0) & (first | ~dropped)
    order = (~kept).byte().argsort(dim=1, stable=True)
    return torch.where(kept, items, 0).gather(1, order), kept.sum(1)
