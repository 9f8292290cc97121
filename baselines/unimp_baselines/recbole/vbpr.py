"""VBPR: visual Bayesian personalised ranking (He & McAuley 2016, AAAI).

With the picture's features f_i, a matrix E that brings them to users' visual vectors theta_u, and biases (equations
3-5 and 7):

    x_ui = beta_i + gamma_u . gamma_i + theta_u . (E f_i) + beta' . f_i
    L    = mean[-log sigma(x_ui - x_uj)] + 1 / (2B) sum [ lambda (||gamma_u||^2 + ||theta_u||^2 + ||gamma_i||^2 +
           ||gamma_j||^2) + lambda_b (beta_i^2 + beta_j^2 / 10) ] + lambda_e / (2B) (||E||^2 + ||beta'||^2)

over train pairs (u, i) and one uniformly drawn item j that u has not bought. Times B, this is the loss of Cornac's
implementation, whose (B, 1) + (B,) = (B, B) it does not have; a test holds the one against the other.

Departures: features are those of this toolkit's encoders, rows of length 1, where the paper has 4096 numbers of a
network trained on photographs; an item without a picture has zeros. Adam for the paper's gradient ascent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from unimp_baselines.recbole.featured import PictureRunner
from unimp_bench.runners.protocol import Space


@dataclass
class VBPR(PictureRunner):
    """VBPR; users must have train rows."""

    embedding: int = 32  # k, of ids
    visual: int = 32  # k2, of pictures
    lr: float = 5e-3
    batch: int = 512
    patience: int = 30  # its epochs are short
    reg: float = 0.01  # lambda
    bias_reg: float = 0.01  # lambda_b
    layer_reg: float = 0.0  # lambda_e

    model_name: ClassVar[str] = "VBPR"
    search: ClassVar[Space] = {"lr": (1e-3, 5e-3), "visual": (16, 32, 64), "reg": (1e-3, 1e-2, 1e-1)}

    def __post_init__(self) -> None:
        """Refuse parameters without meaning."""
        super().__post_init__()
        self.refuse(self.visual < 1, f"visual={self.visual}; wanted at least 1")

    def settings(self) -> dict[str, Any]:
        """RecBole's settings."""
        return {
            "embedding_size": self.embedding,
            "visual_size": self.visual,
            "reg_weight": self.reg,
            "bias_reg_weight": self.bias_reg,
            "layer_reg_weight": self.layer_reg,
        }
