"""HEM, the hierarchical embedding model of product search (Ai, Zhang, Bi, Chen & Croft, SIGIR 2017).

Users u, items i and words w have vectors, words and items biases b. A query's vector and the intent behind it are

    q    = tanh(W mean of word vectors + b)
    m_uq = lambda q + (1 - lambda) u

and three things are predicted with K negatives each, drawn in proportion to count^0.75, as the released code does it:

    L = NCE(item -> word) + NCE(user -> word) + NCE(m_uq -> item) + l2 / 2 sum ||vectors in use||^2 / batch
    NCE(x -> y) = -log s(x.y + b_y) - sum over K of log s(-(x.y' + b_y'))

Items are ranked by m_uq.i + b_i (`similarity`: "bias"), m_uq.i ("product") or the cosine, u and q normalised apart.

Departures from the paper and its code: a step is a question with `words` words drawn from the item's and from the
user's reviews, not one review word, so the three terms keep their weights but long reviews do not ask more often; Adam
instead of a falling rate; titles count as reviews; no second split of the queries (the dataset's own split holds).
A user without train rows has no vector, so new users are not HEM's affair; new domains are learned by `adapt`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from unimp_baselines.search_common import Names
from unimp_baselines.search_runner import IntentRunner
from unimp_bench.errors import ConfigError

if TYPE_CHECKING:
    import torch


@dataclass
class HEM(IntentRunner):
    """Hierarchical embeddings of users, items and words."""

    l2: float = 0.005
    similarity: Literal["bias", "product", "cosine"] = "bias"

    cohorts: ClassVar[frozenset[str]] = frozenset({"in_domain", "new_domain"})
    system: ClassVar[str] = "hem"
    version: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Refuse parameters without meaning."""
        super().__post_init__()
        if self.l2 < 0:
            raise ConfigError(f"hem: l2={self.l2}; wanted at least 0")

    def _network(self, names: Names) -> torch.nn.Module:
        from unimp_baselines import search_net

        return search_net.HEM(
            len(names.words), len(names.items), len(names.users), self.embedding, self.query_weight, self.l2
        )

    def _similarity(self) -> str:
        return self.similarity
