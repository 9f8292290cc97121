"""How pictures reach the text: UniMP's gated cross-attention and the variants of the paper's Tables 3 and 8.

    x += tanh(a) Attention(LN(x), latents);  x += tanh(b) FF(x)

stands before chosen layers of the body (Alayrac et al. 2022; eq. 3 and 4 of UniMP, whose product with a 0/1 mask is
meant as masked scores of minus infinity). Gates that start at 0 let no gradient into the block, so without a checkpoint
they start at `gate`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from unimp.attention import attend
from unimp.config import UnimpConfig
from unimp.resampler import feed_forward, join_heads, split_heads
from unimp.routes import Routes


@dataclass
class Media:
    """What the tokens of one forward pass may see.

    `latents` `(pictures, latents, width)`; `slots` `(batch, tokens)`: the picture that a token sees under the exclusive
    mask, -1 for none; `routes` are its groups. `visible` `(batch, tokens, pictures)` replaces them where some see
    several. `keys` keeps each block's keys and values while text is generated.
    """

    latents: Tensor
    slots: Tensor
    routes: Routes | None = None
    visible: Tensor | None = None
    keys: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)


class GatedCrossAttention(nn.Module):
    """One gated block.

    Args:
        width: width of the text.
        media_width: width of the latents.
        heads, head_width: heads and their width.
        times: width of the feed-forward part relative to `width`.
        gate: value of tanh's argument for both gates at the start.
    """

    def __init__(self, width: int, media_width: int, heads: int, head_width: int, times: int, gate: float) -> None:
        super().__init__()
        inner = heads * head_width
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(media_width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)
        self.feed = feed_forward(width, times)
        self.gate_attention = nn.Parameter(torch.tensor([float(gate)]))
        self.gate_feed = nn.Parameter(torch.tensor([float(gate)]))

    def forward(self, x: Tensor, media: Media) -> Tensor:
        """`x` `(batch, tokens, width)` having looked at its pictures."""
        x = x + self.gate_attention.tanh() * self._look(x, media)
        fed: Tensor = x + self.gate_feed.tanh() * self.feed(x)
        return fed

    def _keys(self, media: Media) -> tuple[Tensor, Tensor]:
        """Keys and values `(pictures, heads, latents, head width)`."""
        if id(self) not in media.keys:
            k, v = self.to_kv(media.latents).chunk(2, dim=-1)
            pair = split_heads(k, self.heads), split_heads(v, self.heads)
            if torch.is_grad_enabled():
                return pair
            media.keys[id(self)] = pair
        return media.keys[id(self)]

    def _look(self, x: Tensor, media: Media) -> Tensor:
        if not len(media.latents):
            return torch.zeros_like(x)
        k, v = self._keys(media)
        if media.visible is not None:
            return self._look_at_all(x, k, v, media.visible)
        routes = media.routes if media.routes is not None else Routes.of(media.slots)
        # Heads are narrower than the text (512 of 2560 in the paper): they are what is moved into groups and back.
        q = split_heads(routes.gather(self.to_q(self.norm(x))), self.heads)
        seen = attend(q, k.index_select(0, routes.picture), v.index_select(0, routes.picture))
        looked: Tensor = self.to_out(routes.scatter(join_heads(seen), x))
        return looked

    def _look_at_all(self, x: Tensor, k: Tensor, v: Tensor, visible: Tensor) -> Tensor:
        """Attention to every visible picture; tokens that may see none get zeros, not an average of all."""
        count, latents = k.shape[0], k.shape[2]
        q = split_heads(self.to_q(self.norm(x)), self.heads)
        k, v = (t.transpose(0, 1).flatten(1, 2).unsqueeze(0).expand(len(x), -1, -1, -1) for t in (k, v))
        some = visible.any(-1, keepdim=True)
        mask = (visible | ~some).unsqueeze(-1).expand(-1, -1, count, latents).flatten(2).unsqueeze(1)
        seen = attend(q, k, v, mask=mask)
        return torch.where(some, self.to_out(join_heads(seen)), 0.0)


class Projection(nn.Module):
    """The ablations' one linear map from latents to the text's width, used once: at the input or at the end."""

    def __init__(self, config: UnimpConfig) -> None:
        super().__init__()
        self.project = nn.Linear(config.vision_width, config.width, bias=False)
        self.kind = config.fusion

    def forward(self, x: Tensor, media: Media, which: Tensor) -> Tensor:
        """`x` `(batch, tokens, width)` with visual vectors added.

        `which` `(batch, tokens)` is -1 except at `<image>` positions, where it counts 0, 1, ... within one picture.
        """
        if not len(media.latents):
            return x
        slot = media.slots.clamp(min=0)
        seen = media.slots >= 0
        if self.kind == "early":
            seen = seen & (which >= 0)
            vectors = media.latents[slot, which.clamp(min=0, max=media.latents.shape[1] - 1)]
        else:
            seen = seen & (which >= 0) if self.kind == "pooled" else seen
            vectors = media.latents.mean(1)[slot]
        return x + torch.where(seen.unsqueeze(-1), self.project(vectors), 0.0)


def block_layers(layers: int, every: int) -> list[int]:
    """Layers of the body that a gated block stands before: every n-th, counted from 1."""
    return [layer for layer in range(layers) if (layer + 1) % every == 0]
