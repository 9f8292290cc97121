"""UltraGCN: graph convolution without message passing (Mao et al. 2021, CIKM).

With s_ui = e_u . e_i, degrees d of the graph of users and items, G = A^T A of items bought by the same users, and row
sums g of G (equations 6-7, 9 and 11-13):

    beta_ui  = sqrt(d_u + 1) / d_u / sqrt(d_i + 1)
    omega_ik = G_ik sqrt(g_i + 1) / g_i / sqrt(g_k + 1),   S(i) = the K items with the largest omega_ik
    L = sum_(u,i) [ -(w1 + w2 beta_ui) log sigma(s_ui)
                    - r mean_j (w3 + w4 beta_uj) log sigma(-s_uj)
                    - lambda sum_(k in S(i)) omega_ik log sigma(s_uk) ]  +  gamma / 2 sum of all squared parameters

The loss is a sum over the batch's pairs (a mean over the drawn items j only), so lr and gamma belong to a batch size.

Departures: as in the authors' code, not the paper, omega has the +1 and an item is its own neighbour. Items j are drawn
uniformly, the same for all pairs of a batch (so the scores of a batch are one product of matrices), and those that u
has bought are left out. Defaults are the authors' for Amazon-Books but for batch (1,024), rate (1e-3) and patience (15
epochs): a shop of 7,000 pairs has seven batches of 1,024 an epoch, and its training ended after 28 of them, the loss at
a quarter of the first one and still falling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from unimp_baselines.recbole.runner import RecBoleRunner
from unimp_bench.runners.protocol import Space


@dataclass
class UltraGCN(RecBoleRunner):
    """UltraGCN; users must have train rows."""

    batch: int = 128
    lr: float = 5e-3
    patience: int = 50
    w: tuple[float, ...] = (1e-8, 1.0, 1.0, 1e-8)  # w1 ... w4
    negatives: int = 500  # drawn for each batch
    negative_weight: float = 500.0  # r
    neighbours: int = 10  # K
    item_weight: float = 2.75  # lambda
    reg: float = 1e-4  # gamma
    start: float = 1e-4  # standard deviation of the vectors at the start

    model_name: ClassVar[str] = "UltraGCN"
    version: ClassVar[int] = 2
    search: ClassVar[Space] = {"lr": (1e-3, 5e-3), "item_weight": (5e-4, 0.5, 2.75), "reg": (1e-5, 1e-4, 1e-3)}

    def __post_init__(self) -> None:
        """Refuse parameters without meaning."""
        super().__post_init__()
        self.refuse(len(self.w) != 4, f"w={self.w}; wanted four numbers, w1 to w4")
        self.refuse(self.negatives < 1, f"negatives={self.negatives}; wanted at least 1")
        self.refuse(self.neighbours < 1, f"neighbours={self.neighbours}; wanted at least 1")
        self.refuse(self.start <= 0, f"start={self.start}; wanted more than 0")

    def settings(self) -> dict[str, Any]:
        """RecBole's settings; the model draws its own items."""
        return {
            "embedding_size": self.embedding,
            "w": list(self.w),
            "negatives": self.negatives,
            "negative_weight": self.negative_weight,
            "neighbours": self.neighbours,
            "item_weight": self.item_weight,
            "reg_weight": self.reg,
            "start": self.start,
            "train_neg_sample_args": None,
        }
