"""One forward pass and its loss."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from unimp import losses
from unimp.batch import Batch
from unimp.loading import Targets
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
        with self.precision(targets.labels.device):
            if hidden is not None:
                logits = self.model.head(hidden)
            else:
                assert batch is not None
                logits, _ = self.model.supervised(batch, patches)
        each = losses.focal(logits, targets.labels, self.gamma)
        return losses.combine(each, targets.weights, targets.answers, self.norm, amount), each.detach()

    def precision(self, device: torch.device) -> Any:
        """bfloat16 where it is wanted and there is a GPU."""
        on = self.bf16 and device.type == "cuda"
        return torch.autocast("cuda", dtype=torch.bfloat16) if on else nullcontext()
