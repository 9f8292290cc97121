"""Losses by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from unimp.losses import combine, focal, supervised_places
from unimp.vocabulary import IGNORED


def test_gamma_0_is_cross_entropy() -> None:
    logits, labels = torch.randn(7, 5), torch.tensor([0, 1, 2, 3, 4, 0, 1])
    assert torch.allclose(focal(logits, labels, 0), functional.cross_entropy(logits, labels, reduction="none"))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_the_factor_by_hand(gamma: float) -> None:
    logits = torch.tensor([[math.log(0.7), math.log(0.3)], [math.log(0.2), math.log(0.8)]])
    wanted = [(1 - 0.7) ** gamma * -math.log(0.7), (1 - 0.2) ** gamma * -math.log(0.2)]
    assert torch.allclose(focal(logits, torch.tensor([0, 0]), gamma), torch.tensor(wanted), atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 5.0])
def test_the_gradient_flows_through_the_factor(gamma: float) -> None:
    """d loss / d logit of the label = (1-p)^gamma (gamma p log p - (1-p)); the other logits share it by softmax."""
    logits = torch.randn(6, 4, dtype=torch.float64).float().requires_grad_()
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    focal(logits, labels, gamma).sum().backward()
    assert logits.grad is not None
    probabilities = logits.detach().double().softmax(1)
    p = probabilities.gather(1, labels.unsqueeze(1))
    at_label = (1 - p) ** gamma * (gamma * p * p.log() - (1 - p))
    wanted = -at_label / (1 - p) * probabilities
    wanted.scatter_(1, labels.unsqueeze(1), at_label)
    assert torch.allclose(logits.grad.double(), wanted, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_a_certain_label_has_no_loss_and_no_nan(gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    loss = focal(logits, torch.tensor([0]), gamma)
    loss.sum().backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_half_precision_is_summed_in_float32() -> None:
    logits = torch.randn(4, 9).bfloat16()
    loss = focal(logits, torch.tensor([1, 2, 3, 4]), 2.0)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, focal(logits.float(), torch.tensor([1, 2, 3, 4]), 2.0))


EACH, WEIGHTS, ANSWERS = (
    torch.tensor([1.0, 2.0, 3.0, 8.0]),
    torch.tensor([1.0, 1.0, 1.0, 2.0]),
    torch.tensor([4, 4, 4, 9]),
)


@pytest.mark.parametrize(
    ("norm", "wanted"),
    [
        ("tokens", (1 + 2 + 3 + 16) / 4),
        ("weights", (1 + 2 + 3 + 16) / 5),
        ("answers", ((1 + 2 + 3) / 3 + 16) / 2),
    ],
)
def test_norms_by_hand(norm: str, wanted: float) -> None:
    assert combine(EACH, WEIGHTS, ANSWERS, norm).item() == pytest.approx(wanted)


@pytest.mark.parametrize(("norm", "whole"), [("tokens", 4), ("weights", 5), ("answers", 2)])
def test_a_batch_in_two_parts_has_the_loss_of_the_whole(norm: str, whole: float) -> None:
    count = torch.tensor(float(whole))
    parts = [combine(EACH[part], WEIGHTS[part], ANSWERS[part], norm, count) for part in (slice(0, 3), slice(3, 4))]
    assert sum(parts).item() == pytest.approx(combine(EACH, WEIGHTS, ANSWERS, norm).item())  # type: ignore[union-attr]


def test_nothing_to_learn_from_is_zero() -> None:
    nothing = torch.zeros(0)
    for norm in ("tokens", "weights", "answers"):
        assert combine(nothing, nothing, nothing.long(), norm).item() == 0


def test_an_unknown_norm_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="norm is 'mean'; known: tokens, weights, answers"):
        combine(EACH, WEIGHTS, ANSWERS, "mean")


def test_places_that_are_learned() -> None:
    labels = torch.tensor([[7, IGNORED, 3], [IGNORED, 5, IGNORED]])
    assert supervised_places(labels).tolist() == [2, 4]  # nothing stands before the first of a row
    assert labels[0, 0] == 7
