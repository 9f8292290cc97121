"""The network of SANCL (Han et al. 2022), with a user's profile in the place of a review; see `sancl`.

Shapes: batch B, tokens of an item P and of a profile L, entries with pictures N, width d, common spaces of 64.
Left is the item, right the profile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its name everywhere)

from unimp_baselines.sancl_profiles import WORDS, Batch

_KERNELS = (1, 3, 5)
_SPACE = 64
_TEMPERATURE = 0.1


@dataclass(frozen=True)
class Shape:
    """Sizes of the network: words of the vocabulary, numbers of a picture's features, and its own."""

    words: int
    picture: int
    width: int
    layers: int
    heads: int
    dropout: float


@dataclass(frozen=True)
class Views:
    """Vectors `(B, 64)` of item and profile in two common spaces: `cm` of text and picture, `rp` of left and right."""

    left_text_cm: Tensor
    left_text_rp: Tensor
    right_text_cm: Tensor
    right_text_rp: Tensor
    left_picture_cm: Tensor
    left_picture_rp: Tensor
    right_picture_cm: Tensor
    right_picture_rp: Tensor

    def joined(self) -> Tensor:
        """All of them `(B, 512)`."""
        return torch.cat(list(vars(self).values()), dim=1)


def masked_softmax(scores: Tensor, real: Tensor, dim: int) -> Tensor:
    """Softmax over what is real; zeros where nothing is."""
    return scores.masked_fill(~real, -1e9).softmax(dim) * real


def mean_of(states: Tensor, weights: Tensor) -> Tensor:
    """Weighted means `(B, d)` of states `(B, n, d)`; zeros where all weights `(B, n)` are."""
    return (states * weights[..., None]).sum(1) / weights.sum(1, keepdim=True).clamp(min=1e-6)


def probe(left: Tensor, right: Tensor) -> Tensor:
    """The probe mask `(B, L)`: 1 for a profile's words that the item's text has too, 0.5 for others, 0 for padding."""
    shared = (right[:, :, None] == left[:, None]).any(2) & (right >= WORDS)
    return torch.where(shared, 1.0, 0.5) * (right > 0)


def contrast(a: Tensor, b: Tensor, positive: Tensor, same: Tensor) -> Tensor:
    """InfoNCE by cosines of vectors `(B, s)`: each positive row's `a` against its own `b` among the batch's.

    `same` `(B, B)` are pairs that are no negatives; 0 where no row `(B,)` is positive.
    """
    scores = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / _TEMPERATURE
    own = torch.eye(len(a), dtype=torch.bool, device=a.device)
    lost = -scores.masked_fill(same & ~own, -1e9).log_softmax(1).diagonal()
    return (lost * positive).sum() / positive.sum().clamp(min=1)


class ProductAware(nn.Module):
    """Adds to each state of a profile what of the item it calls: A = softmax_P(relu(P W + b) R^T), r = A^T P + R."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.map = nn.Linear(width, width)

    def forward(self, right: Tensor, left: Tensor, real: Tensor) -> Tensor:
        """States `(B, L, d)` from right `(B, L, d)` and left `(B, P, d)`, of which `(B, P)` are real."""
        scores = F.relu(self.map(left)) @ right.transpose(1, 2)  # (B, P, L)
        return masked_softmax(scores, real[..., None], 1).transpose(1, 2) @ left + right


class Space(nn.Module):
    """A map of text or pictures into a common space."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, _SPACE), nn.Tanh(), nn.Linear(_SPACE, _SPACE), nn.Tanh())

    def forward(self, pooled: Tensor) -> Tensor:
        """Vectors `(B, 64)`."""
        return cast(Tensor, self.layers(pooled))


