"""BERT4Rec (Sun et al. 2019, CIKM).

A bidirectional transformer fills in masked items of a history: with h the output at a mask (equations 7-8),

    P(j) = softmax_j( e_j . LN(GELU(W h)) + b_j ),   L = mean over masks of -log P(item)

At prediction a mask follows the history. Half of the batches mask each item with probability `mask`, the others the
last item only. Rows are whole train sequences (in pieces of 50), `copies` times an epoch with new masks.

Departures: RecBole trains on every prefix and never shows a user's last train item; LayerNorm after the GELU is its
own; Adam at 1e-3 without warm-up where the authors have 1e-4 with 100 steps of it for 400,000 steps. Under-training is
the usual reason for weak figures: look at the learning curve before believing one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from unimp_baselines.recbole import requests
from unimp_baselines.recbole.sasrec import Transformer


@dataclass
class BERT4Rec(Transformer):
    """BERT4Rec."""

    epochs: int = 500
    batch: int = 256
    attention_dropout: float = 0.2
    mask: float = 0.6
    copies: int = 5
    last_only: float = 0.5  # share of batches that mask the last item only

    model_name: ClassVar[str] = "BERT4Rec"
    rows: ClassVar[requests.Rows] = "whole"

    def __post_init__(self) -> None:
        """Refuse parameters without meaning."""
        super().__post_init__()
        self.refuse(not 0 < self.mask < 1, f"mask={self.mask}; wanted between 0 and 1")
        self.refuse(not 0 <= self.last_only <= 1, f"last_only={self.last_only}; wanted from 0 to 1")
        self.refuse(self.copies < 1, f"copies={self.copies}; wanted at least 1")

    def settings(self) -> dict[str, Any]:
        """RecBole's settings."""
        masks = {"mask_ratio": self.mask, "ft_ratio": self.last_only, "transform": "mask_itemseq"}
        return {**super().settings(), **masks, "loss_type": "CE", "train_neg_sample_args": None}

    def extras(self) -> dict[str, Any]:
        """How often each sequence comes in an epoch."""
        return {"copies": self.copies}
