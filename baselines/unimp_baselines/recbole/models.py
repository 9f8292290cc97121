"""RecBole's models where they depart from their papers, put right by subclasses; what is changed stands in each.

Shapes: batch B, history L, width d, items + 1 = n (row 0 is padding). `loss_type` "CE" is the cross-entropy over all
items, "BPR" the pairwise loss against sampled ones.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from recbole.model.general_recommender.bpr import BPR
from recbole.model.general_recommender.lightgcn import LightGCN as RecBoleLightGCN
from recbole.model.sequential_recommender.bert4rec import BERT4Rec as RecBoleBERT4Rec
from recbole.model.sequential_recommender.gru4rec import GRU4Rec
from recbole.model.sequential_recommender.hgn import HGN as RecBoleHGN  # noqa: N811 (it is a class)
from recbole.model.sequential_recommender.sasrec import SASRec
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (its name everywhere)


class MF(BPR):  # type: ignore[misc]
    """Matrix factorization with BPR loss; RecBole's has neither the L2 term nor the N(0, 0.1) start.

    L = mean[-log sigma(s_ui - s_uj)] + lambda / (2B) sum (||e_u||^2 + ||e_i||^2 + ||e_j||^2), Rendle et al. 2009.
    """

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.reg_weight = config["reg_weight"]
        torch.nn.init.normal_(self.user_embedding.weight, std=0.1)
        torch.nn.init.normal_(self.item_embedding.weight, std=0.1)

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Loss of a batch of (user, item, sampled item)."""
        user = self.user_embedding(interaction[self.USER_ID])
        item = self.item_embedding(interaction[self.ITEM_ID])
        other = self.item_embedding(interaction[self.NEG_ITEM_ID])
        pairs = F.softplus((user * (other - item)).sum(-1)).mean()
        squares = user.square().sum() + item.square().sum() + other.square().sum()
        loss: Tensor = pairs + self.reg_weight * squares / (2 * len(user))
        return loss

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """Scores `(B, n)`."""
        scores: Tensor = self.user_embedding(interaction[self.USER_ID]) @ self.item_embedding.weight.T
        return scores


class LightGCN(RecBoleLightGCN):  # type: ignore[misc]
    """LightGCN from the N(0, 0.1) start of its authors' code, where RecBole has Xavier's."""

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        torch.nn.init.normal_(self.user_embedding.weight, std=0.1)
        torch.nn.init.normal_(self.item_embedding.weight, std=0.1)


class HGN(RecBoleHGN):  # type: ignore[misc]
    """HGN with padding that counts nothing, sampled items from the output table, and the output bias b_j.

    In RecBole's, the padding row of the input table is drawn like any other and never learned, so that short histories
    carry noise into both gates and the sum; sampled items are looked up in the input table but the right ones in the
    output table; and there is no b_j. All four gate matrices are parameters there, so they are trained, which those
    of the authors' code are not.
    """

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.output_bias = torch.nn.Parameter(torch.zeros(self.n_items))
        config["reg_weight"] = None  # its penalty is not used, and RecBole's trainer cannot multiply the pair
        with torch.no_grad():
            self.item_embedding.weight[0] = 0

    def instance_gating(self, user_item: Tensor, user_embedding: Tensor) -> Tensor:
        """Weighted mean `(B, d)` of gated items `(B, L, d)`, over real items: an item of zeros is padding."""
        real = (user_item != 0).any(-1)
        gate = torch.sigmoid(self.w3(user_item).squeeze(-1) + self.w4(user_embedding)) * real
        if self.pool_type == "max":
            best = gate.argmax(1)
            rows = torch.arange(len(gate), device=gate.device)
            return user_item[rows, best] * gate[rows, best, None]
        pooled: Tensor = (gate[..., None] * user_item).sum(1) / gate.sum(1, keepdim=True).clamp(min=1e-12)
        return pooled

    def calculate_loss(self, interaction: Any) -> Tensor:
        """BPR against sampled items, or cross-entropy over all."""
        vector = self.forward(interaction[self.ITEM_SEQ], interaction[self.USER_ID])
        item = interaction[self.POS_ITEM_ID]
        if self.loss_type == "CE":
            return F.cross_entropy(self._scores(vector), item)
        table, bias = self.item_embedding_for_prediction, self.output_bias
        other = interaction[self.NEG_ITEM_ID]
        better = (vector * (table(item) - table(other))).sum(-1) + bias[item] - bias[other]
        return F.softplus(-better).mean()

    def _scores(self, vector: Tensor) -> Tensor:
        scores: Tensor = vector @ self.item_embedding_for_prediction.weight.T + self.output_bias
        return scores

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """Scores `(B, n)`."""
        return self._scores(self.forward(interaction[self.ITEM_SEQ], interaction[self.USER_ID]))


class BERT4Rec(RecBoleBERT4Rec):  # type: ignore[misc]
    """BERT4Rec whose loss counts every masked position, and whose prediction keeps the whole history.

    RecBole's counts no masked first position (its index is the padding's), divides by zero in a batch in which none is
    masked, and at prediction drops the first item and moves all others by one place, of however short a history.
    """

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Cross-entropy over all items, mean of the masked positions."""
        masked, original = interaction[self.MASK_ITEM_SEQ], interaction[self.ITEM_SEQ]
        hidden = self.forward(masked)
        where = masked == self.mask_token
        logits = hidden[where] @ self.item_embedding.weight[: self.n_items].T + self.output_bias
        total = F.cross_entropy(logits, original[where], reduction="sum")
        loss: Tensor = total / where.sum().clamp(min=1)
        return loss

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """Scores `(B, n)` of what stands at a mask after the last `max_seq_length - 1` items."""
        history, length = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        history = F.pad(history, (0, 1))
        full = length >= self.max_seq_length
        history = torch.where(full[:, None], history.roll(-1, 1), history)
        place = torch.where(full, length - 1, length)
        rows = torch.arange(len(history), device=history.device)
        history[rows, place] = self.mask_token
        history = history[:, : self.max_seq_length]
        hidden = self.forward(history)[rows, place]
        scores: Tensor = hidden @ self.item_embedding.weight[: self.n_items].T + self.output_bias
        return scores


CLASSES = {cls.__name__: cls for cls in (MF, LightGCN, HGN, GRU4Rec, SASRec, BERT4Rec)}

# Classes with a file of their own in this folder, which is imported when its class is asked for.
FILES = {
    "S3Rec": "s3rec_model",
    "MACR": "macr_model",
    "UltraGCN": "ultragcn_model",
    "VBPR": "vbpr_model",
    "CausalRec": "causalrec_model",
    "UniSRec": "unisrec_model",
    "LightSANs": "lightsans_model",
    "MMGCL": "mmgcl_model",
    "MMSSL": "mmssl_model",
}


def named(name: str) -> Any:
    """Our class of that name."""
    if name in FILES:
        return getattr(import_module(f"unimp_baselines.recbole.{FILES[name]}"), name)
    return CLASSES[name]
