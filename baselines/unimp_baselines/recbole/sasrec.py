"""SASRec: self-attentive sequential recommendation (Kang & McAuley 2018, ICDM).

Item vectors plus learned positions through causal self-attention blocks; the last position's output h scores every
item by the item's own input vector (equations 1-8): s_j = h . e_j. Trained here on one row for every prefix of a
history, with the next item as the right one:

    "ce"   cross-entropy over all items
    "bpr"  -log sigma(s_i - s_j), one uniformly drawn j, near the paper's binary cross-entropy with one wrong item

Departures of RecBole's version: normalisation after the blocks, GELU, two heads and a feed-forward layer four times as
wide (its defaults, which are used); no scaling of item vectors; Adam's beta2 is 0.999 for 0.98. "ce" is much the
stronger loss: name it with every figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from unimp_baselines.recbole.runner import SequenceRunner, loss_settings
from unimp_bench.runners.protocol import Space


@dataclass
class Transformer(SequenceRunner):
    """What the runners of transformers share."""

    layers: int = 2
    heads: int = 2
    inner: int = 256  # width of the feed-forward layer
    dropout: float = 0.5
    attention_dropout: float = 0.5

    trim: ClassVar[bool] = True
    search: ClassVar[Space] = {
        "lr": (3e-4, 1e-3, 3e-3),
        "embedding": (32, 64, 128),
        "layers": (1, 2),
        "dropout": (0.2, 0.5),
    }

    def __post_init__(self) -> None:
        """Refuse heads that do not share the width evenly."""
        super().__post_init__()
        self.refuse(
            self.embedding % self.heads != 0, f"embedding={self.embedding} is not a multiple of heads={self.heads}"
        )

    def settings(self) -> dict[str, Any]:
        """RecBole's settings."""
        return {
            "hidden_size": self.embedding,
            "n_layers": self.layers,
            "n_heads": self.heads,
            "inner_size": self.inner,
            "hidden_dropout_prob": self.dropout,
            "attn_dropout_prob": self.attention_dropout,
        }


@dataclass
class SASRec(Transformer):
    """SASRec."""

    loss: Literal["ce", "bpr"] = "ce"

    model_name: ClassVar[str] = "SASRec"

    def settings(self) -> dict[str, Any]:
        """RecBole's settings."""
        return {**super().settings(), **loss_settings(self.loss)}
