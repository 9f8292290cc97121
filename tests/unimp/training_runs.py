"""Short runs on the shop of hand size, for the tests of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.unimp import learning_shop
from unimp import trainable
from unimp.modeling import Unimp
from unimp.recipe import Outcome, Recipe
from unimp.training import train


class KilledError(Exception):
    """Raised by a test in the middle of a run."""


def run(folder: Path, recipe: Recipe, model: Unimp | None = None, **kwargs: Any) -> tuple[Unimp, Outcome]:
    """Train the small model, all parts of it unless said otherwise."""
    model = model or learning_shop.model()
    given = {
        "rows": learning_shop.rows(),
        "patches": learning_shop.patches,
        "has_picture": learning_shop.HAS_PICTURE,
        "stage": "multi_task",
        "parts": trainable.parts_of(model.config, "multi_task", scratch=True),
    } | kwargs
    return model, train(model, given.pop("rows"), recipe, folder=folder, **given)


def weights(model: Unimp) -> dict[str, torch.Tensor]:
    """A copy of all weights."""
    return {name: one.detach().clone() for name, one in model.state_dict().items()}


def differing(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    """Names of weights that are not equal bit for bit."""
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name], other[name])]


def killed_after(steps: int) -> Any:
    """A `report` that ends the run after so many steps."""
    seen: list[int] = []

    def report(_: object) -> None:
        seen.append(1)
        if len(seen) == steps:
            raise KilledError

    return report


def rounded_only(away: torch.Tensor, rate: float) -> bool:
    """Whether weights that are so far apart `(weights,)` differ by rounding alone.

    Adam turns the rounding of a gradient near zero into a step of up to the rate; nearly no weight has such a one.
    """
    return bool(away.median() < 1e-7 and (away > 1e-5).double().mean() < 5e-3 and away.max() < 2 * rate)
