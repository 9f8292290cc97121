"""Sparse sums, contrast, attention and critic of MMGCL and MMSSL, each beside a dense or written-out counterpart."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (its name everywhere)

from unimp_baselines.recbole.contrast import contrasted, first_places, info_nce
from unimp_baselines.recbole.graphs import Bipartite, Rooted, light_mean, top_items
from unimp_baselines.recbole.mmssl_attention import Attention
from unimp_baselines.recbole.mmssl_critic import Critic, fake_rows, real_rows

USERS, ITEMS = 4, 6  # with padding
PAIRS = torch.tensor([[1, 1], [3, 2], [1, 5], [3, 1], [1, 1], [2, 4]])  # one twice


def graph() -> Bipartite:
    return Bipartite.of(PAIRS[:, 0], PAIRS[:, 1], USERS, ITEMS)


def dense(kept: Tensor | None = None) -> Tensor:
    found = graph()
    matrix = torch.zeros(USERS, ITEMS)
    matrix[found.user, found.item] = 1.0 if kept is None else kept.float()
    return matrix


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_pairs_are_sorted_and_count_once() -> None:
    found = graph()
    assert list(zip(found.user.tolist(), found.item.tolist(), strict=True)) == [(1, 1), (1, 5), (2, 4), (3, 1), (3, 2)]
    assert found.degrees()[0].flatten().tolist() == [0, 2, 1, 2]
    assert found.degrees()[1].flatten().tolist() == [0, 2, 1, 0, 1, 1]


def test_sums_and_their_gradients_are_those_of_the_dense_matrix() -> None:
    kept = torch.tensor([True, False, True, True, False])
    for found, matrix in ((graph(), dense()), (graph().thinned(kept), dense(kept))):
        for sums, right, rows in ((found.to_users, matrix, ITEMS), (found.to_items, matrix.T, USERS)):
            x, weight = drawn(rows, 3).requires_grad_(), drawn(len(right), 3, seed=1)
            y = x.detach().clone().requires_grad_()
            assert torch.allclose(sums(x), right @ y)
            (sums(x) * weight).sum().backward()
            (right @ y * weight).sum().backward()
            assert x.grad is not None
            assert y.grad is not None
            assert torch.allclose(x.grad, y.grad)


def test_sums_are_divided_by_the_root_of_their_number() -> None:
    found, matrix = Rooted.of(graph()), dense()
    items, users = drawn(ITEMS, 2), drawn(USERS, 2)
    assert torch.allclose(found.to_users(items), matrix @ items / matrix.sum(1, keepdim=True).clamp(min=1).sqrt())
    assert torch.allclose(found.to_items(users), matrix.T @ users / matrix.T.sum(1, keepdim=True).clamp(min=1).sqrt())


def test_edges_of_some_users() -> None:
    place, item = graph().items_of(torch.tensor([3, 0, 1, 3]))
    assert place.tolist() == [0, 0, 2, 2, 3, 3]
    assert item.tolist() == [1, 2, 1, 5, 1, 2]


def test_light_mean_is_that_of_powers_of_the_normalised_matrix() -> None:
    both = torch.zeros(USERS + ITEMS, USERS + ITEMS)
    both[:USERS, USERS:] = dense()
    both += both.T.clone()
    root = both.sum(1).clamp(min=1).rsqrt()
    normal = root[:, None] * both * root
    start = drawn(USERS + ITEMS, 3)
    wanted = torch.stack([torch.matrix_power(normal, k) @ start for k in range(4)]).mean(0)
    users, items = light_mean(graph(), start[:USERS], start[USERS:], 3)
    assert torch.allclose(torch.cat([users, items]), wanted, atol=1e-6)


def test_top_items_are_new_ones_and_no_padding() -> None:
    users = torch.ones(USERS, 1)
    items = torch.tensor([[9.0], [5.0], [4.0], [3.0], [2.0], [1.0]])
    assert top_items(users, items, graph(), torch.tensor([1, 3]), 2).tolist() == [[2, 3], [3, 4]]
    assert top_items(users, items, graph(), torch.tensor([3]), 5).tolist() == [[3, 4, 5, 0, 0]]


def test_info_nce_by_hand() -> None:
    a, b, wrong = (F.normalize(drawn(rows, 4, seed=rows), dim=1) for rows in (3, 3, 2))
    total = 0.0
    for row in range(3):
        parts = [math.exp(float(a[row] @ other) / 0.2) for other in [*b, *wrong]]
        total -= math.log(parts[row] / sum(parts)) / 3
    assert float(info_nce(a, b, 0.2, wrong)) == pytest.approx(total, rel=1e-5)
    assert float(info_nce(a, b, 0.2)) < total


def test_contrast_with_own_view_by_hand() -> None:
    a, b = drawn(3, 4, seed=1), drawn(3, 4, seed=2)
    total = 0.0
    for row in range(3):
        like = [math.exp(float(F.cosine_similarity(a[row], other, 0)) / 0.5) for other in [*b, *a]]
        total -= math.log(like[row] / (sum(like) - like[3 + row])) / 3
    assert float(contrasted(a, b, 0.5)) == pytest.approx(total, rel=1e-5)
    assert float(contrasted(a[:1], b[:1], 0.5)) == 0


def test_first_places() -> None:
    different, first = first_places(torch.tensor([7, 3, 7, 5, 3]))
    assert different.tolist() == [3, 5, 7]
    assert first.tolist() == [1, 3, 0]


def test_attention_by_hand() -> None:
    net, parts = Attention(4, 2), drawn(1, 3, 4)
    q, k = net.query(parts)[0], net.key(parts)[0]
    joined = torch.zeros(3, 8)
    for m in range(3):
        for head in range(2):
            here = slice(2 * head, 2 * head + 2)
            share = torch.stack([q[m, here] @ k[other, here] / math.sqrt(2) for other in range(3)]).softmax(0)
            joined[m, 4 * head : 4 * head + 4] = share @ parts[0]
    assert torch.allclose(net(parts)[0], net.join(joined).mean(0), atol=1e-6)


def test_rows_of_the_critic() -> None:
    bought = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    users, items = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[5.0, 1.0], [3.0, 0.0], [4.0, 0.0]])
    fake = fake_rows(users, items, bought)
    assert torch.allclose(fake, torch.tensor([[0.0, 0.6, 0.8], [1.0, 0.0, 0.0]]))
    torch.manual_seed(0)
    real = real_rows(bought, torch.zeros(2, 3))
    assert torch.allclose(real[0], torch.tensor([1.0, 0.0, 0.0]), atol=1e-4)
    assert torch.allclose(real[1], torch.full((3,), 3**-0.5), atol=1e-2)  # nothing bought: even, but for the noise
    assert torch.allclose(real_rows(bought, fake)[1], fake[1], atol=0.01)  # predictions weigh a hundred times


def test_loss_of_the_critic_by_hand() -> None:
    critic = Critic(3)
    layer = torch.nn.Linear(3, 1)
    critic.net = torch.nn.Sequential(layer)
    fake, real = drawn(5, 3, seed=1), drawn(5, 3, seed=2)
    torch.manual_seed(4)
    loss = critic.loss(fake, real)
    torch.manual_seed(4)
    share = torch.rand(5, 1)
    weight, bias = layer.weight[0], layer.bias
    height = torch.sigmoid((share * real + (1 - share) * fake) @ weight + bias)
    slope = 100 * height * (1 - height) * weight.norm()
    wanted = critic(fake).mean() - critic(real).mean() + 0.3 * (slope - 1).square().mean()
    assert torch.allclose(loss, wanted, rtol=1e-4)
    loss.backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.abs().sum() > 0


def test_a_critic_learns_what_is_real() -> None:
    torch.manual_seed(0)
    critic = Critic(64)
    adam = torch.optim.Adam(critic.parameters(), lr=3e-3)
    for _ in range(20):
        fake, real = (F.normalize(torch.rand(64, 64) * torch.linspace(*ends, 64), dim=1) for ends in ((0, 1), (1, 0)))
        adam.zero_grad()
        critic.loss(fake, real).backward()
        adam.step()
    critic.eval()
    assert (critic(real) > critic(fake)).float().mean() > 0.9
