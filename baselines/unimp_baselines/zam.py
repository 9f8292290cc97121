"""ZAM, the zero-attention model of product search (Ai, Hill, Vishwanathan & Croft, CIKM 2019), and AEM.

A user has no vector of its own: the query attends to the items I_u bought before, and to a vector of zeros, so that a
query can leave the history aside:

    f(q, i) = (tanh(W_f q + b_f) as (beta, d) . i) . w_h,   f(q, 0) = 0
    a_i     = exp f(q, i) / (1 + sum over I_u of exp f(q, i'))
    m_uq    = lambda q + (1 - lambda) sum over I_u of a_i i

`--set zero=false` is AEM, the same without the 1. Trained like HEM but for the user's words:
L = NCE(m_uq -> item) + NCE(item -> word); items are ranked by m_uq.i + b_i.

I_u is the example's visible history in training and in ranking alike, so the item asked for is never in it (it is
masked besides), and users that training never saw are served. Departures: Adam instead of SGD; a step is a question
with words drawn from the item's reviews and title; the score has the item's bias, with which it was trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from unimp_baselines.common import EVERY_COHORT
from unimp_baselines.search_common import Names
from unimp_baselines.search_runner import IntentRunner
from unimp_bench.errors import ConfigError

if TYPE_CHECKING:
    import torch


@dataclass
class ZAM(IntentRunner):
    """Attention over the history with a vector of zeros."""

    beta: int = 4  # hidden units of the attention
    zero: bool = True  # false: AEM

    cohorts: ClassVar[frozenset[str]] = EVERY_COHORT
    system: ClassVar[str] = "zam"

    def __post_init__(self) -> None:
        """Refuse parameters without meaning."""
        super().__post_init__()
        if self.beta < 1:
            raise ConfigError(f"zam: beta={self.beta}; wanted at least 1")

    def _network(self, names: Names) -> torch.nn.Module:
        from unimp_baselines import search_net

        return search_net.ZAM(
            len(names.words), len(names.items), self.embedding, self.query_weight, self.beta, self.zero
        )
