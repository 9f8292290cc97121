"""Contrastive losses: two views of one thing alike, those of different things unlike. Rows R, width d."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (its name everywhere)


def info_nce(a: Tensor, b: Tensor, temperature: float, wrong: Tensor | None = None) -> Tensor:
    """-mean_r log[ e^(a_r . b_r / tau) / (sum_s e^(a_r . b_s / tau) + sum_s e^(a_r . w_s / tau)) ].

    Args:
        a: unit vectors `(rows, d)`.
        b: the same things in another view `(rows, d)`.
        temperature: tau.
        wrong: further negatives w of every row `(any, d)`.
    """
    against = b if wrong is None else torch.cat([b, wrong])
    return F.cross_entropy(a @ against.T / temperature, torch.arange(len(a), device=a.device))


def contrasted(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """-mean_r log[ f(a_r, b_r) / (sum_s f(a_r, b_s) + sum_{s != r} f(a_r, a_s)) ], f = e^(cosine / tau).

    Args:
        a: `(rows, d)`.
        b: the same things seen otherwise `(rows, d)`.
        temperature: tau.
    """
    a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
    own = (a @ a.T).masked_fill(torch.eye(len(a), dtype=torch.bool, device=a.device), -torch.inf)
    return F.cross_entropy(torch.cat([a @ b.T, own], 1) / temperature, torch.arange(len(a), device=a.device))


def first_places(values: Tensor) -> tuple[Tensor, Tensor]:
    """The different values `(k,)`, ascending, and where each stands first `(k,)`."""
    different, which = torch.unique(values, return_inverse=True)
    places = torch.arange(len(values), device=values.device)
    first = torch.full_like(different, len(values)).scatter_reduce_(0, which, places, "amin")
    return different, first
