"""The moving average of weights: what it is, that it is judged and kept, and that training goes on without it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("torch") is None:
    pytest.skip("needs PyTorch: pip install -e '.[models]'", allow_module_level=True)

import torch
from torch import Tensor, nn

from unimp_baselines import learning

KEEP, STEPS = 0.5, 5


def _trained(folder: Path, average: float) -> tuple[float, list[float], list[float]]:
    """The weight that is left, the weight after each step of training, and what each epoch's judge saw."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 1.0)
    path: list[float] = []
    judged: list[float] = []

    def epoch(generator: torch.Generator, number: int) -> Iterator[tuple[Tensor, int]]:
        for _ in range(STEPS):
            yield network.weight.sum(), 1
            path.append(float(network.weight.detach()))

    def score() -> float:
        judged.append(float(network.weight.detach()))
        return float(len(judged))  # each epoch is better than the last one

    plan = learning.Plan("line", 2, 9, 0.1, 0, 0.0, average=average)
    learning.train(network, epoch, score, plan, folder / "checkpoint", lambda *_: None)
    return float(network.weight.detach()), path, judged


def test_the_average_is_judged_and_kept_and_training_goes_on_from_the_weights(tmp_path: Path) -> None:
    for name in ("plain", "mean"):
        (tmp_path / name).mkdir()
    _, path, judged = _trained(tmp_path / "plain", 0.0)
    left, same, means = _trained(tmp_path / "mean", KEEP)
    assert same == path
    assert judged == [path[STEPS - 1], path[-1]]
    average = path[0]
    wanted = []
    for steps, weight in enumerate(path[1:], 1):
        keep = min(KEEP, (1 + steps) / (10 + steps))
        average = keep * average + (1 - keep) * weight
        wanted.append(average)
    assert means == pytest.approx([wanted[STEPS - 2], wanted[-1]])
    assert left == pytest.approx(wanted[-1])
