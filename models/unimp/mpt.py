"""MPT as a body: attention with linear biases (Press et al. 2022) that counts positions, not places in a row.

    score(i, j) = q_i k_j scale + slope * (position of j - last position)

A softmax does not change when all its scores move by one amount, so the bias needs the key's position only. Counted by
position, branches that share a trunk are biased as in a sequence of their own; counted by place, as MPT's own code
does, they would not be. Queries and keys may be normalised first (`qk_ln`), which MPT-1B needs.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MptConfig, MptModel
from transformers.cache_utils import Cache
from transformers.models.mpt.configuration_mpt import MptAttentionConfig

from unimp.resampler import join_heads, split_heads


class BiasedAttention(nn.Module):
    """MPT's self-attention, weights by the same names, with a bias a row of the batch and normed queries and keys."""

    def __init__(self, config: MptConfig, layer: int) -> None:
        super().__init__()
        width, settings = config.hidden_size, settings_of(config)
        self.heads, self.layer, self.clip = config.n_heads, layer, settings.clip_qkv
        self.scale = settings.softmax_scale or 1 / math.sqrt(width / config.n_heads)
        self.Wqkv = nn.Linear(width, 3 * width, bias=False)
        self.out_proj = nn.Linear(width, width, bias=False)
        if settings.qk_ln:
            self.q_ln, self.k_ln = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)

    def forward(
        self,
        hidden_states: Tensor,
        position_bias: Tensor,
        attention_mask: Tensor,
        past_key_values: Cache | None = None,
        **_: Any,
    ) -> tuple[Tensor, None]:
        """What a block of MPT expects of its attention: new states `(batch, tokens, width)`, and no weights.

        Args:
            hidden_states: `(batch, tokens, width)`.
            position_bias: added to scores `(batch or 1, heads, 1, keys)`.
            attention_mask: what is hidden `(batch, 1, tokens, keys)`.
            past_key_values: earlier keys and values, filled further.
        """
        mixed = self.Wqkv(hidden_states)
        if self.clip is not None:
            mixed = mixed.clamp(min=-self.clip, max=self.clip)
        q, k, v = mixed.chunk(3, dim=-1)
        if hasattr(self, "q_ln"):
            q, k = self.q_ln(q).to(q.dtype), self.k_ln(k).to(k.dtype)
        q, k, v = (split_heads(part, self.heads) for part in (q, k, v))
        if past_key_values is not None:
            k, v = past_key_values.update(k, v, self.layer)
        # Biases are large beside bfloat16's steps: scores are summed in float32, as MPT does it.
        scores = torch.matmul(q, k.transpose(-1, -2)) * self.scale + position_bias
        scores = scores.masked_fill(attention_mask, torch.finfo(q.dtype).min)
        weights = scores.float().softmax(dim=-1).to(v.dtype)
        return self.out_proj(join_heads(torch.matmul(weights, v))), None


def slopes(heads: int, most: int, device: torch.device | None = None) -> Tensor:
    """Slope of each head `(heads,)`: 2^-(most / n), 2^-(2 most / n), ..., n being `heads` made a power of two."""
    power = 2 ** math.ceil(math.log2(heads))
    base = torch.arange(1, power + 1, device=device).float() * (most / power)
    found = 1.0 / torch.pow(2, base)
    return found if power == heads else torch.cat([found[1::2], found[::2]])[:heads]


def settings_of(config: MptConfig) -> MptAttentionConfig:
    """Settings of attention; the library fills them in, whatever it is given."""
    assert isinstance(config.attn_config, MptAttentionConfig)
    return config.attn_config


def give_attention(body: MptModel) -> None:
    """Put attention that counts positions into a body whose weights are not loaded yet."""
    for number, block in enumerate(body.blocks):
        block.attn = BiasedAttention(body.config, number)


def run(body: MptModel, x: Tensor, mask: Tensor | None, positions: Tensor | None, cache: Cache | None) -> Tensor:
    """Last hidden states `(batch, tokens, width)` of embeddings `x`, likewise.

    Args:
        body: as `give_attention` left it.
        x: embeddings.
        mask: what may be seen, `(batch, 1, tokens, keys)` or `(batch, keys)`; None for all that came before.
        positions: of the tokens `(batch, tokens)`; None for 0, 1, ...
        cache: earlier keys and values.

    Raises:
        ValueError: a mask a token together with a cache, whose positions are not known.
    """
    past = cache.get_seq_length() if cache is not None else 0
    place = torch.arange(past + x.shape[1], device=x.device)
    if mask is not None and mask.dim() == 4:
        if cache is not None:
            raise ValueError("MPT with a cache takes a mask of keys (batch, keys): a cache keeps no positions")
        hidden = ~mask
    else:
        seen = (place <= place[past:].unsqueeze(1)).unsqueeze(0)
        hidden = ~(seen if mask is None else seen & mask.bool().unsqueeze(1)).unsqueeze(1)
    # With a cache, places stand in for positions: behind left padding they differ by one amount in a row.
    where = positions if positions is not None and cache is None else place.unsqueeze(0)
    slope = slopes(body.config.n_heads, settings_of(body.config).alibi_bias_max, x.device)
    bias = slope.view(1, -1, 1, 1) * (where - where.amax(dim=1, keepdim=True)).unsqueeze(1).unsqueeze(1)
    for block in body.blocks:
        x = block(x, position_bias=bias, attention_mask=hidden, layer_past=cache)[0]
    last: Tensor = body.norm_f(x)
    return last
