"""SASRec with the loss of its paper: every place against drawn wrong items, one by default (Kang & McAuley 2018).

    L = mean over places t of -log sigmoid(h_t . e_i) - mean over drawn j of log sigmoid(-h_t . e_j),    i = i_(t+1)

with j uniform among the items that the user never took. Everything else is `sasrec_ce`: all places of a history learn
in one pass. RecBole's form (`sasrec --set loss=bpr`) learns from the last place of every prefix, in rows of their own.

Departures: those of `sasrec_ce` but for the loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from unimp_baselines.sasrec_ce import SASRecCE
from unimp_bench.errors import ConfigError


@dataclass
class SASRecBCE(SASRecCE):
    """SASRec with binary cross-entropy against drawn items."""

    epochs: int = 400
    patience: int = 20  # epochs without a better validation NDCG@10
    negatives: int = 1  # drawn wrong items a place

    version: ClassVar[int] = 1
    system: ClassVar[str] = "sasrec_bce"

    def __post_init__(self) -> None:
        """Refuse parameters without meaning."""
        super().__post_init__()
        if self.negatives < 1:
            raise ConfigError(f"{self.system}: negatives={self.negatives}; wanted at least 1, or the runner sasrec_ce")

    @property
    def wrong_items(self) -> int:
        """Drawn wrong items a place."""
        return self.negatives
