"""MMSSL's attention between what a node is in one modality and in another."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention across a node's modalities, and the mean over them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = (nn.Linear(width, width, bias=False) for _ in "qk")
        self.join = nn.Linear(heads * width, width, bias=False)
        for layer in (self.query, self.key, self.join):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, parts: Tensor) -> Tensor:
        """From nodes `(N, M, d)` to nodes `(N, d)`."""
        q, k = (layer(parts).unflatten(-1, (self.heads, -1)) for layer in (self.query, self.key))
        strength = torch.einsum("nmhd,nohd->nhmo", q, k) / math.sqrt(q.shape[-1])
        share = strength.softmax(-1).mean(2)  # (N, H, M): of what is read, over all that read
        mixed: Tensor = self.join(torch.einsum("nhm,nmd->nhd", share, parts).flatten(1))
        return mixed
