"""The network of MRG (Truong & Lauw 2019): a rating and a sentence of one user about one item with a picture.

Shapes: batch B, factors F, regions of a picture R, steps T (a sentence's words and its end), words W, state C, V words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its name everywhere)

from unimp_baselines.mrg_words import END, LEFT_OUT

SIDE, CELLS = 64, 16  # pixels of a thumbnail's side, regions of its map


@dataclass(frozen=True)
class Shape:
    """Sizes of the network; `picture` is the width of a picture's features, 0 for thumbnails."""

    users: int
    items: int
    vocabulary: int
    factors: int
    words: int
    state: int
    dropout: float
    picture: int


class Thumbnail(nn.Module):
    """Two convolutions from a thumbnail to a map of 4 x 4 regions, each of 16 x 16 pixels that no other sees."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.near = nn.Conv2d(3, 32, 4, stride=4)
        self.far = nn.Conv2d(32, width, 4, stride=4)

    def forward(self, pixels: Tensor) -> Tensor:
        """Regions `(B, 16, width)` of thumbnails `(B, 3, 64, 64)` with values from 0 to 255."""
        cells = self.far(F.relu(self.near(pixels.float() / 127.5 - 1)))
        return cast(Tensor, cells.flatten(2).transpose(1, 2))


class Whole(nn.Module):
    """One region: a linear map of a picture's feature vector."""

    def __init__(self, picture: int, width: int) -> None:
        super().__init__()
        self.map = nn.Linear(picture, width)

    def forward(self, features: Tensor) -> Tensor:
        """Regions `(B, 1, width)` of features `(B, picture)`."""
        return cast(Tensor, self.map(features)[:, None])


@dataclass(frozen=True)
class Batch:
    """Who, `(B,)`, about what, `(B,)`, as numbers from 1 (0: unknown); pictures, and which are there, `(B,)`."""

    users: Tensor
    items: Tensor
    pictures: Tensor
    present: Tensor

    def some(self, rows: Tensor) -> Batch:
        """Some of the rows."""
        return Batch(self.users[rows], self.items[rows], self.pictures[rows], self.present[rows])


@dataclass(frozen=True)
class Scene:
    """What a sentence is about: sentiment s `(B, 2F)`, regions V and V' `(B, R, 2F)`, first state and cell `(B, C)`."""

    sentiment: Tensor
    regions: Tensor
    keys: Tensor
    state: tuple[Tensor, Tensor]


