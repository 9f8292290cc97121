"""MMSSL's critic: does a row of scores of items come from a modality, or from what a user bought?

Wasserstein with a gradient penalty (Gulrajani et al. 2017), which is of each row by itself: so rows are normalised one
by one, as that paper asks, where the authors' code normalises the batch (and, as real and fake rows come in batches of
their own, takes the difference of their means away). Shapes: rows R, columns c (items that the critic looks at).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its name everywhere)

_SCALE = 100.0  # of the critic's output, and of predicted scores in a real row
_PENALTY = 0.3
_NOISE = 1e-5  # scale of the Gumbel noise in a real row
_SHARP = 0.005  # its temperature
_SLOPE = 0.2  # of the leaky rectifier


class Critic(nn.Module):
    """100 sigma of c -> c / 4 -> c / 8 -> 1."""

    def __init__(self, columns: int, dropout: tuple[float, float] = (0.31, 0.5)) -> None:
        super().__init__()
        sizes = columns, max(1, columns // 4), max(1, columns // 8)
        layers: list[nn.Module] = []
        for (before, after), share in zip(pairwise(sizes), dropout, strict=True):
            layers += [nn.Linear(before, after), nn.LeakyReLU(_SLOPE), nn.LayerNorm(after), nn.Dropout(share)]
        last = nn.Linear(sizes[-1], 1)
        self.net = nn.Sequential(*layers, last)
        for layer in self.net:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight)
                nn.init.zeros_(layer.bias)
        nn.init.normal_(last.weight, std=1 / _SCALE)  # else the first hundreds of steps only flatten its slope

    def forward(self, rows: Tensor) -> Tensor:
        """How real rows `(R, c)` look: `(R,)`, from 0 to 100."""
        out: Tensor = _SCALE * torch.sigmoid(self.net(rows)).squeeze(-1)
        return out

    def loss(self, fake: Tensor, real: Tensor) -> Tensor:
        """Mean D(fake) - mean D(real) + 0.3 E(|grad D| - 1)^2, the last at random places between rows `(R, c)`."""
        share = torch.rand(len(real), 1, device=real.device)
        between = (share * real + (1 - share) * fake).requires_grad_()
        (slope,) = torch.autograd.grad(self(between).sum(), between, create_graph=True)
        penalty = (slope.norm(dim=1) - 1).square().mean()
        loss: Tensor = self(fake).mean() - self(real).mean() + _PENALTY * penalty
        return loss


def fake_rows(users: Tensor, items: Tensor, bought: Tensor) -> Tensor:
    """Scores `(R, c)` of what was not bought, each row of length 1.

    Args:
        users: `(R, d)`.
        items: `(c, d)`.
        bought: 1 where a user has bought an item, else 0, `(R, c)`.
    """
    return F.normalize(users @ items.T * (1 - bought), dim=1)


def real_rows(bought: Tensor, predicted: Tensor) -> Tensor:
    """Softened purchases with predicted scores beside them, each row of length 1.

    Args:
        bought: 1 where a user has bought an item, else 0, `(R, c)`.
        predicted: `fake_rows` of the model's own scores.
    """
    noise = -torch.log(-torch.log(torch.rand_like(bought).clamp(1e-8, 1 - 1e-7)))
    soft = F.softmax((bought + _NOISE * noise) / _SHARP, dim=1)
    return F.normalize(soft + _SCALE * predicted, dim=1)
