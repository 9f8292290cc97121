"""CausalRec: causal inference for visual debiasing (Qiu, Wang, Chen, Yin & Huang 2021, ACM Multimedia).

VBPR's vectors in two branches, of which the item's is gated by its picture (phi and phi' are layers with tanh):

    m_ui = beta_i + gamma_u . gamma_i + gamma_u . (gamma_i * phi'(f_i))          item branch
    n_ui = theta_u . phi(f_i) + beta' . f_i                                      visual branch
    y_ui = sigma(m_ui + n_ui) sigma(m_ui) sigma(n_ui)
    L    = mean[-log sigma(y_ui - y_uj) - log sigma(m_ui - m_uj) - log sigma(n_ui - n_uj)] + VBPR's penalty
    score(u, i) = y_ui - lambda_2 sigma(m*_u + n_ui) sigma(m*_u) sigma(n_ui)
    m*_u = mean beta + gamma_u . mean gamma + gamma_u . (mean gamma * phi'(mean f))

The score is the total indirect effect: what is taken away is how much a picture pleases on whatever item it stands.

A test holds loss and scores against Cornac's, whose (B, 1) + (B,) = (B, B) and whose scores that pile up from user to
user are not repeated. Departures: features are those of this toolkit's encoders, rows of length 1, and mean f is over
items with a picture; defaults are VBPR's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from unimp_baselines.recbole.vbpr import VBPR
from unimp_bench.runners.protocol import Space


@dataclass
class CausalRec(VBPR):
    """CausalRec; users must have train rows."""

    tanh: Literal[0, 1, 2] = 1  # layers of phi and phi'; 0: one layer without a tanh
    debias: float = 0.8  # lambda_2

    model_name: ClassVar[str] = "CausalRec"
    search: ClassVar[Space] = {"lr": (1e-3, 5e-3), "debias": (0.4, 0.8, 1.0), "reg": (1e-3, 1e-2, 1e-1)}

    def settings(self) -> dict[str, Any]:
        """RecBole's settings."""
        return {**super().settings(), "tanh": self.tanh, "debias": self.debias}