class MRG(nn.Module):
    """See `mrg` for the equations, whose letters stand beside the layers."""

    mean: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        wide, both, state, words = 2 * shape.factors, 2 * shape.factors, shape.state, shape.words
        self.start = shape.vocabulary + 1  # what is read before the first word
        self.users = nn.Embedding(shape.users + 1, shape.factors, padding_idx=0)
        self.items = nn.Embedding(shape.items + 1, shape.factors, padding_idx=0)
        self.words = nn.Embedding(shape.vocabulary + 2, words)
        self.feature = nn.Linear(both, wide)  # W_1, b_1
        self.rate = nn.Linear(wide, 1)  # w_r, b_r
        self.sentiment_norm = nn.BatchNorm1d(wide)
        self.look = Whole(shape.picture, wide) if shape.picture else Thumbnail(wide)
        self.region_norm = nn.BatchNorm1d(wide)
        self.key = nn.Linear(wide, wide, bias=False)  # W_v
        self.first_state = nn.Linear(both, state)  # W_h, b_h
        self.first_cell = nn.Linear(both, state)  # W_c, b_c
        self.ask = nn.Linear(state, wide)  # W_s, b
        self.weigh = nn.Linear(wide, 1)  # w_a, b_a
        self.gate = nn.Linear(words + state, 1)  # [w_x ; w_h], b
        self.cell = nn.LSTMCell(words + wide, state)
        self.hidden = nn.Linear(state + wide, words)  # [W_ho ; W_g], b
        self.out = nn.Linear(words, shape.vocabulary + 1)  # W_o, b_o
        self.dropout = nn.Dropout(shape.dropout)
        self.register_buffer("mean", torch.zeros(()))  # mu
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=0.1)
            with torch.no_grad():
                table.weight[0] = 0

    def _pair(self, batch: Batch) -> Tensor:
        """[u ; v] `(B, 2F)`."""
        return torch.cat([self.users(batch.users), self.items(batch.items)], dim=1)

    def ratings(self, batch: Batch) -> Tensor:
        """Ratings `(B,)`, not cut to the scale."""
        z = torch.tanh(self.feature(self._pair(batch)))
        return cast(Tensor, self.mean + self.rate(z)[:, 0])

    def scene(self, batch: Batch) -> Scene:
        """What sentences start from and look at; an absent picture has regions of zeros."""
        pair = self._pair(batch)
        normal = self._normal(self.look(batch.pictures), batch.present)
        first = torch.tanh(self.first_state(pair)), torch.tanh(self.first_cell(pair))
        return Scene(self.sentiment_norm(torch.tanh(self.feature(pair))), normal, self.key(normal), first)

    def _normal(self, regions: Tensor, present: Tensor) -> Tensor:
        """Regions `(B, R, 2F)` after batch normalisation, zeros and of no account to it where no picture is there."""
        there, norm = regions[present].flatten(0, 1), self.region_norm
        learns = self.training and len(there) > 1  # one row has no statistics
        fixed = norm.running_mean, norm.running_var, norm.weight, norm.bias
        there = norm(there) if learns else F.batch_norm(there, *fixed, eps=norm.eps)
        normal = torch.zeros_like(regions)
        normal[present] = there.view(-1, *regions.shape[1:])
        return normal

    def step(self, scene: Scene, read: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One word on: logits `(B, V + 1)` of what is written, `END` and words, and the next state.

        Args:
            scene: what it is about.
            read: the word before, `(B,)`.
            state: h and c, `(B, C)` each.
        """
        x, h = self.words(read), state[0]
        energy = self.weigh(torch.tanh(scene.keys + self.ask(h)[:, None]))  # (B, R, 1)
        seen = (energy.softmax(dim=1) * scene.regions).sum(1)
        beta = torch.sigmoid(self.gate(torch.cat([x, h], dim=1)))
        fused = beta * scene.sentiment + (1 - beta) * seen
        h, c = self.cell(torch.cat([x, fused], dim=1), state)
        hidden = torch.tanh(self.hidden(torch.cat([self.dropout(h), fused], dim=1)) + x)
        return self.out(self.dropout(hidden)), (h, c)

    def rating_loss(self, batch: Batch, ratings: Tensor) -> Tensor:
        """Mean squared error."""
        return F.mse_loss(self.ratings(batch), ratings)

    def logits(self, batch: Batch, read: Tensor) -> Tensor:
        """Logits `(B, T, V + 1)` after each of the words read `(B, T)`."""
        scene, found = self.scene(batch), []
        state = scene.state
        for words in read.unbind(1):
            said, state = self.step(scene, words, state)
            found.append(said)
        return torch.stack(found, dim=1)

    def text_loss(self, batch: Batch, read: Tensor, written: Tensor) -> Tensor:
        """Sum of the cross-entropies of all that is to be written `(B, T)`."""
        logits = self.logits(batch, read).flatten(0, 1)
        return F.cross_entropy(logits, written.flatten(), ignore_index=LEFT_OUT, reduction="sum")

    @torch.no_grad()
    def sentences(self, batch: Batch, most: int) -> Tensor:
        """The likeliest word at each step, `(B, most)`, `END` from the end on; the first is a word."""
        scene = self.scene(batch)
        state, read = scene.state, torch.full_like(batch.users, self.start)
        going, said = torch.ones_like(batch.users, dtype=torch.bool), []
        for place in range(most):
            logits, state = self.step(scene, read, state)
            if place == 0:
                logits[:, END] = -torch.inf
            read = torch.where(going, logits.argmax(1), END)
            said.append(read)
            going = going & (read != END)
        return torch.stack(said, dim=1)
