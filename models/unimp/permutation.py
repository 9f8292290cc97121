"""Rows moved to other places, both ways by plain copies.

Advanced indexing may name a row twice, so its gradient has to add up entry by entry. Where every row goes to one place
at most, the gradient is the same copy backwards, several times as fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class _Way:
    """Row `source[k]` goes to place k; places `empty` get zeros, whatever their source says."""

    source: Tensor
    empty: Tensor

    @classmethod
    def of(cls, source: Tensor) -> _Way:
        return cls(source.clamp(min=0), (source < 0).nonzero().squeeze(1))

    def go(self, x: Tensor) -> Tensor:
        if not len(x):
            return x.new_zeros((len(self.source), *x.shape[1:]))
        return x.index_select(0, self.source).index_fill_(0, self.empty, 0.0)


@dataclass(frozen=True)
class Permutation:
    """A partial permutation of rows: some places may stay empty, some rows may go nowhere."""

    there: _Way
    back: _Way

    @classmethod
    def of(cls, source: Tensor, rows: int) -> Permutation:
        """Row `source[k]` of `rows` stands at place k; -1 for zeros. No row may be named twice."""
        target = source.new_full((rows,), -1)
        known = (source >= 0).nonzero().squeeze(1)
        target[source[known]] = known
        return cls(_Way.of(source), _Way.of(target))

    @property
    def inverse(self) -> Permutation:
        """The way back."""
        return Permutation(self.back, self.there)

    def __call__(self, x: Tensor) -> Tensor:
        """Rows `(rows, ...)` at their places `(places, ...)`."""
        moved: Tensor = _Moved.apply(x, self)  # type: ignore[no-untyped-call]
        return moved


class _Moved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, permutation: Permutation) -> Tensor:
        ctx.permutation = permutation
        return permutation.there.go(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.permutation.back.go(gradient), None
