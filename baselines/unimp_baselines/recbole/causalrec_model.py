"""CausalRec's network (Qiu et al. 2021, ACM MM); its equations stand in `causalrec`.

Shapes: batch B, items + 1 = n (row 0 is padding), width of ids k, of pictures k2, of features D.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its name everywhere)

from unimp_baselines.recbole.vbpr_model import VBPR


class CausalRec(VBPR):
    """VBPR's tables in two branches: items (ids, gated by pictures) and pictures."""

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        width, seen = config["embedding_size"], config["visual_size"]
        self.gate = nn.Linear(self.features.shape[1], width, bias=False)
        deep = config["tanh"] == 2
        self.second_projection = nn.Linear(seen, seen, bias=False) if deep else None
        self.second_gate = nn.Linear(width, width, bias=False) if deep else None
        for layer in self.layers():
            nn.init.xavier_uniform_(layer.weight)
        self.tanh, self.debias = config["tanh"], config["debias"]
        shown = self.features.any(1)
        mean = self.features[shown].mean(0) if bool(shown.any()) else self.features[0]
        self.mean_features: Tensor
        self.register_buffer("mean_features", mean, persistent=False)  # (D,) of items with a picture

    def layers(self) -> list[nn.Linear]:
        """The layers that features go through."""
        every = [self.projection, self.visual_bias, self.gate, self.second_projection, self.second_gate]
        return [layer for layer in every if layer is not None]

    def _squashed(self, features: Tensor, first: nn.Linear, second: nn.Linear | None) -> Tensor:
        """Features `(..., D)` through one or two layers, each with a tanh; without a tanh where `tanh` is 0."""
        found: Tensor = first(features)
        if self.tanh:
            found = found.tanh()
        return found if second is None else second(found).tanh()

    def branches(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """The branches m and n `(B,)` of pairs."""
        features = self.features[items]
        gate = self._squashed(features, self.gate, self.second_gate)
        m = self.item_bias[items] + (self.user_embedding(users) * self.item_embedding(items) * (1 + gate)).sum(-1)
        seen = self._squashed(features, self.projection, self.second_projection)
        return m, (self.visual_user(users) * seen).sum(-1) + self.visual_bias(features).squeeze(-1)

    def loss(self, users: Tensor, items: Tensor, others: Tensor) -> Tensor:
        """Mean loss of users, items and sampled items, each `(B,)`."""
        m, n = self.branches(users, items)
        m_other, n_other = self.branches(users, others)
        better = [fused(m, n) - fused(m_other, n_other), m - m_other, n - n_other]
        loss: Tensor = sum((F.softplus(-part).mean() for part in better), self.penalty(users, items, others))
        return loss

    def scores(self, users: Tensor, items: Tensor) -> Tensor:
        """The factual scores y `(B,)` of pairs, from which nothing is taken."""
        return fused(*self.branches(users, items))

    def every_item(self) -> tuple[Tensor, ...]:
        """What `full_sort_predict` needs of items.

        Returns:
            Gated vectors of ids `(n, k)` and vectors of pictures `(n, k2)`, the biases of both branches `(n,)`, and
            vector `(k,)` and bias of the item that nothing is known of: the mean of all.
        """
        gate = self._squashed(self.features, self.gate, self.second_gate)
        seen = self._squashed(self.features, self.projection, self.second_projection)
        usual = 1 + self._squashed(self.mean_features, self.gate, self.second_gate)
        nobody = self.item_embedding.weight[1:].mean(0) * usual
        bias = self.visual_bias(self.features).squeeze(-1)
        return self.item_embedding.weight * (1 + gate), seen, self.item_bias, bias, nobody, self.item_bias[1:].mean()

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """Total indirect effects `(B, n)`: factual scores less what pictures would do for any item."""
        users = interaction[self.USER_ID]
        ids, seen, bias, visual_bias, nobody, nobody_bias = self.items()
        user = self.user_embedding(users)
        m = user @ ids.T + bias
        n = self.visual_user(users) @ seen.T + visual_bias
        unknown = (user @ nobody + nobody_bias)[:, None]
        effects: Tensor = fused(m, n) - self.debias * fused(unknown, n)
        return effects


def fused(m: Tensor, n: Tensor) -> Tensor:
    """The product y of both branches; shapes are broadcast."""
    return torch.sigmoid(m + n) * torch.sigmoid(m) * torch.sigmoid(n)
