"""MMGCL in the worker: encoders of one modality each, two views of the graph, contrast between them.

The equations stand in `mmgcl`. Shapes: batch B, users + 1 = m, items + 1 = n, width d, modalities with the ids k.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its name everywhere)

from unimp_baselines.recbole.contrast import first_places, info_nce
from unimp_baselines.recbole.graphs import Bipartite, light_mean
from unimp_baselines.recbole.multimodal import MultiModal, bpr


class MMGCL(MultiModal):
    """Multi-modal graph contrastive learning."""

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.width: int = config["embedding_size"]
        self.layers: int = config["n_layers"]
        self.regularisation: float = config["l2"]
        self.contrast_weight: float = config["contrast_weight"]
        self.temperature: float = config["temperature"]
        self.drop: float = config["drop"]
        self.literal: bool = config["literal"]
        self.read_user, self.read_item = (nn.Linear(self.width * (1 + len(self.modalities)), self.width) for _ in "ui")
        for layer in (self.read_user, self.read_item):
            nn.init.xavier_uniform_(layer.weight)

    def layer0(self) -> tuple[Tensor, Tensor]:
        """Users `(m, k d)`, the same vector for each modality, and items `(n, k d)`: id, then each modality."""
        items = [self.item_embedding.weight, *(self.project[name](self.features(name)) for name in self.modalities)]
        return self.user_embedding.weight.repeat(1, len(items)), torch.cat(items, 1)

    def vectors(self) -> tuple[Tensor, Tensor]:
        """Users `(m, d)` and items `(n, d)`."""
        users, items = light_mean(self.graph, *self.layer0(), self.layers)
        return self.read_user(users), self.read_item(items)

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Loss of a batch of (user, item, sampled item)."""
        self.forget()
        user, item, other = (interaction[name] for name in (self.USER_ID, self.ITEM_ID, self.NEG_ITEM_ID))
        layer0 = self.layer0()
        users, items = light_mean(self.graph, *layer0, self.layers)
        loss = bpr(self.read_user(users[user]), self.read_item(items[item]), self.read_item(items[other]))
        rows = [self.user_embedding(user), self.item_embedding(item), self.item_embedding(other)]
        squares = torch.stack([part.square().sum() for part in rows]).sum()
        view = light_mean(self._without_edges(), *layer0, self.layers)
        if self.literal:
            pairs = self._read(self.read_user, view[0][user]), self._read(self.read_item, view[1][item])
            contrast = 2 * info_nce(*pairs, self.temperature)
        else:
            contrast = self._contrast(view, self._masked(layer0, (users, items)), user, item, other)
        total: Tensor = loss + self.regularisation * squares / (2 * len(user)) + self.contrast_weight * contrast
        return total

    def _without_edges(self) -> Bipartite:
        """The first view's graph: each edge is dropped by chance."""
        return self.graph.thinned(torch.rand(len(self.graph.user), device=self.device) >= self.drop)

    def _masked(self, layer0: tuple[Tensor, Tensor], whole: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """The second view: one modality propagated without some users and items, the others as they are.

        Args:
            layer0: what was propagated, `(m, k d)` and `(n, k d)`.
            whole: what the whole graph made of it, alike.
        """
        stay = [torch.rand(count, device=self.device) >= self.drop for count in (self.n_users, self.n_items)]
        graph = self.graph.thinned(stay[0][self.graph.user] & stay[1][self.graph.item])
        start = self._drawn_modality()
        here = slice(start, start + self.width)
        parts = light_mean(graph, layer0[0][:, here], layer0[1][:, here], self.layers)
        users, items = (
            torch.cat([all_[:, :start], part, all_[:, here.stop :]], 1) for all_, part in zip(whole, parts, strict=True)
        )
        return users, items

    def _drawn_modality(self) -> int:
        """The first column of one of the modalities, by chance; ids are none of them."""
        return self.width * (1 + int(torch.randint(len(self.modalities), ())))

    def _contrast(
        self, one: tuple[Tensor, Tensor], two: tuple[Tensor, Tensor], user: Tensor, item: Tensor, other: Tensor
    ) -> Tensor:
        """InfoNCE between views of the batch's different users, and of its items with challenging negatives."""
        users, _ = first_places(user)
        a, b = (self._read(self.read_user, view[0][users]) for view in (one, two))
        of_users = info_nce(a, b, self.temperature)
        items, first = first_places(item)
        start = self._drawn_modality()
        challenging = two[1][items].clone()
        challenging[:, start : start + self.width] = two[1][other[first]][:, start : start + self.width]
        a, b, wrong = (self._read(self.read_item, part) for part in (one[1][items], two[1][items], challenging))
        return of_users + info_nce(a, b, self.temperature, wrong)

    @staticmethod
    def _read(layer: nn.Module, parts: Tensor) -> Tensor:
        return F.normalize(layer(parts), dim=1)
