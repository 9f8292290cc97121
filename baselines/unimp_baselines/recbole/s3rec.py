"""S3-Rec: self-supervised sequential recommendation (Zhou et al. 2020, CIKM).

SASRec's encoder, first trained on four tasks over items' attributes and masked histories (equations 5-11; they stand
in `s3rec_model`), then fine-tuned as SASRec is. Attributes are categories below the root, and brand.

The pre-trained weights are used: fine-tuning refuses to begin if any tensor differs from them, and their sum is kept
in `state.json` with the first and last pre-training loss.

Departures: each epoch of pre-training sees every user's whole train sequence once, where the authors also feed every
prefix of it; the pre-training batch holds whole sequences; a wrong segment is cut from the batch, not the corpus.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from unimp_baselines.recbole.runner import loss_settings
from unimp_baselines.recbole.sasrec import Transformer


@dataclass
class S3Rec(Transformer):
    """S3-Rec, pre-trained and fine-tuned."""

    pretrain_epochs: int = 300
    pretrain_batch: int = 100
    mask: float = 0.2  # share of items masked in pre-training
    aap: float = 0.2  # weights of the four losses
    mip: float = 1.0
    map: float = 1.0
    sp: float = 0.5
    loss: Literal["ce", "bpr"] = "ce"

    model_name: ClassVar[str] = "S3Rec"
    version: ClassVar[int] = 2
    attributes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse to leave the pre-training out: that would be SASRec."""
        super().__post_init__()
        self.refuse(self.pretrain_epochs < 1, "pretrain_epochs is below 1; without pre-training, run sasrec")
        self.refuse(not 0 < self.mask < 1, f"mask={self.mask}; wanted between 0 and 1")

    def settings(self) -> dict[str, Any]:
        """RecBole's settings."""
        return {
            **super().settings(),
            "mask_ratio": self.mask,
            "aap_weight": self.aap,
            "mip_weight": self.mip,
            "map_weight": self.map,
            "sp_weight": self.sp,
            **loss_settings(self.loss),
        }

    def extras(self) -> dict[str, Any]:
        """The first stage."""
        return {"pretrain_epochs": self.pretrain_epochs, "pretrain_batch": self.pretrain_batch}
