"""MACR: model-agnostic counterfactual reasoning against popularity bias (Wei et al. 2021, KDD), on MF.

With user and item vectors e_u, e_i and one vector for each of the two branches (equations 1-5 and 9):

    y_k = e_u . e_i,   y_i = w_I . e_i,   y_u = w_U . e_u
    y   = y_k sigma(y_i) sigma(y_u)
    L   = BCE(y) + alpha BCE(y_i) + beta BCE(y_u) + lambda / (2B) sum (||e_u||^2 + ||e_i||^2 + ||e_j||^2)
    score(u, i) = (y_k - c) sigma(y_i) sigma(y_u)

BCE is -log sigma of the train pair's y minus log(1 - sigma) of the pair with one uniformly drawn item; a user's branch
is asked for 1 and for 0 alike. The score is the total effect less that of the branches alone: popular items, whose
sigma(y_i) is large, lose most by `c`.

`c` is the one of its options with the best NDCG@10 on validation, chosen at every evaluation and kept with the
weights; c = 0 is the plain score. The authors tune it on a validation set in which items are equally frequent; ours is
as popular as the test set, so a small `c` may win. The step size and the batch are ours, for small catalogues.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from unimp_baselines.recbole.runner import RecBoleRunner
from unimp_bench.runners.protocol import Space


@dataclass
class MACR(RecBoleRunner):
    """MACR on MF; users must have train rows."""

    lr: float = 5e-3
    batch: int = 512
    eval_every: int = 5  # each evaluation tries every c
    patience: int = 6
    alpha: float = 1e-3
    beta: float = 1e-3
    reg: float = 1e-5  # lambda
    c: tuple[float, ...] = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 40.0)

    model_name: ClassVar[str] = "MACR"
    search: ClassVar[Space] = {"lr": (1e-3, 5e-3), "alpha": (1e-4, 1e-3, 1e-2), "beta": (1e-4, 1e-3, 1e-2)}

    def __post_init__(self) -> None:
        """Refuse to have nothing to tune among."""
        super().__post_init__()
        self.refuse(not self.c, "c is empty; name at least one number")

    def settings(self) -> dict[str, Any]:
        """RecBole's settings."""
        weights = {"alpha": self.alpha, "beta": self.beta, "reg_weight": self.reg}
        return {"embedding_size": self.embedding, **weights, "c": list(self.c)}
