"""GRU4Rec (Hidasi et al. 2016, ICLR; Tan, Xu & Liu 2016 for training on augmented prefixes).

    h_t = GRU(e_(i_t), h_(t-1)),   s_j = e_j . W h_T
    L   = cross-entropy over all items ("ce"), or -log sigma(s_i - s_j) for one uniformly drawn j ("bpr")

Departures: histories of users are the sessions, one row a prefix, shuffled, where the authors run session-parallel
batches with BPR-max and items of the batch as wrong ones; Adam for Adagrad. Its authors warn that third-party versions
lose accuracy; the figures here are this version's, not GRU4Rec's at its best.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from unimp_baselines.recbole.runner import SequenceRunner, loss_settings
from unimp_bench.runners.protocol import Space


@dataclass
class GRU4Rec(SequenceRunner):
    """GRU4Rec over users' histories."""

    hidden: int = 128
    layers: int = 1
    dropout: float = 0.3
    loss: Literal["ce", "bpr"] = "ce"

    model_name: ClassVar[str] = "GRU4Rec"
    trim: ClassVar[bool] = True
    search: ClassVar[Space] = {
        "lr": (3e-4, 1e-3, 3e-3),
        "embedding": (32, 64, 128),
        "hidden": (64, 128, 256),
        "dropout": (0.1, 0.3),
    }

    def settings(self) -> dict[str, Any]:
        """RecBole's settings."""
        return {
            "embedding_size": self.embedding,
            "hidden_size": self.hidden,
            "num_layers": self.layers,
            "dropout_prob": self.dropout,
            **loss_settings(self.loss),
        }
