"""UltraGCN's network (Mao et al. 2021, CIKM); its equations stand in `ultragcn`.

Shapes: batch B, sampled items N, neighbours K, items + 1 = n (row 0 is padding), width d. The item graph is built from
sparse rows, a block at a time; nothing of size n x n, or users x n, is ever in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its name everywhere)

_CELLS = 1 << 23  # entries of a block of the item graph at most (but for a single row)


@dataclass(frozen=True)
class Graph:
    """What the losses know of the train pairs."""

    beta_user: Tensor  # (users + 1,), the user's factor of beta
    beta_item: Tensor  # (n,)
    neighbours: Tensor  # (n, K), S of each item
    strengths: Tensor  # (n, K), their omega
    bought: Tensor  # (pairs,) user * n + item, ascending

    @classmethod
    def of(cls, pairs: sparse.csr_matrix, neighbours: int, device: torch.device) -> Graph:
        """From train pairs `(users + 1, n)`, each once."""
        of_user, of_item = (np.asarray(pairs.sum(axis)).ravel() for axis in (1, 0))
        near, strengths = item_graph(pairs, neighbours)
        coo = pairs.tocoo()
        bought = np.sort(coo.row.astype(np.int64) * pairs.shape[1] + coo.col)
        return cls(
            torch.from_numpy(np.sqrt(of_user + 1) / of_user.clip(min=1)).float().to(device),
            torch.from_numpy(1 / np.sqrt(of_item + 1)).float().to(device),
            torch.from_numpy(near).to(device),
            torch.from_numpy(strengths).float().to(device),
            torch.from_numpy(bought).to(device),
        )


class UltraGCN(GeneralRecommender):  # type: ignore[misc]
    """Two tables of vectors; the graph belongs to the train pairs and is no part of the weights."""

    input_type = InputType.PAIRWISE

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.user_embedding = nn.Embedding(self.n_users, config["embedding_size"])
        self.item_embedding = nn.Embedding(self.n_items, config["embedding_size"])
        nn.init.normal_(self.user_embedding.weight, std=config["start"])
        nn.init.normal_(self.item_embedding.weight, std=config["start"])
        self.w = [float(w) for w in config["w"]]
        self.negatives, self.negative_weight = config["negatives"], config["negative_weight"]
        self.item_weight, self.reg = config["item_weight"], config["reg_weight"]
        self._pairs = sparse.csr_matrix(dataset.inter_matrix(form="csr"), dtype=np.float64)
        self._pairs.data[:] = 1  # who bought twice counts once
        self._neighbours = config["neighbours"]

    @cached_property
    def graph(self) -> Graph:
        """The graph: made when it is first asked for, which scoring never does."""
        return Graph.of(self._pairs, self._neighbours, self.item_embedding.weight.device)

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Summed loss of a batch of pairs (user, item), with N items drawn for all of them."""
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        others = torch.randint(1, self.n_items, (self.negatives,), device=users.device)
        return self.loss(users, items, others)

    def loss(self, users: Tensor, items: Tensor, others: Tensor) -> Tensor:
        """Summed loss of users `(B,)`, items `(B,)` and drawn items `(N,)`, of which a user's own are left out."""
        user, graph = self.user_embedding(users), self.graph
        w1, w2, w3, w4 = self.w
        weight = w1 + w2 * graph.beta_user[users] * graph.beta_item[items]
        right = (weight * F.softplus(-(user * self.item_embedding(items)).sum(-1))).sum()

        unbought = ~self._bought(users[:, None], others)  # (B, N)
        weight = (w3 + w4 * graph.beta_user[users, None] * graph.beta_item[others]) * unbought
        scores = user @ self.item_embedding(others).T
        wrong = ((weight * F.softplus(scores)).sum(-1) / unbought.sum(-1).clamp(min=1)).sum()

        alike = torch.einsum("bd,bkd->bk", user, self.item_embedding(graph.neighbours[items]))
        near = (graph.strengths[items] * F.softplus(-alike)).sum()

        squares = self.user_embedding.weight.square().sum() + self.item_embedding.weight.square().sum()
        loss: Tensor = right + self.negative_weight * wrong + self.item_weight * near + self.reg / 2 * squares
        return loss

    def _bought(self, users: Tensor, items: Tensor) -> Tensor:
        """Whether pairs are train pairs; shapes are broadcast."""
        keys = users * self.n_items + items
        bought = self.graph.bought
        found: Tensor = bought[torch.searchsorted(bought, keys).clamp(max=len(bought) - 1)] == keys
        return found

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """Scores `(B, n)`."""
        scores: Tensor = self.user_embedding(interaction[self.USER_ID]) @ self.item_embedding.weight.T
        return scores


def item_graph(
    pairs: sparse.csr_matrix, most: int, cells: int = _CELLS
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The strongest neighbours of each item in the graph of items bought by the same users.

    Args:
        pairs: `(users, n)`, entries 1.
        most: neighbours K of an item; the item itself may be among them.
        cells: entries of the graph in memory at a time.

    Returns:
        Neighbours `(n, K)`, strongest first and the lower number first of equal ones, and their omega `(n, K)`; 0 where
        there are fewer.
    """
    by_item = sparse.csr_matrix(pairs.T)
    degree = np.asarray(by_item @ pairs.sum(1)).ravel()  # row sums of G
    left = np.sqrt(degree + 1) / degree.clip(min=1)
    right = sparse.diags(1 / np.sqrt(degree + 1))
    neighbours = np.zeros((by_item.shape[0], most), dtype=np.int64)
    strengths = np.zeros(neighbours.shape)
    for first, end in _blocks(np.minimum(degree, by_item.shape[0]), cells):
        block = sparse.csr_matrix(sparse.diags(left[first:end]) @ (by_item[first:end] @ pairs) @ right).tocoo()
        order = np.lexsort((block.col, -block.data, block.row))
        row = block.row[order]
        rank = np.arange(len(row)) - np.searchsorted(row, row)  # within its row
        kept = rank < most
        neighbours[first + row[kept], rank[kept]] = block.col[order][kept]
        strengths[first + row[kept], rank[kept]] = block.data[order][kept]
    return neighbours, strengths


def _blocks(sizes: NDArray[np.float64], most: int) -> list[tuple[int, int]]:
    """Ranges of rows whose sizes sum to `most` at most, or that are a single row."""
    found, first, total = [], 0, 0.0
    for row, size in enumerate(sizes.tolist()):
        if total + size > most and row > first:
            found.append((first, row))
            first, total = row, 0.0
        total += size
    return [*found, (first, len(sizes))]
