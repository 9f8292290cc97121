"""LightSANs' attention (Fan et al. 2021, SIGIR) to which padding is nothing.

RecBole's, like the authors' code, has no mask: padded places, whose vector is the normalisation's bias, are gathered
into the interests and attended to by position, so a score depends on how wide its batch is. Both of its softmaxes run
over the asking places, where the paper's run over what is asked, so that weights of one place do not sum to 1; its
positions are scaled twice; and all layers begin with the same gathering matrices. Here:

    D   = softmax over items of (K Theta),  K~ = D^T K  (k interests; V~ likewise with a Theta of its own)
    out = softmax(Q K~^T / sqrt(d_h)) V~ + softmax over real places of (P_Q P_K^T / sqrt(d_h)) V

Shapes: batch B, history L, heads h, width of a head d_h, width d = h d_h, interests k.
"""

from __future__ import annotations

import math
from typing import Any

from recbole.model.layers import LightMultiHeadAttention
from recbole.model.sequential_recommender.lightsans import LightSANs as RecBoleLightSANs
from torch import Tensor

_NEVER = float("-inf")


class Attention(LightMultiHeadAttention):  # type: ignore[misc]
    """Low-rank attention with decoupled positions; the parameters are RecBole's."""

    def forward(self, items: Tensor, positions: Tensor, real: Tensor) -> Tensor:
        """Outputs `(B, L, d)` of items `(B, L, d)` at positions `(L, d)`, where `real` `(B, L)` is no padding."""
        query, key, value = (part(items) for part in (self.query, self.key, self.value))
        keys = _gathered(key, self.attpooling_key.theta, real)
        values = _gathered(value, self.attpooling_value.theta, real)
        by_item = self._heads(query) @ self._heads(keys).mT / math.sqrt(self.attention_head_size)
        of_items = self.attn_dropout(by_item.softmax(-1)) @ self._heads(values)
        place = self.pos_ln(positions)[None]
        by_place = self._heads(self.pos_q_linear(place)) @ self._heads(self.pos_k_linear(place)).mT
        by_place = by_place / math.sqrt(self.attention_head_size)
        by_place = by_place.masked_fill(~real[:, None, None], _NEVER).softmax(-1)
        both = of_items + by_place @ self._heads(value)
        joined = self.out_dropout(self.dense(both.transpose(1, 2).flatten(2)))
        result: Tensor = self.LayerNorm(joined + items)
        return result

    def _heads(self, vectors: Tensor) -> Tensor:
        """Vectors `(B, L, d)` as `(B, h, L, d_h)`."""
        split: Tensor = vectors.unflatten(-1, (self.num_attention_heads, -1)).transpose(1, 2)
        return split


def _gathered(vectors: Tensor, theta: Tensor, real: Tensor) -> Tensor:
    """Interests `(B, k, d)`: means of real vectors `(B, L, d)`, weighted by how near each is to an interest."""
    weights = (vectors @ theta).masked_fill(~real[..., None], _NEVER).softmax(1)
    return weights.mT @ vectors


class LightSANs(RecBoleLightSANs):  # type: ignore[misc]
    """LightSANs with the attention above."""

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        for layer in self.trm_encoder.layer:
            layer.multi_head_attention = Attention(
                self.n_heads,
                self.k_interests,
                self.hidden_size,
                self.seq_len,
                self.hidden_dropout_prob,
                self.attn_dropout_prob,
                self.layer_norm_eps,
            )
        self.trm_encoder.apply(self._init_weights)

    def forward(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Sequence vectors `(B, d)` of histories `(B, L)`, padded with 0 at the end."""
        items, positions = self.embedding_layer(item_seq)
        hidden = self.dropout(self.LayerNorm(items))
        for layer in self.trm_encoder.layer:
            hidden = layer.feed_forward(layer.multi_head_attention(hidden, positions, item_seq != 0))
        last: Tensor = self.gather_indexes(hidden, item_seq_len - 1)
        return last
