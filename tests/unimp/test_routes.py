"""Groups of tokens that see the same picture."""

from __future__ import annotations

import torch

from unimp.routes import GROUP, Routes


def test_tokens_of_one_picture_share_a_group_and_others_do_not() -> None:
    slots = torch.tensor([[-1, 0, 0, 1], [2, 2, -1, 0]])
    routes = Routes.of(slots, group=2)
    found = [
        (int(picture), routes.token[row][routes.valid[row]].tolist()) for row, picture in enumerate(routes.picture)
    ]
    assert found == [(0, [1, 2]), (0, [7]), (1, [3]), (2, [4, 5])]


def test_a_long_run_is_cut_into_full_groups_and_a_rest() -> None:
    routes = Routes.of(torch.zeros(1, 2 * GROUP + 3, dtype=torch.long))
    assert routes.valid.sum(1).tolist() == [GROUP, GROUP, 3]
    assert routes.picture.tolist() == [0, 0, 0]


def test_empty_places_repeat_a_token_of_their_own_group() -> None:
    routes = Routes.of(torch.tensor([[-1, 3, 3, 5]]), group=4)
    assert routes.token.tolist() == [[1, 2, 1, 1], [3, 3, 3, 3]]


def test_what_is_gathered_comes_back_to_its_place_and_the_rest_is_zero() -> None:
    slots = torch.randint(-1, 5, (3, 70), generator=torch.Generator().manual_seed(0))
    x = torch.randn(3, 70, 4)
    routes = Routes.of(slots)
    back = routes.scatter(routes.gather(x), x)
    assert torch.equal(back, torch.where((slots >= 0).unsqueeze(-1), x, 0.0))


def test_gradients_reach_every_token_that_sees_and_no_other() -> None:
    slots = torch.tensor([[-1, 0, 0, 1, -1]])
    x = torch.randn(1, 5, 2, requires_grad=True)
    routes = Routes.of(slots)
    routes.scatter(routes.gather(x) * 3, x).sum().backward()
    assert x.grad is not None
    assert x.grad[0, :, 0].tolist() == [0, 3, 3, 3, 0]


def test_no_token_sees_a_picture() -> None:
    x = torch.randn(2, 3, 4)
    routes = Routes.of(torch.full((2, 3), -1))
    assert routes.gather(x).shape == (0, GROUP, 4)
    assert torch.equal(routes.scatter(routes.gather(x), x), torch.zeros_like(x))
