"""LightGCN (He et al. 2020, SIGIR).

With the normalised adjacency D^-1/2 A D^-1/2 of users and items (equations 3-4 and 7):

    E^(k+1) = D^-1/2 A D^-1/2 E^(k),   E = mean of E^(0) ... E^(K),   s_ui = e_u . e_i
    L = mean[-log sigma(s_ui - s_uj)] + lambda / (2B) sum of squares of the layer-0 vectors of the batch

Departure: training stops early on validation, where the authors run 1000 epochs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from unimp_baselines.recbole.runner import RecBoleRunner
from unimp_bench.runners.protocol import Space


@dataclass
class LightGCN(RecBoleRunner):
    """LightGCN; users must have train rows."""

    epochs: int = 1000
    patience: int = 30  # its epochs are short
    layers: int = 3
    reg: float = 1e-4  # lambda

    model_name: ClassVar[str] = "LightGCN"
    search: ClassVar[Space] = {"lr": (3e-4, 1e-3, 3e-3), "layers": (1, 2, 3), "reg": (1e-5, 1e-4, 1e-3)}

    def settings(self) -> dict[str, Any]:
        """RecBole's settings; `require_pow` makes its regulariser the squared norm."""
        return {
            "embedding_size": self.embedding,
            "n_layers": self.layers,
            "reg_weight": self.reg,
            "require_pow": True,
        }
