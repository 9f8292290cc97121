"""SASRec against drawn items: its loss, its draws, its training and its contract on the tiny shop."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

if find_spec("torch") is None:
    pytest.skip("needs PyTorch: pip install -e '.[models]'", allow_module_level=True)

import torch
from torch.nn import functional

from tests.baselines.contract import holds
from tests.baselines.test_sasrec_ce import PLAN, SHAPE, SMALL, chains
from tests.shop import home_at
from unimp_baselines import sasrec_net
from unimp_baselines.sasrec_bce import SASRecBCE
from unimp_bench.dataset import Dataset
from unimp_bench.errors import ConfigError


def test_the_loss_is_binary_cross_entropy_of_the_right_item_and_of_drawn_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    states, table = (torch.randn(n, 8, generator=generator) for n in (10, 30))
    right, wrong = torch.randint(30, (10,), generator=generator), torch.randint(30, (10, 3), generator=generator)
    scores = states @ table.T
    of_right, of_wrong = scores.gather(1, right[:, None]), scores.gather(1, wrong)
    theirs = functional.binary_cross_entropy_with_logits(of_right, torch.ones_like(of_right))
    theirs += functional.binary_cross_entropy_with_logits(of_wrong, torch.zeros_like(of_wrong))
    assert torch.allclose(sasrec_net.binary(states, table, right, wrong), theirs)


def test_drawn_items_are_any_but_the_users_own_each_as_often_as_the_other() -> None:
    own = torch.tensor([[0, 0, 3, 1], [9, 2, 5, 4]])  # padded at the front, in no order
    found = sasrec_net.drawn(own, 500, 4, 10, torch.Generator().manual_seed(0))
    assert found.shape == (2, 500, 4)
    for row, mine in zip(found, own, strict=True):
        counts = torch.bincount(row.flatten(), minlength=11)
        others = sorted(set(range(1, 11)) - set(mine.tolist()))
        assert counts[mine].sum() == 0
        assert counts.nonzero().flatten().tolist() == others
        assert counts[others].min() > 0.8 * 2000 / len(others)


def test_somebody_who_took_everything_is_drawn_something() -> None:
    found = sasrec_net.drawn(torch.arange(1, 5)[None], 6, 1, 4, torch.Generator().manual_seed(0))
    assert found.shape == (1, 6, 1)
    assert set(found.flatten().tolist()) <= {1, 2, 3, 4}


@pytest.mark.slow
def test_it_learns_what_follows_what(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, rows, losses = sasrec_net.SASRec(SHAPE), chains(), []
    asked = [row[:3] for row in rows], torch.stack([row[3] for row in rows])
    plan = sasrec_net.Plan(**{**vars(PLAN), "epochs": 60, "wrong": 1})
    sasrec_net.train(model, rows, asked, plan, tmp_path / "checkpoint", lambda _, loss, __: losses.append(loss))
    assert losses[-1] < losses[0] / 2
    assert sasrec_net.ndcg10(model, *asked) > 0.9


@pytest.mark.parametrize("adapt", [False, True])
def test_the_contract(tmp_path: Path, adapt: bool) -> None:
    shop = Dataset.open(home_at(tmp_path / "home"), "shop")
    holds(shop, tmp_path, partial(SASRecBCE, **SMALL), adapt=adapt)


@pytest.mark.parametrize("wrong", [{"negatives": 0}, {"embedding": 7}])
def test_parameters_without_meaning_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="sasrec_bce"):
        SASRecBCE(**wrong)
