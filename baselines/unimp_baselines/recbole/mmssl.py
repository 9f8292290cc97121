"""MMSSL: multi-modal self-supervised learning for recommendation (Wei, Huang, Xia & Zhang 2023, WWW).

With A of users and items, sums over neighbours divided by |N|^(1/2), f_m features of items, E_u and E_i id vectors:

    U_m = A (W_m f_m + b_m),   I_m = A^T U_m,   U'_m = A_m E_i,   I'_m = A_m^T E_u      m in {image, text}
    A_m: for each user the k items with the highest U_m . I_m that were not bought
    u0 = e_u + 0.36 norm(mean_m attention(U'_m)),  and so for items
    u  = mean(u0, u1, ..., uL) + 0.55 norm(U_image) + 0.55 norm(U_text),  u_l = A i_{l-1},  the last one's softmax
    L  = BPR + 1e-5 L2(u, i, j) + 1e-5 L2(U_m, I_m) / items + 0.03 sum_m InfoNCE(U'_m, u) - 1e-4 mean D(fake)

D is a critic (`mmssl_critic`) of rows of scores: fake ones are normalised U_m . I_m without what was bought; real ones
are what was bought, softened by a Gumbel-softmax, with 100 u . i beside it.

Departures. The authors' code holds dense users x items matrices and a critic over all items; here graphs are sparse,
top-k is found in blocks, and the critic sees `critic_items` items (drawn once, as often as they are bought) of
`critic_users` of a batch's users; the projections W_m that it teaches belong to all items. A_m is rebuilt every
`rebuild` batches for the users seen since, other users keep theirs, and it is A for those never seen; in that code A_m
is empty in all but an epoch's first batches, and its k is 0 below 10,000 items. Attention mixes modalities by W_q and
W_k as the paper says; in that code keys are made from the queries, and values stand at the query's place, so that
nothing is mixed. The critic's rectifier has the slope 0.2 where that code's 1 makes it linear,
and layer normalisation where that code's batch normalisation hides how real and fake rows differ. InfoNCE counts each
user of a batch once. Training stops early by NDCG@10. Features are those of this toolkit, rows of length 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from unimp_baselines.recbole.featured import FeatureRunner


@dataclass
class MMSSL(FeatureRunner):
    """MMSSL; users must have train rows."""

    lr: float = 5.5e-4
    lr_decay: float = 0.96  # in 50 epochs
    epochs: int = 1000
    batch: int = 1024
    patience: int = 20
    weight_decay: float = 0.01  # of AdamW
    layers: int = 2
    heads: int = 4
    dropout: float = 0.2
    mix_ids: float = 0.36
    mix_features: float = 0.55
    reg: float = 1e-5
    feature_reg: float = 1e-5
    contrast: float = 0.03
    temperature: float = 0.5
    neighbours: int = 10  # k of the modality-aware graphs
    rebuild: int = 20  # batches
    adversarial: float = 1e-4  # weight of the critic's judgement; 0 leaves the critic out
    critic_lr: float = 3e-4
    critic_items: int = 4096
    critic_users: int = 256  # of a batch

    model_name: ClassVar[str] = "MMSSL"

    def __post_init__(self) -> None:
        """Refuse parameters without meaning."""
        super().__post_init__()
        for name in ("layers", "heads", "neighbours", "rebuild", "critic_items", "critic_users"):
            value = getattr(self, name)
            self.refuse(value < 1, f"{name}={value}; wanted at least 1")
        self.refuse(
            self.embedding % self.heads != 0, f"embedding={self.embedding} is no multiple of heads={self.heads}"
        )
        self.refuse(self.temperature <= 0, f"temperature={self.temperature}; wanted more than 0")
        self.refuse(not 0 <= self.dropout < 1, f"dropout={self.dropout}; wanted at least 0 and below 1")
        self.refuse(self.critic_lr <= 0, f"critic_lr={self.critic_lr}; wanted more than 0")

    def settings(self) -> dict[str, Any]:
        """RecBole's settings."""
        return {
            "learner": "adamw",
            "lr_decay": self.lr_decay,
            "embedding_size": self.embedding,
            "n_layers": self.layers,
            "heads": self.heads,
            "dropout": self.dropout,
            "mix_ids": self.mix_ids,
            "mix_features": self.mix_features,
            "l2": self.reg,
            "feature_l2": self.feature_reg,
            "contrast_weight": self.contrast,
            "temperature": self.temperature,
            "neighbours": self.neighbours,
            "rebuild": self.rebuild,
            "adversarial_weight": self.adversarial,
            "critic_lr": self.critic_lr,
            "critic_items": self.critic_items,
            "critic_users": self.critic_users,
        }
