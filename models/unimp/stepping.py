"""One forward pass and its loss, and hidden states that are known already."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from unimp import losses, precision
from unimp.batch import Batch
from unimp.loading import Load, Targets
from unimp.modeling import Unimp
from unimp.recipe import Recipe


class LossStep(nn.Module):
    """Forward pass and loss in one call: what processes wrap. The model's weights appear under `model.`."""

    def __init__(self, model: Unimp, recipe: Recipe) -> None:
        super().__init__()
        self.model, self.gamma, self.norm, self.bf16 = model, recipe.gamma, recipe.norm, recipe.bf16

    def forward(
        self, batch: Batch | None, patches: Tensor | None, hidden: Tensor | None, targets: Targets, amount: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The loss, a batch's part of a sum over batches divided by `amount`, and losses of each label `(n,)`.

        `hidden` `(n, width)` replaces batch and patches where hidden states are known.
        """
        with precision.products(targets.labels.device, self.bf16):
            if hidden is not None:
                logits = self.model.head(hidden)
            else:
                assert batch is not None
                logits, _ = self.model.supervised(batch, patches)
        each = losses.focal(logits, targets.labels, self.gamma)
        return losses.combine(each, targets.weights, targets.answers, self.norm, amount), each.detach()


class Hidden:
    """What a forward pass is given; hidden states that come again are computed once, where only the head learns.

    Args:
        model: reads batches.
        device: of all tensors.
        bf16: as in the recipe.
        keeps: whether hidden states are kept.
    """

    def __init__(self, model: Unimp, device: torch.device, bf16: str, *, keeps: bool) -> None:
        self.model, self.device, self.bf16, self.keeps = model, device, bf16, keeps
        self._states: dict[tuple[int, int], Tensor] = {}
        self._loads: dict[tuple[int, int], Load] = {}

    def load(self, draw: int, key: int, idle: bool) -> Load | None:
        """A batch of a drawing whose hidden states are known, without its ids."""
        known = self._loads.get((draw, key))
        return replace(known, idle=idle) if known is not None else None

    def input(self, load: Load, draw: int) -> tuple[Batch | None, Tensor | None, Tensor | None]:
        """Batch and patches, or the hidden states `(n, width)` before its n labels."""
        if (draw, load.key) in self._states:
            return None, None, self._states[draw, load.key].to(self.device)
        assert load.batch is not None
        batch = load.batch.to(self.device)
        patches = load.patches.to(self.device) if load.patches is not None else None
        if not self.keeps:
            return batch, patches, None
        with torch.no_grad(), precision.products(self.device, self.bf16):
            before = self.model.read(batch, patches).flatten(0, 1)[load.targets.places.to(self.device) - 1]
        self._states[draw, load.key] = before.cpu()
        self._loads[draw, load.key] = replace(load, batch=None, patches=None)
        return None, None, before
