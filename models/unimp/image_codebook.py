"""The codebook of the image tokenizer: started by k-means, moved by running means, dead codes given new work.

    n vectors, k codes, w width of a code

The vectors that recently fell to a code, averaged, are the code (van den Oord et al. 2017, appendix A.1), so that the
codebook needs no gradient and no learning rate of its own.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

DECAY = 0.95  # of the running means, per step
_DEAD = 0.02  # a code with less than this share of an even load is dead
_NEWBORN = 0.5  # load a revived code starts with, as a share of an even one: a few steps to find work


def nearest(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Place `(n,)` of the code closest to each vector `(n, w)` in a codebook `(k, w)`; the first of equals."""
    # |v - c|^2 less |v|^2, which is the same for all codes.
    return (codebook.square().sum(1) - 2 * vectors @ codebook.T).argmin(1)


def kmeans(vectors: Tensor, codes: int, generator: torch.Generator, rounds: int = 15) -> Tensor:
    """Centres `(codes, w)` of vectors `(n, w)`: seeds far apart (k-means++, Arthur and Vassilvitskii 2007), then Lloyd.

    Fewer distinct vectors than codes leave some centres equal.
    """
    first = torch.randint(len(vectors), (1,), generator=generator)
    centres = [vectors[first]]
    distance = (vectors - centres[0]).square().sum(1)
    for _ in range(codes - 1):
        chosen = torch.multinomial(distance.clamp_min(1e-12), 1, generator=generator)
        centres.append(vectors[chosen])
        distance = torch.minimum(distance, (vectors - vectors[chosen]).square().sum(1))
    centre = torch.cat(centres)
    for _ in range(rounds):
        place = nearest(vectors, centre)
        load, total = _loads(vectors, place, codes)
        centre = torch.where(load[:, None] > 0, total / load.clamp_min(1)[:, None], centre)
    return centre


def _loads(vectors: Tensor, place: Tensor, codes: int) -> tuple[Tensor, Tensor]:
    """How many vectors each code has `(k,)`, and their sum `(k, w)`."""
    load = torch.bincount(place, minlength=codes).to(vectors.dtype)
    return load, torch.zeros(codes, vectors.shape[1], dtype=vectors.dtype).index_add_(0, place, vectors)


def usage(codes: Tensor, size: int) -> tuple[float, float]:
    """Share of a codebook of `size` that occurs in `codes` (any shape), and the perplexity of what occurs.

    Perplexity = exp(-sum_k p_k ln p_k), p_k the share of code k: `size` where all are used alike, 1 where one is.
    """
    counts = torch.bincount(codes.flatten(), minlength=size).double()
    share = counts / counts.sum().clamp_min(1)
    entropy = -(share * share.clamp_min(1e-300).log()).sum()
    return float((counts > 0).double().mean()), math.exp(float(entropy))


class Codebook:
    """Running means of the vectors that fell to each code; `weight` `(k, w)` is written in place, on its own device.

    Attributes:
        load: running mean of each code's vectors per step `(k,)`.
        total: running mean of their sum `(k, w)`.
        revived: how often a dead code was given a new place.
    """

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight
        self.load, self.total = torch.zeros(len(weight)), torch.zeros(weight.shape, dtype=torch.float32)
        self.revived = 0

    @torch.no_grad()
    def start(self, vectors: Tensor, per_step: int, generator: torch.Generator) -> None:
        """Begin at the centres of `vectors` `(n, w)`; a step brings `per_step` of them."""
        vectors = vectors.cpu()
        centre = kmeans(vectors, len(self.weight), generator)
        load, _ = _loads(vectors, nearest(vectors, centre), len(centre))
        self.load = load * per_step / len(vectors)
        self.total = centre * self.load[:, None]
        self.weight.copy_(centre)

    @torch.no_grad()
    def update(self, vectors: Tensor, place: Tensor, generator: torch.Generator, *, revive: bool = True) -> None:
        """Move every code towards its vectors `(n, w)` of this step, and put dead codes on vectors drawn from them.

        Sums are formed on the CPU, where their order, and so their last digit, is the same every time.
        """
        vectors, place = vectors.detach().float().cpu(), place.cpu()
        load, total = _loads(vectors, place, len(self.weight))
        self.load.mul_(DECAY).add_(load, alpha=1 - DECAY)
        self.total.mul_(DECAY).add_(total, alpha=1 - DECAY)
        even = len(vectors) / len(self.weight)
        dead = self.load < _DEAD * even
        if revive and bool(dead.any()):
            count = int(dead.sum())
            drawn = vectors[torch.randint(len(vectors), (count,), generator=generator)]
            self.load[dead] = _NEWBORN * even
            self.total[dead] = drawn * (_NEWBORN * even)
            self.revived += count
        known = self.load > 1e-6  # a code that nothing fell to for long stays where it is
        moved = self.total / self.load.clamp_min(1e-6)[:, None]
        self.weight.copy_(torch.where(known[:, None], moved, self.weight.float().cpu()))
