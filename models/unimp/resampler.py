"""The Perceiver resampler of Flamingo (Alayrac et al. 2022): any number of patch tokens to a few latents.

    q = W_q LN(latents);  k, v = W_kv [LN(x) ; LN(latents)]
    latents += W_o softmax(q k^T / sqrt(head width)) v
    latents += FF(latents)

after the last layer a LayerNorm. Each picture is resampled on its own. No biases in the projections, as in
OpenFlamingo.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unimp.attention import attend


def feed_forward(width: int, times: int) -> nn.Sequential:
    """LayerNorm, widen, GELU, narrow; no biases."""
    inner = width * times
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, inner, bias=False), nn.GELU(), nn.Linear(inner, width, bias=False)
    )


def split_heads(x: Tensor, heads: int) -> Tensor:
    """`(n, tokens, heads * head width)` to `(n, heads, tokens, head width)`."""
    return x.view(*x.shape[:-1], heads, x.shape[-1] // heads).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """The inverse of `split_heads`."""
    return x.transpose(1, 2).flatten(-2)


class ResamplerLayer(nn.Module):
    """One round: latents look at the picture and at themselves."""

    def __init__(self, width: int, heads: int, head_width: int, times: int) -> None:
        super().__init__()
        inner = heads * head_width
        self.heads = heads
        self.norm_media = nn.LayerNorm(width)
        self.norm_latents = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)
        self.feed = feed_forward(width, times)

    def forward(self, media: Tensor, latents: Tensor) -> Tensor:
        """Latents `(pictures, latents, width)` after looking at `media` `(pictures, patches, width)`."""
        own = self.norm_latents(latents)
        q = split_heads(self.to_q(own), self.heads)
        k, v = self.to_kv(torch.cat([self.norm_media(media), own], dim=1)).chunk(2, dim=-1)
        seen = attend(q, split_heads(k, self.heads), split_heads(v, self.heads))
        latents = latents + self.to_out(join_heads(seen))
        fed: Tensor = latents + self.feed(latents)
        return fed


class Resampler(nn.Module):
    """Patch tokens `(pictures, patches, width)` to `(pictures, latents, width)`.

    Args:
        width: width of patch tokens and latents.
        latents: how many latents a picture gets.
        layers, heads, head_width: depth, heads and their width.
        times: width of the feed-forward part relative to `width`.
    """

    def __init__(self, width: int, latents: int, layers: int, heads: int, head_width: int, times: int) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(latents, width))
        self.layers = nn.ModuleList(ResamplerLayer(width, heads, head_width, times) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, media: Tensor) -> Tensor:
        """Latents `(pictures, latents, width)`; no picture gives an empty tensor."""
        latents = self.latents.unsqueeze(0).expand(len(media), -1, -1)
        for layer in self.layers:
            latents = layer(media, latents)
        normed: Tensor = self.norm(latents)
        return normed
