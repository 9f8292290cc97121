"""Attention over trunk and branches equals the dense mask's, in values and gradients."""

import pytest

pytest.importorskip("torch")

import torch
from torch.nn import functional

from tests.unimp.learning_shop import HAS_PICTURE
from tests.unimp.learning_shop import rows as rows_of
from unimp.batch import PADDING, Batch
from unimp.batching import collate
from unimp.tree import Tree, has_branches


def batch() -> Batch:
    rows = rows_of()
    return collate([row for k in range(5) for row in rows.row(k, 0)], HAS_PICTURE, rows.writer.vocabulary.pad)


def test_values_and_gradients_equal_the_dense_masks() -> None:
    made = batch()
    assert has_branches(made)
    shape = (made.ids.shape[0], 2, made.ids.shape[1], 8)
    torch.manual_seed(0)
    inputs = [torch.randn(shape, dtype=torch.float64) for _ in range(3)]
    real = (made.segments != PADDING)[:, None, :, None]
    found = []
    for how in ("tree", "dense"):
        q, k, v = (x.clone().requires_grad_() for x in inputs)
        if how == "tree":
            out = Tree.of(made).attend(q, k, v, 8**-0.5)
        else:
            out = functional.scaled_dot_product_attention(q, k, v, attn_mask=made.allowed()[:, None])
        out = out * real
        out.square().sum().backward()
        found.append((out.detach(), q.grad, k.grad, v.grad))
    for tree, dense in zip(*found, strict=True):
        torch.testing.assert_close(tree, dense, atol=1e-10, rtol=1e-8)


def test_every_id_has_one_place_and_comes_back_from_it() -> None:
    made = batch()
    tree, numbers = Tree.of(made), torch.arange(1.0, made.ids.numel() + 1)
    parts = tree.parts(numbers)
    real = (made.segments != PADDING).flatten()
    assert torch.equal(parts[parts > 0].sort().values, numbers[real])
    assert torch.equal(tree.parts.inverse(parts), numbers * real)


def test_a_row_without_branches_needs_no_tree() -> None:
    rows = rows_of()
    plain = rows.row(0, 0)[0]
    plain.segments = [0] * len(plain)
    assert not has_branches(collate([plain], HAS_PICTURE, rows.writer.vocabulary.pad))
