"""Matrix factorization trained by Bayesian personalised ranking.

Koren, Bell & Volinsky 2009 (the model), Rendle et al. 2009 (the loss): with user and item vectors e_u, e_i,

    s_ui = e_u . e_i
    L    = mean[-log sigma(s_ui - s_uj)] + lambda / (2B) sum (||e_u||^2 + ||e_i||^2 + ||e_j||^2)

over train pairs (u, i) and one uniformly drawn item j that u has not bought. The paper that compares with it names no
loss; N(0, 0.1) start and lambda follow LightGCN's code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from unimp_baselines.recbole.runner import RecBoleRunner
from unimp_bench.runners.protocol import Space


@dataclass
class MF(RecBoleRunner):
    """MF (BPR); users must have train rows."""

    lr: float = 3e-3  # at 1e-3 a small shop gets no better within `patience`, and training ends before it began
    patience: int = 30  # its epochs are short
    reg: float = 1e-4  # lambda

    model_name: ClassVar[str] = "MF"
    search: ClassVar[Space] = {"lr": (3e-4, 1e-3, 3e-3), "embedding": (32, 64, 128), "reg": (1e-5, 1e-4, 1e-3)}

    def settings(self) -> dict[str, Any]:
        """RecBole's settings."""
        return {"embedding_size": self.embedding, "reg_weight": self.reg}
