"""MMSSL in the worker: modality-aware graphs, attention across modalities, contrast, and a critic.

The equations stand in `mmssl`. Shapes: batch B, users + 1 = m, items + 1 = n, width d, heads H, modalities M, columns
of the critic c, graph neighbours k.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (its name everywhere)

from unimp_baselines.recbole.adversarial import AdversarialTrainer
from unimp_baselines.recbole.contrast import contrasted
from unimp_baselines.recbole.graphs import Bipartite, Rooted, top_items
from unimp_baselines.recbole.mmssl_attention import Attention
from unimp_baselines.recbole.mmssl_critic import Critic, fake_rows, real_rows
from unimp_baselines.recbole.multimodal import MultiModal, bpr

Pair = tuple[Tensor, Tensor]  # of users and of items


@dataclass(frozen=True)
class Found:
    """What one pass over the graphs gives; users `(m, d)` and items `(n, d)` everywhere."""

    final: Pair
    features: dict[str, Pair]  # by modality
    ids: dict[str, Pair]


class MMSSL(MultiModal):
    """Multi-modal self-supervised learning."""

    trainer: ClassVar[type] = AdversarialTrainer

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        width: int = config["embedding_size"]
        self.layers: int = config["n_layers"]
        self.dropout: float = config["dropout"]
        self.mix_ids: float = config["mix_ids"]
        self.mix_features: float = config["mix_features"]
        self.l2: float = config["l2"]
        self.feature_l2: float = config["feature_l2"]
        self.contrast_weight: float = config["contrast_weight"]
        self.temperature: float = config["temperature"]
        self.adversarial_weight: float = config["adversarial_weight"]
        self.critic_users: int = config["critic_users"]
        self.rebuild: int = config["rebuild"]
        self.attention = Attention(width, config["heads"])
        self.observed = Rooted.of(self.graph)
        self._modal: dict[str, Rooted] | None = None
        neighbours = min(config["neighbours"], self.n_items - 1)
        for name in self.modalities:
            # Items that were last predicted for each user; all 0 for those for whom none were.
            self.register_buffer(
                f"{name}_near", torch.zeros(self.n_users, neighbours, dtype=torch.int32), persistent=True
            )
        self.register_buffer("seen", torch.zeros(self.n_users, dtype=torch.bool))  # since graphs were last built
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))
        self.register_buffer("columns", self._drawn_items(config["critic_items"]))
        self.critic = Critic(len(self.columns))

    def _drawn_items(self, most: int) -> Tensor:
        """Items that the critic looks at `(c,)`: all, or some drawn as often as they are bought."""
        bought = torch.bincount(self.graph.item, minlength=self.n_items)[1:].cpu().float()
        drawn = torch.multinomial(bought + 1, min(most, len(bought)))
        return 1 + drawn.sort().values

    def forget(self) -> None:
        """Also of the graphs, which are remade from what each user's neighbours are now."""
        super().forget()
        self._modal = None

    def modal_graphs(self) -> dict[str, Rooted]:
        """By modality: predicted pairs, and the observed ones of users for whom none were predicted yet."""
        if self._modal is None:
            self._modal = {
                name: Rooted.of(self._modal_graph(getattr(self, f"{name}_near"))) for name in self.modalities
            }
        return self._modal

    def _modal_graph(self, near: Tensor) -> Bipartite:
        user, place = torch.nonzero(near, as_tuple=True)
        without = ~(near != 0).any(1)[self.graph.user]
        users = torch.cat([user, self.graph.user[without]])
        items = torch.cat([near[user, place].long(), self.graph.item[without]])
        return Bipartite.of(users, items, self.n_users, self.n_items)

    def _propagated(self, modality: str) -> Pair:
        """Features of users and items: those of items, projected, summed over a user's, and those over an item's."""
        items = F.dropout(self.project[modality](self.features(modality)), self.dropout, self.training)
        users = self.observed.to_users(items)
        return users, self.observed.to_items(users)

    def find(self) -> Found:
        """One pass over all graphs."""
        features = {name: self._propagated(name) for name in self.modalities}
        ids = {
            name: (graph.to_users(self.item_embedding.weight), graph.to_items(self.user_embedding.weight))
            for name, graph in self.modal_graphs().items()
        }
        users, items = (
            table.weight + self.mix_ids * F.normalize(self.attention(torch.stack(parts, 1)), dim=1)
            for table, parts in zip(
                (self.user_embedding, self.item_embedding), zip(*ids.values(), strict=True), strict=True
            )
        )
        user_total, item_total = users, items
        for layer in range(self.layers):
            users = self.observed.to_users(items)
            users = users.softmax(1) if layer + 1 == self.layers else users
            items = self.observed.to_items(users)
            items = items.softmax(1) if layer + 1 == self.layers else items
            user_total, item_total = user_total + users, item_total + items
        users, items = (
            total / (self.layers + 1) + self.mix_features * torch.stack([F.normalize(x, dim=1) for x in parts]).sum(0)
            for total, parts in zip((user_total, item_total), zip(*features.values(), strict=True), strict=True)
        )
        return Found((users, items), features, ids)

    def vectors(self) -> Pair:
        """Users `(m, d)` and items `(n, d)`."""
        return self.find().final

    def calculate_loss(self, interaction: Any) -> Tensor:
        """The model's loss of a batch of (user, item, sampled item)."""
        self._found = None
        user, item, other = (interaction[name] for name in (self.USER_ID, self.ITEM_ID, self.NEG_ITEM_ID))
        self._learn_graphs(user)
        found = self.find()
        users, items = found.final
        rows = users[user], items[item], items[other]
        squares = torch.stack([part.square().sum() for part in rows]).sum()
        sizes = torch.stack([part.square().sum() for pair in found.features.values() for part in pair]).sum()
        different = torch.unique(user)
        contrast = torch.stack(
            [contrasted(ids[0][different], users[different], self.temperature) for ids in found.ids.values()]
        ).sum()
        total: Tensor = (
            bpr(*rows)
            + self.l2 * squares / (2 * len(user))
            + self.feature_l2 * sizes / (2 * self.n_items)
            + self.contrast_weight * contrast
        )
        if self.adversarial_weight:
            self.critic.requires_grad_(False)  # this loss is not its
            some = self._drawn_users(different)
            total = total - self.adversarial_weight * self.critic(self._fake(found, some, self._bought(some))).mean()
            self.critic.requires_grad_(True)
        return total

    def critic_loss(self, interaction: Any) -> Tensor:
        """The critic's loss of a batch."""
        users = self._drawn_users(torch.unique(interaction[self.USER_ID]))
        bought = self._bought(users)
        with torch.no_grad():
            found = self.find()
            fake = self._fake(found, users, bought)
            real = real_rows(bought, fake_rows(found.final[0][users], found.final[1][self.columns], bought))
        return self.critic.loss(fake, real.repeat(len(self.modalities), 1))

    def _drawn_users(self, users: Tensor) -> Tensor:
        """At most `critic_users` of some users, by chance."""
        return users[torch.randperm(len(users), device=users.device)[: self.critic_users]]

    def _fake(self, found: Found, users: Tensor, bought: Tensor) -> Tensor:
        """Rows `(M R, c)` of what each modality predicts for users `(R,)`."""
        return torch.cat([fake_rows(u[users], i[self.columns], bought) for u, i in found.features.values()])

    def _bought(self, users: Tensor) -> Tensor:
        """1 where users `(R,)` have bought an item of the critic's, else 0, `(R, c)`."""
        row, item = self.graph.items_of(users)
        column = torch.searchsorted(self.columns, item).clamp(max=len(self.columns) - 1)
        there = self.columns[column] == item
        marks = torch.zeros(len(users), len(self.columns), device=users.device)
        marks[row[there], column[there]] = 1
        return marks

    @torch.no_grad()
    def _learn_graphs(self, user: Tensor) -> None:
        """Remember a batch's users; after every `rebuild` batches, predict items for all users remembered."""
        self.seen[user] = True
        self.batches += 1
        if int(self.batches) % self.rebuild:
            return
        asked = self.seen.nonzero().squeeze(1)
        learning = self.training
        self.train(False)  # without dropout
        for name in self.modalities:
            near = getattr(self, f"{name}_near")
            near[asked] = top_items(*self._propagated(name), self.graph, asked, near.shape[1]).int()
        self.train(learning)
        self.seen.zero_()
        self._modal = None
