"""RTM's network: reviews as means of words, a transformer over query and reviews, and its reviews' own loss.

Shapes: batch B, candidates C, tokens S = 1 + user reviews + item reviews, words of a review T, width d.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its name everywhere)

from unimp_baselines.search_net import nce

QUERY, USER, ITEM = 0, 1, 2  # segments


@dataclass(frozen=True)
class Shape:
    """Sizes of a network."""

    words: int
    width: int
    layers: int
    heads: int
    dropout: float
    tokens: int  # S at most


class Layer(nn.Module):
    """Attention, then a feed-forward layer four times as wide; each normalises its input and adds to it."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, self.dropout, width = shape.heads, shape.dropout, shape.width
        self.norm_attention, self.norm_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.kv, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop = nn.Dropout(shape.dropout)

    def forward(self, x: Tensor, real: Tensor, kept: int) -> Tensor:
        """States `(rows, kept, d)` of the first tokens of `(rows, S, d)`; `real` `(rows, S)` is false at padding."""
        rows, length, width = x.shape
        apart = (self.heads, width // self.heads)
        normed = self.norm_attention(x)
        q = self.q(normed[:, :kept]).view(rows, kept, *apart).transpose(1, 2)
        k, v = self.kv(normed).view(rows, length, 2, *apart).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        # The query's token is always real, so that no softmax is over nothing.
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=real[:, None, None, :], dropout_p=dropout)
        x = x[:, :kept] + self.drop(self.out(seen.transpose(1, 2).reshape(rows, kept, width)))
        result: Tensor = x + self.drop(self.feed(self.norm_feed(x)))
        return result


def places(tokens: int, width: int) -> Tensor:
    """Sinusoidal positions `(tokens, width)` (Vaswani et al. 2017, section 3.5)."""
    angle = torch.arange(tokens)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    return torch.stack([angle.sin(), angle.cos()], 2).view(tokens, -1)[:, :width]


class RTM(nn.Module):
    """Bi et al. 2021: score(u, q, i) = w . Transformer([q; user's reviews; item's reviews])[query] + b."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.words = nn.Embedding(shape.words + 1, shape.width, padding_idx=0)
        self.context = nn.Embedding(shape.words + 1, shape.width, padding_idx=0)  # words as the reviews' loss has them
        self.word_bias = nn.Parameter(torch.zeros(shape.words + 1))
        self.query = nn.Linear(shape.width, shape.width)
        self.segments = nn.Embedding(3, shape.width)
        self.register_buffer("places", places(shape.tokens, shape.width), persistent=False)
        self.drop = nn.Dropout(shape.dropout)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm, self.score = nn.LayerNorm(shape.width), nn.Linear(shape.width, 1)
        for table in (self.words, self.context, self.segments):
            nn.init.normal_(table.weight, std=shape.width**-0.5)
        with torch.no_grad():
            self.words.weight[0] = self.context.weight[0] = 0

    def mean(self, words: Tensor, share: Tensor | None = None) -> Tensor:
        """Mean word vectors `(rows, d)` of `(rows, T)`; `share` `(rows, T)` weighs each word."""
        weight = (words != 0).to(self.word_bias.dtype)
        weight = weight / weight.sum(1, keepdim=True).clamp(min=1)
        weight = weight if share is None else weight * share
        # A bag adds up in place: with plain look-ups, a batch's words would take rows x T x d numbers.
        return F.embedding_bag(words, self.words.weight, mode="sum", per_sample_weights=weight, padding_idx=0)

    def asked(self, queries: Tensor) -> Tensor:
        """Query vectors q = tanh(W mean(w) + b), `(B, d)`."""
        return torch.tanh(self.query(self.mean(queries)))

    def forward(self, asked: Tensor, users: Tensor, user_real: Tensor, items: Tensor, item_real: Tensor) -> Tensor:
        """Scores `(B, C)`.

        Args:
            asked: query vectors `(B, d)`.
            users: vectors of the user's reviews `(B, U, d)`.
            user_real: which of them are there `(B, U)`.
            items: vectors of the candidates' reviews `(B, C, I, d)`.
            item_real: which of them are there `(B, C, I)`.
        """
        batch, candidates, held, width = items.shape
        before = torch.cat([asked[:, None], users], 1)
        before = before[:, None].expand(-1, candidates, -1, -1)
        x = torch.cat([before, items], 2).reshape(batch * candidates, -1, width)
        there = torch.cat([torch.ones_like(user_real[:, :1]), user_real], 1)[:, None].expand(-1, candidates, -1)
        real = torch.cat([there, item_real], 2).reshape(batch * candidates, -1)
        kind = torch.tensor([QUERY, *[USER] * users.shape[1], *[ITEM] * held], device=x.device)
        x = self.drop(x + self.segments(kind) + self.places[: x.shape[1]])  # type: ignore[index]
        for depth, layer in enumerate(self.layers):
            # Nothing but the query's state is looked at in the end.
            x = layer(x, real, 1 if depth == len(self.layers) - 1 else x.shape[1])
        result: Tensor = self.score(self.norm(x[:, 0])).view(batch, candidates)
        return result

    def review_loss(self, reviews: Tensor, kept: Tensor, words: Tensor, wrong: Tensor) -> Tensor:
        """Paragraph vectors with corruption (Chen 2017): NCE(corrupted mean -> word).

        Args:
            reviews: words `(B, T)`.
            kept: which words are not dropped `(B, T)`; the rest is weighed up by the share of those kept.
            words: words to predict `(B, W)`.
            wrong: negatives `(B, W, K)`.
        """
        real = reviews != 0
        share = real.sum(1, keepdim=True) / (kept & real).sum(1, keepdim=True).clamp(min=1)
        right, bias = self.context(words), self.word_bias
        return nce(self.mean(reviews, kept * share), right, bias[words], self.context(wrong), bias[wrong], words != 0)
