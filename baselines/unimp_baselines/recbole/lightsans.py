"""LightSANs: low-rank decomposed self-attention (Fan et al. 2021, SIGIR).

A history's L items are gathered into k interests, and each item attends to these instead of to all items; which place
attends to which is learned apart from the items (equations 2-7; they stand in `lightsans_model`):

    D   = softmax over items of (K Theta),   K~ = D^T K, V~ likewise
    out = softmax(Q K~^T / sqrt(d)) V~ + softmax(P_Q P_K^T / sqrt(d)) V
    s_j = h . e_j,  L = cross-entropy over all items ("ce"), or -log sigma(s_i - s_j), one uniformly drawn j ("bpr")

Nothing is causal: each row is a prefix, and what is predicted comes after all of it.

Departures: RecBole's version (also as `recbole:LightSANs`) and the authors' let padding take part; what is put right
here stands in `lightsans_model`. `interests` is 5 of at most 50 items, a tenth, as the authors advise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from unimp_baselines.recbole.runner import loss_settings
from unimp_baselines.recbole.sasrec import Transformer


@dataclass
class LightSANs(Transformer):
    """LightSANs over users' histories."""

    interests: int = 5  # k
    loss: Literal["ce", "bpr"] = "ce"

    model_name: ClassVar[str] = "LightSANs"

    def __post_init__(self) -> None:
        """Refuse parameters without meaning."""
        super().__post_init__()
        self.refuse(self.interests < 1, f"interests={self.interests}; wanted at least 1")

    def settings(self) -> dict[str, Any]:
        """RecBole's settings."""
        return {**super().settings(), "k_interests": self.interests, **loss_settings(self.loss)}