class SANCL(nn.Module):
    """Selective attention between an item and a profile, and a rating from where both fall."""

    mean: Tensor
    centre: Tensor
    scale: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.words = nn.Embedding(shape.words + WORDS, width, padding_idx=0)
        self.convolutions = nn.ModuleList(nn.Conv1d(width, width, k, padding=k // 2) for k in _KERNELS)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.text_aware, self.picture_aware = ProductAware(width), ProductAware(width)
        self.look = nn.Linear(shape.picture, width)
        self.beginning = nn.Parameter(torch.zeros(width))  # stands before pictures, so that there is always one
        layer = nn.TransformerEncoderLayer(width, shape.heads, 4 * width, shape.dropout, batch_first=True)
        self.seeing = nn.TransformerEncoder(layer, shape.layers, enable_nested_tensor=False)
        self.text_cm, self.text_rp, self.picture_cm, self.picture_rp = (Space(width) for _ in range(4))
        self.rate = nn.Sequential(
            nn.Dropout(shape.dropout), nn.Linear(8 * _SPACE, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU()
        )
        self.last = nn.Linear(64, 1)
        self.dropout = nn.Dropout(shape.dropout)
        self.register_buffer("mean", torch.zeros(()))  # of train ratings
        self.register_buffer("centre", torch.zeros(shape.picture))  # of features, and the size of what is left of them
        self.register_buffer("scale", torch.ones(()))
        nn.init.normal_(self.words.weight, std=width**-0.5)
        with torch.no_grad():
            self.words.weight[0] = 0

    def _read(self, tokens: Tensor) -> Tensor:
        """States `(B, n, d)` of tokens `(B, n)`, zeros for padding: the mean over kernels of convolutions."""
        vectors = self.dropout(self.words(tokens)).transpose(1, 2)
        found = torch.stack([F.relu(layer(vectors)) for layer in self.convolutions]).mean(0)
        return found.transpose(1, 2) * (tokens > 0)[..., None]

    def _selected(self, states: Tensor, weights: Tensor) -> Tensor:
        """Self-attention of a profile, by the probe mask: A = softmax(Q K^T) * (m m^T), r = A R + R."""
        scores = self.query(states) @ self.key(states).transpose(1, 2) / states.shape[2] ** 0.5
        attention = masked_softmax(scores, (weights > 0)[:, None], 2) * weights[:, :, None] * weights[:, None]
        return attention @ states + states

    def _saw(self, pictures: Tensor, stars: Tensor | None) -> tuple[Tensor, Tensor]:
        """States `(B, N + 1, d)` of pictures with their ratings, behind a beginning, and which are real."""
        blank = (pictures == 0).all(-1, keepdim=True)
        states = self.look(((pictures - self.centre) / self.scale).masked_fill(blank, 0))
        there = torch.ones_like(states[..., 0], dtype=torch.bool)
        if stars is not None:
            states, there = states + self.words(stars), stars > 0
        states = torch.cat([self.beginning.expand(len(states), 1, -1), states], dim=1)
        real = torch.cat([torch.ones_like(there[:, :1]), there], dim=1)
        return self.seeing(states, src_key_padding_mask=~real), real

    def views(self, batch: Batch) -> Views:
        """Both sides in the common spaces."""
        left, right = self._read(batch.left), self._read(batch.right)
        weights = probe(batch.left, batch.right)
        right = self.text_aware(self._selected(right, weights), left, batch.left > 0)
        shown, is_shown = self._saw(batch.left_picture[:, None], None)
        past, is_past = self._saw(batch.right_pictures, batch.stars)
        past = self.picture_aware(past, shown, is_shown)
        text = mean_of(left, (batch.left > 0).float()), mean_of(right, weights)
        picture = mean_of(shown, is_shown.float()), mean_of(past, is_past.float())
        return Views(
            *(space(side) for side in text for space in (self.text_cm, self.text_rp)),
            *(space(side) for side in picture for space in (self.picture_cm, self.picture_rp)),
        )

    def rated(self, views: Views) -> Tensor:
        """Ratings `(B,)`, not cut to the scale."""
        return cast(Tensor, self.mean + self.last(self.rate(views.joined()))[:, 0])

    def ratings(self, batch: Batch) -> Tensor:
        """Ratings `(B,)`, not cut to the scale."""
        return self.rated(self.views(batch))

    def loss(self, batch: Batch, ratings: Tensor, liked: float, alpha: float) -> Tensor:
        """Mean squared error, and `alpha` times the contrasts with rows rated `liked` or better as positives.

        In `cm` an item's text and picture belong together, and a profile's; in `rp` an item and a profile do.
        """
        views = self.views(batch)
        positive = (ratings >= liked).float()
        same_item = batch.items[:, None] == batch.items
        same_user = batch.users[:, None] == batch.users
        either = same_item | same_user
        parts = (
            contrast(views.left_text_cm, views.left_picture_cm, positive, same_item),
            contrast(views.right_text_cm, views.right_picture_cm, positive, same_user),
            contrast(views.right_text_rp, views.left_text_rp, positive, either),
            contrast(views.right_picture_rp, views.left_picture_rp, positive, either),
        )
        return F.mse_loss(self.rated(views), ratings) + alpha * torch.stack(parts).mean()
