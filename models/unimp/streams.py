"""Prompts that are read once and then continued id by id.

    rows: continuations at hand, some of which may share a prompt (beams)

A prompt is a trunk and one branch, which is plain causal text, so padding at the front and a mask `(rows, keys)` are
all that a batch needs. The keys of pictures are computed once a block and never copied: rows name their picture. A new
id sees what the prompt's last id saw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from unimp import precision
from unimp.batch import PADDING, Batch
from unimp.modeling import Unimp, visible_pictures

Patches = Callable[[Tensor], Tensor | None]


@dataclass
class Stream:
    """Continuations of a batch of prompts.

    `latents` `(pictures, latents, width)` are the batch's pictures. `last` `(rows, width)` is the hidden state after
    the last id read, which predicts the next. `slots` `(rows, 1)` is the picture seen from now on, `visible`
    `(rows, 1, pictures)` the same where some see several. `mask` `(rows, keys)` leaves out padding, `position`
    `(rows, 1)` is that of the next id.
    """

    model: Unimp
    latents: Tensor
    last: Tensor
    slots: Tensor
    visible: Tensor | None
    mask: Tensor
    position: Tensor
    keys: dict[int, tuple[Tensor, Tensor]]
    cache: DynamicCache | None

    @classmethod
    def begin(cls, model: Unimp, batch: Batch, patches: Patches, *, going_on: bool = True) -> Stream:
        """Read the prompts of a batch that is padded at the front.

        Args:
            model: reads them.
            batch: rows of a trunk and one branch, `collate(..., left=True)`.
            patches: patch tokens `(pictures, patches, width)` of item indices, or None where there is no tower.
            going_on: whether more ids will follow; keys and values of the prompt are kept only then.
        """
        given = patches(batch.pictures) if len(batch.pictures) else None
        batch = batch.to(model.device)
        with precision.products(model.device):
            latents = model.latents(given.to(model.device) if given is not None else None)
        visible = None
        if not model.config.routed:
            visible = visible_pictures(batch, batch.allowed(), model.config)
        mask = (batch.segments != PADDING).long()
        keys: dict[int, tuple[Tensor, Tensor]] = {}
        cache = DynamicCache(config=model.config.text) if going_on else None
        with precision.products(model.device):
            hidden = model.hidden(
                batch.ids,
                latents=latents,
                slots=batch.slots,
                which=batch.which,
                positions=batch.positions,
                mask=mask,
                visible=visible,
                keys=keys,
                cache=cache,
            )
            last = model.heard(hidden[:, -1], batch.query[:, -1], batch)
        seen = visible[:, -1:] if visible is not None else None
        position = batch.positions[:, -1:] + 1
        return cls(model, latents, last, batch.slots[:, -1:], seen, mask, position, keys, cache)

    def __len__(self) -> int:
        return len(self.last)

    def step(self, ids: Tensor) -> None:
        """Read one more id a row, `(rows,)`."""
        assert self.cache is not None, "the stream was begun with going_on=False"
        blind = self.visible is None and not bool((self.slots >= 0).any())  # blocks cannot look for nobody
        self.mask = torch.cat([self.mask, torch.ones_like(self.mask[:, :1])], dim=1)
        with precision.products(self.model.device):
            hidden = self.model.hidden(
                ids.unsqueeze(1),
                latents=self.latents[:0] if blind else self.latents,
                slots=self.slots,
                which=torch.full_like(self.slots, -1),
                positions=self.position,
                mask=self.mask,
                visible=self.visible,
                keys=self.keys,
                cache=self.cache,
            )
        self.last, self.position = hidden[:, -1], self.position + 1

    def take(self, rows: Tensor) -> None:
        """Go on with these rows `(new rows,)` instead; one may stand there several times, or not at all."""
        self.last, self.slots, self.mask = self.last[rows], self.slots[rows], self.mask[rows]
        self.position = self.position[rows]
        if self.visible is not None:
            self.visible = self.visible[rows]
        if self.cache is not None:
            self.cache.reorder_cache(cast(torch.LongTensor, rows))
