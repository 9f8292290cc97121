"""What a forward pass is fed, and the mask that lets several questions share one history.

A row is a trunk (the history, segment 0) and branches (one question with its answer each, segments 1, 2, ...). A branch
starts after some part of the trunk, sees the trunk up to there (`horizon`) and itself, and counts positions on from
there, so its logits are those of the same history and question in a sequence of their own.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

PADDING = -1  # segment of padding


@dataclass(frozen=True)
class Batch:
    """One batch.

    ids, labels, positions, segments, horizon, slots, which, kinds, query `(batch, tokens)` int64; weights likewise
    float32; pictures `(pictures,)` int64, item indices that `slots` point into.

    `labels` are ids to be predicted *at* the same place, from what stands before it; `unimp.vocabulary.IGNORED` where
    nothing is learned. `kinds` tells the task a label belongs to (`unimp.sequence.KINDS`), -1 where there is none.
    `slots` names the picture a token sees, -1 for none; `which` counts within an `<image>` run, -1 elsewhere.
    `query` `(batch, tokens)` names the query that is asked there, -1 for none. `words` `(words,)` int64 are the
    different ids of all queries one after the other, `starts` `(queries,)` where each begins.
    """

    ids: Tensor
    labels: Tensor
    positions: Tensor
    segments: Tensor
    horizon: Tensor
    slots: Tensor
    which: Tensor
    kinds: Tensor
    weights: Tensor
    pictures: Tensor
    query: Tensor
    words: Tensor
    starts: Tensor

    def to(self, device: torch.device | str) -> Batch:
        """The batch on another device."""
        return Batch(**{f.name: getattr(self, f.name).to(device) for f in dataclasses.fields(self)})

    @property
    def tokens(self) -> int:
        """Tokens that are no padding."""
        return int((self.segments != PADDING).sum())

    def allowed(self) -> Tensor:
        """Which token may attend to which `(batch, tokens, tokens)`; padding attends to itself alone."""
        return tree_mask(self.segments, self.positions, self.horizon)


def tree_mask(segments: Tensor, positions: Tensor, horizon: Tensor) -> Tensor:
    """The mask of trunk and branches `(batch, tokens, tokens)`.

    Token i sees token j not after it if both are of one segment, or if j is of the trunk and before i's horizon.
    """
    place = torch.arange(segments.shape[1], device=segments.device)
    before = place.unsqueeze(0) <= place.unsqueeze(1)
    own = segments.unsqueeze(2) == segments.unsqueeze(1)
    trunk = (segments.unsqueeze(1) == 0) & (positions.unsqueeze(1) < horizon.unsqueeze(2))
    real = (segments.unsqueeze(1) != PADDING) & (segments.unsqueeze(2) != PADDING)
    seen = before & (own | trunk) & real
    return seen | torch.eye(segments.shape[1], dtype=torch.bool, device=segments.device)
