"""Weights that a task has of its own, beside those that all tasks share."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from unimp.modeling import Unimp


class Tuned:
    """Inside, a model has some other weights; outside, its own.

    Args:
        model: whose weights are swapped, in place.
        changed: weights by their names in the model; none is fine.
    """

    def __init__(self, model: Unimp, changed: Mapping[str, Tensor]) -> None:
        self.model, self.changed = model, changed

    def __enter__(self) -> None:
        own = self.model.state_dict()
        self.kept = {name: own[name].clone() for name in self.changed}
        self._put(self.changed)

    def __exit__(self, *_: object) -> None:
        self._put(self.kept)

    def _put(self, weights: Mapping[str, Tensor]) -> None:
        own = self.model.state_dict()
        with torch.no_grad():
            for name, value in weights.items():
                own[name].copy_(value)
