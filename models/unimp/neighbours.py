"""Neighbours: what customers bought close to what somebody bought, in closed form.

    c_ij   = sum DECAY^(d - 1)      over pairs of rows of one customer that hold i and j, d <= REACH rows apart
    s_ij   = min(c_ij, n_i, n_j) / (sqrt(n_i n_j) + SHRINK)       n_i: times i was bought; 0 beyond the KEPT strongest
    s(j)   = sum_k DECAY^(k - 1) s_{h_k j}                        h_k: bought k purchases ago, k <= REACH

`s(j)` is item-based collaborative filtering with cosines (Sarwar et al. 2001; Deshpande and Karypis 2004), shrunk where
little was bought, and nearer purchases count more on both sides. It is to a recommendation's item logits what
log popularity is to their biases: what the log says in one pass, where training from nothing needs more passes than a
small log can bear without being learned by heart. `settling.py` chooses its weight on validation, as is done for the
nearest neighbours of a language model (Khandelwal et al. 2020), and another for searches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimp.shop import Ints, Log

DECAY, REACH, SHRINK = 0.9, 20, 1.0
_WORTH = DECAY ** np.arange(REACH)
KEPT = 200  # neighbours of an item, the strongest: what a catalogue of 120,000 items can keep in 200 MB
BLOCK = 100_000  # rows of the log whose pairs are counted together
_KINDS = {"offsets": torch.int64, "item": torch.int32, "strength": torch.float32}

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Neighbours:
    """Neighbours of item i are `item[offsets[i] : offsets[i + 1]]`, as strong as `strength` says there."""

    offsets: Ints
    item: NDArray[np.int32]
    strength: Floats

    @classmethod
    def of(cls, log: Log, items: int) -> Neighbours:
        """Neighbours in a log of purchases, for a catalogue of so many items; the strongest KEPT of each."""
        parts = [_strongest(*pairs) for pairs in _pairs(log, items)]
        first, second, strength = (np.concatenate(column) for column in zip(*parts, strict=True))
        offsets = np.concatenate([[0], np.cumsum(np.bincount(first, minlength=items))])
        return cls(offsets, second.astype(np.int32), strength)

    def scores(self, histories: Sequence[Ints], reach: int = REACH) -> Floats:
        """`s` above `(histories, items)`, given items of each history, oldest first.

        Args:
            histories: of whom.
            reach: how many of the last items count, REACH at most.
        """
        found = np.zeros((len(histories), len(self.offsets) - 1), dtype=np.float32)
        for row, history in zip(found, histories, strict=True):
            for ago, bought in enumerate(history[::-1][: min(reach, REACH)]):
                own = slice(self.offsets[bought], self.offsets[bought + 1])
                row[self.item[own]] += DECAY**ago * self.strength[own]
        return found

    def tensors(self) -> dict[str, Tensor]:
        """As weights are kept."""
        return {name: torch.from_numpy(getattr(self, name)) for name in _KINDS}

    @classmethod
    def from_tensors(cls, kept: Mapping[str, Tensor], items: int) -> Neighbours:
        """From `tensors`, for a catalogue of so many items.

        Raises:
            KeyError, ValueError: they are no neighbours, or those of another catalogue.
        """
        for name, dtype in _KINDS.items():
            if kept[name].dtype != dtype or kept[name].ndim != 1:
                raise ValueError(f"{name} is no row of {dtype}")
        found = cls(**{name: kept[name].numpy() for name in _KINDS})
        ends, named = found.offsets, found.item
        if len(ends) != items + 1 or ends[0] != 0 or (np.diff(ends) < 0).any() or ends[-1] != len(named):
            raise ValueError(f"offsets are not those of {items} items")
        if len(named) != len(found.strength) or (len(named) and not 0 <= named.min() <= named.max() < items):
            raise ValueError(f"neighbours are not among {items} items")
        if not np.isfinite(found.strength).all():
            raise ValueError("strengths are no numbers")
        return found


def _pairs(log: Log, items: int) -> Iterator[tuple[Ints, Ints, Floats]]:
    """Pairs of items that have something in common, and how strongly; all of an item are in one part."""
    bought = np.bincount(log.item, minlength=items)
    order = np.argsort(log.item, kind="stable")  # rows, item after item
    lengths = np.diff(log.offsets)
    before = np.arange(len(log.item)) - np.repeat(log.offsets[:-1], lengths)  # rows of the same customer
    after = np.repeat(lengths, lengths) - 1 - before
    ends = np.cumsum(bought)
    start = 0
    while start < items:
        begin = ends[start] - bought[start]
        stop = max(start + 1, int(np.searchsorted(ends, begin + BLOCK, side="right")))
        rows = order[begin : ends[stop - 1]]
        # Pair and distance in one number: plain numbers are sorted ten times as fast as their places.
        found = [np.zeros(0, dtype=np.int64)]
        for distance in range(1, REACH + 1):
            for there, sign in ((before, -1), (after, 1)):
                own = rows[there[rows] >= distance]
                one, two = log.item[own], log.item[own + sign * distance]
                found.append(((one * items + two) * REACH + distance - 1)[one != two])
        pairs, steps = np.divmod(np.sort(np.concatenate(found)), REACH)
        begins = np.flatnonzero(np.diff(pairs, prepend=-1))
        first, second = np.divmod(pairs[begins], items)
        common = np.add.reduceat(_WORTH[steps], begins)
        common = np.minimum(common, np.minimum(bought[first], bought[second]))  # of one who buys both again and again
        strength = common / (np.sqrt(bought[first] * bought[second].astype(np.float64)) + SHRINK)
        yield first, second, strength.astype(np.float32)
        start = stop


def _strongest(first: Ints, second: Ints, strength: Floats) -> tuple[Ints, Ints, Floats]:
    """The strongest pairs of each first item; of equal ones the earlier item of the catalogue."""
    order = np.lexsort((-strength, first))  # stable, and second items rise
    first, second, strength = first[order], second[order], strength[order]
    kept = np.arange(len(first)) - np.searchsorted(first, first) < KEPT
    return first[kept], second[kept], strength[kept]
