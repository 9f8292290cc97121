"""Masks of trunk and branches, and padding."""

from __future__ import annotations

import torch

from tests.unimp.tiny import batch, row
from unimp.batch import PADDING, tree_mask
from unimp.config import UnimpConfig
from unimp.modeling import visible_pictures


def test_the_mask_of_a_trunk_and_two_branches_by_hand() -> None:
    """A trunk of three; a branch after its second id, a branch after its third; padding."""
    segments = torch.tensor([[0, 0, 0, 1, 1, 2, PADDING]])
    positions = torch.tensor([[0, 1, 2, 2, 3, 3, 0]])
    horizon = torch.tensor([[0, 0, 0, 2, 2, 3, 0]])
    wanted = [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 0, 1, 0, 0, 0],
        [1, 1, 0, 1, 1, 0, 0],
        [1, 1, 1, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 0, 1],
    ]
    assert tree_mask(segments, positions, horizon)[0].int().tolist() == wanted


def test_a_row_without_branches_is_causal() -> None:
    given = batch(row([0, 1, 2, 3]), row([0, 1]))
    assert torch.equal(given.allowed()[0], torch.ones(4, 4).tril().bool())
    assert given.allowed()[1].int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def test_padding_is_not_counted() -> None:
    assert batch(row([0, 1, 2, 3]), row([0, 1])).tokens == 6


def test_moving_a_batch_keeps_every_field() -> None:
    given = batch(row([0, 1, 2]), pictures=2).to("cpu")
    assert given.pictures.tolist() == [0, 1]
    assert given.weights.dtype == torch.float32


def test_pictures_that_may_be_seen_where_the_exclusive_mask_is_lifted() -> None:
    image = 40
    given = batch(row([0, image, 5, image, 6], [7, image], [8], horizons=(3, 5)), pictures=3)
    trunk, branches = (
        [[0, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0]],
        [
            [1, 0, 0],  # a branch after the first picture
            [1, 0, 1],  # and its own
            [1, 1, 0],  # the other branch does not see that one
        ],
    )
    own_trunk = [[0, 0, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0]]
    own_branches = [[1, 0, 0], [0, 0, 1], [0, 1, 0]]

    def seen(**said: bool) -> list[list[int]]:
        return [[int(v) for v in row] for row in visible_pictures(given, given.allowed(), UnimpConfig(**said))[0]]

    assert seen(exclusive=False) == trunk + branches
    assert seen(exclusive=True, overview=True) == own_trunk + branches
    assert seen(exclusive=False, overview=False) == trunk + own_branches
    assert UnimpConfig().routed and not UnimpConfig(overview=True).routed
