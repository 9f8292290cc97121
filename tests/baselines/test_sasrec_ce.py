"""SASRec with cross-entropy over all items: its loss, its masks, its training and its contract on the tiny shop."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if find_spec("torch") is None:
    pytest.skip("needs PyTorch: pip install -e '.[models]'", allow_module_level=True)

import torch
from torch.nn import functional

from tests.baselines.contract import fitted, holds
from tests.shop import home_at
from unimp_baselines import sasrec_net
from unimp_baselines.sasrec_ce import SASRecCE
from unimp_bench.dataset import Dataset
from unimp_bench.errors import ConfigError, IncompleteError

SHAPE = sasrec_net.Shape(items=30, width=8, layers=2, heads=2, inner=16, dropout=0.2, most=6)
PLAN = sasrec_net.Plan(epochs=6, patience=50, batch=4, lr=0.01, weight_decay=0, average=0, seed=3, max_seconds=0)
SMALL: dict[str, Any] = {"embedding": 8, "epochs": 3, "batch": 8}


def test_the_loss_and_its_gradients_are_cross_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sasrec_net, "_LOGITS", 90)  # three rows at a time
    generator = torch.Generator().manual_seed(0)
    states, table = (torch.randn(n, 8, generator=generator, requires_grad=True) for n in (10, 30))
    right = torch.randint(30, (10,), generator=generator)
    ours = sasrec_net.AllItems.apply(states, table, right)
    (2 * ours).backward()
    mine = states.grad.clone(), table.grad.clone()  # type: ignore[union-attr]
    states.grad = table.grad = None
    theirs = functional.cross_entropy(states @ table.T, right)
    (2 * theirs).backward()
    assert torch.allclose(ours, theirs)
    assert torch.allclose(mine[0], states.grad, atol=1e-6)  # type: ignore[arg-type]
    assert torch.allclose(mine[1], table.grad, atol=1e-6)  # type: ignore[arg-type]


def test_a_state_sees_what_came_before_only_and_padding_is_nothing() -> None:
    torch.manual_seed(0)
    model = sasrec_net.SASRec(SHAPE).eval()
    short, long = (sasrec_net.padded([torch.tensor([3, 7, 9])], width) for width in (3, 6))
    assert torch.allclose(model(short)[:, -3:], model(long)[:, -3:], atol=1e-6)
    later = sasrec_net.padded([torch.tensor([3, 7, 11])], 6)
    assert torch.equal(model(long)[:, :-1], model(later)[:, :-1])
    assert not torch.allclose(model(long)[:, -1], model(later)[:, -1])
    earlier = sasrec_net.padded([torch.tensor([4, 7, 9])], 6)
    assert not torch.allclose(model(long)[:, -1], model(earlier)[:, -1])


def test_long_histories_keep_their_last_items() -> None:
    assert sasrec_net.padded([torch.arange(1, 9), torch.tensor([5])], 3).tolist() == [[6, 7, 8], [0, 0, 5]]


def test_ndcg_masks_seen_items_and_counts_ties_against_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = sasrec_net.SASRec(SHAPE)
    scores = torch.zeros(2, 30)
    scores[0, 4], scores[0, 6], scores[0, 8] = 3, 2, 1  # items 5, 7, 9
    monkeypatch.setattr(sasrec_net, "scores_of", lambda model, past: scores.clone())
    found = sasrec_net.ndcg10(model, [torch.tensor([5]), torch.tensor([1])], torch.tensor([9, 2]))
    assert found == pytest.approx((1 / np.log2(3) + 0) / 2)  # second of what is left; last of 29 equal ones


def chains(users: int = 40) -> list[torch.Tensor]:
    """Sequences in which item k is followed by k + 1: what comes next can be learned exactly."""
    starts = torch.randint(1, 24, (users,), generator=torch.Generator().manual_seed(1)).tolist()
    return [torch.arange(start, start + 6) for start in starts]


def _trained(
    folder: Path, epochs: int = 6, stop: int | None = None, average: float = 0
) -> tuple[sasrec_net.SASRec, list[float]]:
    torch.manual_seed(0)
    model, losses = sasrec_net.SASRec(SHAPE), []

    def step(epoch: int, loss: float, score: float | None) -> None:
        losses.append(loss)
        if epoch == stop:
            raise KeyboardInterrupt

    rows = chains()
    valid = [row[:-1] for row in rows], torch.stack([row[-1] for row in rows])
    plan = sasrec_net.Plan(**{**vars(PLAN), "epochs": epochs, "average": average, "checkpoint_seconds": 0.0})
    sasrec_net.train(model, rows, valid, plan, folder / "checkpoint", step)
    return model, losses


@pytest.mark.parametrize("average", [0, 0.9])
def test_an_interrupted_training_ends_as_if_nothing_had_been(tmp_path: Path, average: float) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, losses = _trained(tmp_path / "a", average=average)
    with pytest.raises(KeyboardInterrupt):
        _trained(tmp_path / "b", stop=3, average=average)
    resumed, rest = _trained(tmp_path / "b", average=average)
    assert losses[3:] == rest
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


@pytest.mark.slow
def test_it_learns_what_follows_what(tmp_path: Path) -> None:
    model, losses = _trained(tmp_path, epochs=60)
    assert losses[-1] < losses[0] / 2
    rows = chains()
    assert sasrec_net.ndcg10(model, [row[:3] for row in rows], torch.stack([row[3] for row in rows])) > 0.9


@pytest.mark.parametrize("adapt", [False, True])
def test_the_contract(tmp_path: Path, adapt: bool) -> None:
    shop = Dataset.open(home_at(tmp_path / "home"), "shop")
    holds(shop, tmp_path, partial(SASRecCE, **SMALL), adapt=adapt)


def test_changed_files_are_not_taken_up(tmp_path: Path) -> None:
    shop = Dataset.open(home_at(tmp_path / "home"), "shop")
    fitted(shop, tmp_path / "a", partial(SASRecCE, **SMALL))
    with (tmp_path / "a/fit-state/popularity.npy").open("ab") as file:
        file.write(b"x")
    with pytest.raises(IncompleteError, match=r"popularity.npy is missing or was changed"):
        SASRecCE(**SMALL).load(tmp_path / "a/fit-state")


@pytest.mark.parametrize("wrong", [{"embedding": 0}, {"embedding": 7}, {"lr": 0.0}, {"dropout": 1.0}])
def test_parameters_without_meaning_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="sasrec_ce"):
        SASRecCE(**wrong)
