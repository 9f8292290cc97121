"""ZAM and AEM: the attention by hand, what it leaves out, and the contract on the tiny shop."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

if find_spec("torch") is None:
    pytest.skip("needs PyTorch: pip install -e '.[models]'", allow_module_level=True)

import torch

from tests.baselines.contract import holds, resumes
from tests.shop import home_at
from unimp_baselines import search_net
from unimp_baselines.zam import ZAM
from unimp_bench.dataset import Dataset
from unimp_bench.errors import ConfigError

SMALL: dict[str, Any] = {"embedding": 8, "epochs": 3, "batch": 16, "min_count": 1, "words": 3}


def _network(zero: bool) -> search_net.ZAM:
    network = search_net.ZAM(words=5, items=6, width=4, query_weight=0.5, beta=3, zero=zero)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(parameter.numel()))
    with torch.no_grad():
        network.items.weight[0] = network.words.weight[0] = 0
    return network


HISTORIES, NOBODY = torch.tensor([[0, 2, 5, 3], [0, 0, 0, 0]]), torch.tensor([0, 0])


@pytest.mark.parametrize("zero", [True, False])
def test_the_attention_by_hand(zero: bool) -> None:
    network = _network(zero)
    asked = torch.randn(2, 4, generator=torch.Generator().manual_seed(1))
    found = network.weights(asked, HISTORIES, NOBODY)
    keys = torch.tanh(network.attend.weight @ asked[0] + network.attend.bias).view(3, 4)
    f = torch.stack([keys @ network.items.weight[item] @ network.mix.weight[0] for item in (2, 5, 3)]).exp()
    assert torch.allclose(found[0, 1:], f / (f.sum() + zero), atol=1e-6)
    assert found[0, 0] == 0
    total = float(found[0].sum().detach())
    assert total < 1 if zero else total == pytest.approx(1.0)
    assert found[1].tolist() == [0, 0, 0, 0]  # nothing was bought: the user is 0, not NaN


def test_the_item_asked_for_is_never_attended_to() -> None:
    network, asked = _network(zero=True), torch.ones(2, 4)
    masked = network.weights(asked, HISTORIES, torch.tensor([5, 0]))
    absent = network.weights(asked, torch.tensor([[0, 2, 0, 3], [0, 0, 0, 0]]), NOBODY)
    assert torch.equal(masked, absent)
    assert masked[0, 2] == 0


def test_the_order_of_a_history_does_not_matter() -> None:
    network, asked = _network(zero=True), torch.ones(2, 4)
    batches = [search_net.Batch(NOBODY, NOBODY[:, None], past, NOBODY) for past in (HISTORIES, HISTORIES.flip(1))]
    users = [network.personal(batch, asked) for batch in batches]
    assert torch.allclose(*users, atol=1e-6)
    assert users[0][1].tolist() == [0, 0, 0, 0]


def test_gradients_are_finite_without_a_history() -> None:
    network = _network(zero=False)
    batch = search_net.Batch(
        NOBODY, torch.tensor([[1], [0]]), torch.zeros(2, 4, dtype=torch.int64), torch.tensor([1, 2])
    )
    network.ranking_loss(batch, torch.tensor([[3, 4], [5, 6]])).backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize(("adapt", "zero"), [(False, True), (False, False), (True, True)])
def test_the_contract(tmp_path: Path, adapt: bool, zero: bool) -> None:
    shop = Dataset.open(home_at(tmp_path / "home"), "shop")
    holds(shop, tmp_path, partial(ZAM, zero=zero, **SMALL), adapt=adapt)


def test_a_killed_fit_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    shop = Dataset.open(home_at(tmp_path / "home"), "shop")
    resumes(shop, tmp_path / "runs", partial(ZAM, **{**SMALL, "epochs": 5}))


def test_parameters_without_meaning_are_refused() -> None:
    with pytest.raises(ConfigError, match="zam: beta=0"):
        ZAM(beta=0)
