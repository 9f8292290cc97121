"""Groups of tokens that see the same picture."""

from __future__ import annotations

import torch

from unimp.routes import GROUP, Routes


def groups_of(slots: list[list[int]], size: int) -> list[tuple[int, list[int]]]:
    """The picture of each group, and what stands at its places: the token's number, 0 for nothing."""
    given = torch.tensor(slots)
    routes = Routes.of(given, group=size)
    numbers = routes.gather(torch.arange(1.0, given.numel() + 1).view(*given.shape, 1)).squeeze(-1)
    return list(zip(routes.picture.tolist(), numbers.int().tolist(), strict=True))


def test_tokens_of_one_picture_share_a_group_and_others_do_not() -> None:
    found = groups_of([[-1, 0, 0, 1], [2, 2, -1, 0]], 2)
    assert found == [(0, [2, 3]), (0, [8, 0]), (1, [4, 0]), (2, [5, 6])]


def test_a_long_run_is_cut_into_full_groups_and_a_rest() -> None:
    found = groups_of([[0] * (2 * GROUP + 3)], GROUP)
    assert [picture for picture, _ in found] == [0, 0, 0]
    assert [sum(number > 0 for number in numbers) for _, numbers in found] == [GROUP, GROUP, 3]


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
