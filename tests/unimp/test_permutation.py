"""Rows that are moved, and their gradients, against advanced indexing."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from unimp.permutation import Permutation

SOURCE = torch.tensor([3, -1, 0, 4])  # of five rows; 1 and 2 go nowhere


def test_rows_and_gradients_are_those_of_indexing() -> None:
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 2, 3, dtype=torch.float64)
    moved = Permutation.of(SOURCE, 5)(x)
    (moved * weight).sum().backward()
    ours = x.grad
    x.grad = None
    plain = torch.where((SOURCE >= 0)[:, None, None], x[SOURCE.clamp(min=0)], 0.0)
    (plain * weight).sum().backward()
    assert torch.equal(moved, plain)
    assert ours is not None and x.grad is not None and torch.equal(ours, x.grad)


def test_the_inverse_brings_back_what_went_somewhere() -> None:
    x = torch.arange(1.0, 6.0)[:, None]
    permutation = Permutation.of(SOURCE, 5)
    assert permutation.inverse(permutation(x)).squeeze(1).tolist() == [1, 0, 0, 4, 5]


def test_nothing_is_moved_to_nowhere_and_has_a_gradient() -> None:
    nothing = Permutation.of(torch.zeros(0, dtype=torch.long), 3)
    x = torch.randn(3, 2, requires_grad=True)
    back = nothing.inverse(nothing(x))
    back.sum().backward()
    assert back.tolist() == [[0, 0]] * 3
    assert x.grad is not None and not x.grad.any()
