"""S3-Rec's pre-training (Zhou et al. 2020, CIKM, equations 5-11) on whole batches of tensors.

RecBole's builds every batch item by item in Python lists, pads on the left while its fine-tuning pads on the right (so
the positions that were pre-trained are not those that are used), leaves the first attribute's vector untrained (it
takes index 0, the padding's), and can draw the mask as a wrong item. Here the four losses are the same, over sequences
padded on the right:

    AAP  sum over unmasked t, attributes a   BCE(a . W_a h_t, item t has a)               weight 0.2
    MIP  sum over masked t                   -log sigma(sigma(i_t . W_m h_t) - sigma(j . W_m h_t))    1.0
    MAP  sum over masked t, attributes a     BCE(a . W_p h_t, item t has a)                      1.0
    SP   sum over sequences                  -log sigma(sigma(c . W_s s) - sigma(c . W_s s'))    0.5

where the last place of every sequence is masked, and each other by chance; with i_t the item, j one that is not in the
sequence, c the masked segment's context, s the segment, s' one of as many items from the batch. The sigmoids within
sigmoids are those of the authors' code.
"""

from __future__ import annotations

from typing import Any

import torch
from recbole.model.sequential_recommender.s3rec import S3Rec as RecBoleS3Rec
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its name everywhere)


class S3Rec(RecBoleS3Rec):  # type: ignore[misc]
    """S3-Rec; `train_stage` "pretrain" has the losses above, "finetune" is RecBole's."""

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        attributes = dataset.get_item_feature()[self.FEATURE_FIELD]  # (items + 1, most), 0 is padding
        no_mask = torch.zeros(1, attributes.shape[1], dtype=attributes.dtype)
        self.register_buffer("attributes", torch.cat([attributes, no_mask]), persistent=False)
        if self.train_stage == "pretrain":
            # Without a padding row: index 0 is the first attribute.
            self.feature_embedding = nn.Embedding(self.n_features, self.hidden_size)
            self.feature_embedding.weight.data.normal_(std=self.initializer_range)

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Sum of the four weighted losses while pre-training, else RecBole's."""
        if self.train_stage != "pretrain":
            loss: Tensor = super().calculate_loss(interaction)
            return loss
        items, lengths = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        total: Tensor = self._masked_items(items, lengths) + self.sp_weight * self._segments(items, lengths)
        return total

    def _mask(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Which places `(B, L)` are masked: each by chance, and always the last, as it is asked for in fine-tuning."""
        by_chance: Tensor = (torch.rand(items.shape, device=items.device) < self.mask_ratio) & (items != 0)
        return by_chance | (torch.arange(items.shape[1], device=items.device) == lengths[:, None] - 1)

    def _masked_items(self, items: Tensor, lengths: Tensor) -> Tensor:
        """AAP, MIP and MAP of histories `(B, L)`."""
        real = items != 0
        masked = self._mask(items, lengths)
        hidden = self.forward(torch.where(masked, self.mask_token, items))
        wrong = self._not_in(items)[masked]
        distance = self._masked_item_prediction(hidden[masked], self.item_embedding(items[masked]))
        distance = distance - self._masked_item_prediction(hidden[masked], self.item_embedding(wrong))
        mip = F.softplus(-distance).sum()
        aap = self._attribute_loss(self.aap_norm(hidden[real & ~masked]), items[real & ~masked])
        map_ = self._attribute_loss(self.map_norm(hidden[masked]), items[masked])
        loss: Tensor = self.aap_weight * aap + self.mip_weight * mip + self.map_weight * map_
        return loss

    def _attribute_loss(self, vectors: Tensor, items: Tensor) -> Tensor:
        """Summed BCE of vectors `(rows, d)` against which attributes their items `(rows,)` have."""
        logits = vectors @ self.feature_embedding.weight.T
        has = torch.zeros(len(items), self.n_features + 1, device=logits.device)
        has.scatter_(1, self.attributes[items], 1.0)  # column 0 takes the padding
        return F.binary_cross_entropy_with_logits(logits, has[:, 1:], reduction="sum")

    def _not_in(self, items: Tensor) -> Tensor:
        """An item for each place `(B, L)` that is not in its sequence (drawn anew up to ten times)."""
        drawn = torch.randint(1, self.mask_token, items.shape, device=items.device)
        for _ in range(10):
            clash = (drawn[:, :, None] == items[:, None, :]).any(-1)
            drawn = torch.where(clash, torch.randint(1, self.mask_token, items.shape, device=items.device), drawn)
        return drawn

    def _segments(self, items: Tensor, lengths: Tensor) -> Tensor:
        """SP: a masked segment of up to half of each sequence of at least two items."""
        long = lengths >= 2
        if not bool(long.any()):
            return torch.zeros((), device=items.device)
        items, lengths = items[long], lengths[long]
        device = items.device
        size = 1 + (torch.rand(len(items), device=device) * (lengths // 2)).long()
        start = (torch.rand(len(items), device=device) * (lengths - size + 1)).long()
        place = torch.arange(items.shape[1], device=device)
        inside = (place >= start[:, None]) & (place < (start + size)[:, None])
        real = place < lengths[:, None]
        every = items[real]  # all items of the batch, one after another, to cut a wrong segment from
        cut = (torch.rand(len(items), device=device) * (len(every) - size + 1)).long()
        wrong = every[(cut[:, None] + place - start[:, None]).clamp(0, len(every) - 1)]
        hidden_by_mask = torch.where(real, self.mask_token, 0)
        context = torch.where(inside, self.mask_token, items)
        right, wrong = (torch.where(inside, part, hidden_by_mask) for part in (items, wrong))
        last = [self.gather_indexes(self.forward(part), lengths - 1) for part in (context, right, wrong)]
        distance = self._segment_prediction(last[0], last[1]) - self._segment_prediction(last[0], last[2])
        return F.softplus(-distance).sum()
