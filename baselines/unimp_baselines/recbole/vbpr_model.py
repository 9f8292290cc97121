"""VBPR's network (He & McAuley 2016, AAAI); its equations stand in `vbpr`.

Shapes: batch B, items + 1 = n (row 0 is padding), width of ids k, of pictures k2, of features D.
"""

from __future__ import annotations

from typing import Any

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its name everywhere)


class VBPR(GeneralRecommender):  # type: ignore[misc]
    """Inner products of ids and of pictures, and two biases."""

    input_type = InputType.PAIRWISE

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        features = F.normalize(dataset.item_features["image"], dim=1)
        self.features: Tensor
        self.register_buffer("features", features, persistent=False)  # (n, D), rows of length 1 or 0
        width, seen = config["embedding_size"], config["visual_size"]
        self.user_embedding = nn.Embedding(self.n_users, width)
        self.item_embedding = nn.Embedding(self.n_items, width)
        self.visual_user = nn.Embedding(self.n_users, seen)
        self.item_bias = nn.Parameter(torch.zeros(self.n_items))
        self.projection = nn.Linear(features.shape[1], seen, bias=False)
        self.visual_bias = nn.Linear(features.shape[1], 1, bias=False)
        for table in (self.user_embedding, self.item_embedding, self.visual_user):
            nn.init.normal_(table.weight, std=0.1)
        for layer in (self.projection, self.visual_bias):
            nn.init.xavier_uniform_(layer.weight)
        self.of_factors, self.of_biases = config["reg_weight"], config["bias_reg_weight"]
        self.of_layers = config["layer_reg_weight"]
        self._items: tuple[Tensor, ...] | None = None

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Loss of a batch of (user, item, sampled item)."""
        return self.loss(interaction[self.USER_ID], interaction[self.ITEM_ID], interaction[self.NEG_ITEM_ID])

    def loss(self, users: Tensor, items: Tensor, others: Tensor) -> Tensor:
        """Mean loss of users, items and sampled items, each `(B,)`."""
        better = self.scores(users, items) - self.scores(users, others)
        return F.softplus(-better).mean() + self.penalty(users, items, others)

    def scores(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores `(B,)` of pairs."""
        features = self.features[items]
        ids = (self.user_embedding(users) * self.item_embedding(items)).sum(-1)
        seen = (self.visual_user(users) * self.projection(features)).sum(-1)
        found: Tensor = self.item_bias[items] + ids + seen + self.visual_bias(features).squeeze(-1)
        return found

    def penalty(self, users: Tensor, items: Tensor, others: Tensor) -> Tensor:
        """Half the weighted squares of what a batch looks up, and of the layers, divided by B."""
        tables = (
            self.user_embedding(users),
            self.visual_user(users),
            self.item_embedding(items),
            self.item_embedding(others),
        )
        factors = sum(table.square().sum() for table in tables)
        biases = self.item_bias[items].square().sum() + self.item_bias[others].square().sum() / 10
        layers = sum(layer.weight.square().sum() for layer in self.layers())
        total: Tensor = self.of_factors * factors + self.of_biases * biases + self.of_layers * layers
        return total / (2 * len(users))

    def layers(self) -> list[nn.Linear]:
        """The layers that features go through."""
        return [self.projection, self.visual_bias]

    def train(self, mode: bool = True) -> VBPR:
        """Switch between training and prediction; what was found for prediction is forgotten."""
        self._items = None
        super().train(mode)
        return self

    def every_item(self) -> tuple[Tensor, ...]:
        """What `full_sort_predict` needs of items: vectors of ids and pictures `(n, k + k2)`, biases `(n,)`."""
        vectors = torch.cat([self.item_embedding.weight, self.projection(self.features)], 1)
        return vectors, self.item_bias + self.visual_bias(self.features).squeeze(-1)

    def items(self) -> tuple[Tensor, ...]:
        """`every_item`, found once between two trainings."""
        if self._items is None or self.training:
            self._items = self.every_item()
        return self._items

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """Scores `(B, n)`."""
        users = interaction[self.USER_ID]
        vectors, biases = self.items()
        user = torch.cat([self.user_embedding(users), self.visual_user(users)], 1)
        scores: Tensor = user @ vectors.T + biases
        return scores
