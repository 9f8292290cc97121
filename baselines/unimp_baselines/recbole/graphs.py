"""Sparse sums over the graph of users and items, forwards and backwards, without a dense matrix anywhere.

Shapes: users + 1 = m and items + 1 = n (row 0 is padding and has no edge), edges E, width d. What costs memory is the
edges, twice: by user for sums over items, by item for sums over users. Each is the other's gradient, so a batch's
backward pass transposes nothing. Indices are 32 bits wide, which is what the sparse kernels of a CPU work in.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


class _Sums(torch.autograd.Function):
    """`matrix @ x`, with the transposed matrix at hand for the gradient."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transposed: Tensor, x: Tensor) -> Tensor:
        ctx.transposed = transposed
        return matrix @ x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, Tensor]:
        return None, None, ctx.transposed @ gradients[0].contiguous()


@dataclass(frozen=True)
class Bipartite:
    """Pairs of a user and an item, each once, with sums over a node's neighbours in both directions."""

    user: Tensor  # (E,) of each edge, ascending
    item: Tensor  # (E,)
    by_item: Tensor  # (E,) the edges in the order of their items
    by_user_sums: Tensor  # sparse (m, n)
    by_item_sums: Tensor  # sparse (n, m)

    @classmethod
    def of(cls, user: Tensor, item: Tensor, users: int, items: int) -> Bipartite:
        """The graph of pairs `(rows,)`; one that comes several times counts once.

        Args:
            user: user numbers.
            item: item numbers.
            users: m.
            items: n.
        """
        pairs = torch.unique(user.long() * items + item.long())
        user, item = pairs // items, pairs % items
        by_item = torch.argsort(item, stable=True)
        ones = torch.ones(len(pairs), device=pairs.device)
        there = _rows(user, item, ones, (users, items))
        back = _rows(item[by_item], user[by_item], ones, (items, users))
        return cls(user, item, by_item, there, back)

    def to_users(self, x: Tensor) -> Tensor:
        """Sums `(m, d)` of the vectors `(n, d)` of each user's items."""
        sums: Tensor = _Sums.apply(self.by_user_sums, self.by_item_sums, x)  # type: ignore[no-untyped-call]
        return sums

    def to_items(self, x: Tensor) -> Tensor:
        """Sums `(n, d)` of the vectors `(m, d)` of each item's users."""
        sums: Tensor = _Sums.apply(self.by_item_sums, self.by_user_sums, x)  # type: ignore[no-untyped-call]
        return sums

    def degrees(self) -> tuple[Tensor, Tensor]:
        """Number of edges of each user `(m, 1)` and each item `(n, 1)`."""
        users, items = self.by_user_sums.shape
        ones = [torch.ones(count, 1, device=self.user.device) for count in (items, users)]
        return self.to_users(ones[0]), self.to_items(ones[1])

    def thinned(self, kept: Tensor) -> Bipartite:
        """The graph with the kept edges `(E,)` only; the others stay where they are and count nothing."""
        weight = kept.float()
        return replace(
            self,
            by_user_sums=_with(self.by_user_sums, weight),
            by_item_sums=_with(self.by_item_sums, weight[self.by_item]),
        )

    def items_of(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Places in `users` `(found,)` and items `(found,)` of all edges of some users `(B,)`."""
        starts = self.by_user_sums.crow_indices().long()
        first, count = starts[users], starts[users + 1] - starts[users]
        place = torch.repeat_interleave(torch.arange(len(users), device=users.device), count)
        before = torch.cumsum(count, 0) - count
        within = torch.arange(len(place), device=users.device) - before[place]
        return place, self.item[first[place] + within]


def _rows(row: Tensor, column: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    """A matrix in compressed rows from entries whose rows ascend."""
    starts = torch.zeros(size[0] + 1, dtype=torch.int32, device=row.device)
    starts[1:] = torch.cumsum(torch.bincount(row, minlength=size[0]), 0)
    return _compressed(starts, column.int(), values, size)


def _with(matrix: Tensor, values: Tensor) -> Tensor:
    return _compressed(matrix.crow_indices(), matrix.col_indices(), values, (matrix.shape[0], matrix.shape[1]))


def _compressed(starts: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        return torch.sparse_csr_tensor(starts, columns, values, size, check_invariants=False)


def inverse_roots(degree: Tensor) -> Tensor:
    """d^(-1/2), and 0 where there is no edge."""
    return torch.where(degree > 0, degree.clamp(min=1).rsqrt(), 0.0)


@dataclass(frozen=True)
class Rooted:
    """Sums over neighbours divided by the root of their number: (sum_{i of u} x_i) / |N_u|^(1/2), and so for items."""

    graph: Bipartite
    user_root: Tensor  # (m, 1)
    item_root: Tensor  # (n, 1)

    @classmethod
    def of(cls, graph: Bipartite) -> Rooted:
        """Of a graph."""
        user_root, item_root = (inverse_roots(degree) for degree in graph.degrees())
        return cls(graph, user_root, item_root)

    def to_users(self, x: Tensor) -> Tensor:
        """From items `(n, d)` to users `(m, d)`."""
        return self.user_root * self.graph.to_users(x)

    def to_items(self, x: Tensor) -> Tensor:
        """From users `(m, d)` to items `(n, d)`."""
        return self.item_root * self.graph.to_items(x)


def light_mean(graph: Bipartite, users: Tensor, items: Tensor, layers: int) -> tuple[Tensor, Tensor]:
    """LightGCN's propagation (He et al. 2020): the mean of E^(0) ... E^(layers), E^(k+1) = D^-1/2 A D^-1/2 E^(k).

    Args:
        graph: A.
        users: `(m, d)` of layer 0.
        items: `(n, d)` of layer 0.
        layers: how many follow it.

    Returns:
        Users `(m, d)` and items `(n, d)`.
    """
    user_root, item_root = (inverse_roots(degree) for degree in graph.degrees())
    user_total, item_total = users, items
    for _ in range(layers):
        users, items = user_root * graph.to_users(item_root * items), item_root * graph.to_items(user_root * users)
        user_total, item_total = user_total + users, item_total + items
    return user_total / (layers + 1), item_total / (layers + 1)


def top_items(users: Tensor, items: Tensor, graph: Bipartite, asked: Tensor, count: int) -> Tensor:
    """The `count` items with the highest u . i that each asked user has no edge to, in blocks of 64 MB of scores.

    Args:
        users: `(m, d)`.
        items: `(n, d)`; item 0 is padding and never found.
        graph: what users have already.
        asked: user numbers `(B,)`.
        count: items a user; there must be so many.

    Returns:
        Item numbers `(B, count)`; 0 where a user has edges to all but fewer than `count` items.
    """
    found = []
    for some in torch.split(asked, max(1, (1 << 24) // len(items))):
        scores = users[some] @ items.T
        scores[:, 0] = -torch.inf
        scores[graph.items_of(some)] = -torch.inf
        best = scores.topk(count)
        found.append(torch.where(best.values > -torch.inf, best.indices, 0))
    return torch.cat(found)
