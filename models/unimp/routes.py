"""Which token sees which picture, arranged so that cost does not grow with the other pictures of a batch.

With the exclusive mask a token sees one picture, that of the most recent `<image>` before or at it. Tokens of one
picture are gathered into groups of `GROUP`; each group meets its own latents only. Work is tokens x latents, where a
dense mask costs tokens x pictures x latents.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unimp.permutation import Permutation

GROUP = 32  # tokens that share one gathered copy of keys and values


@dataclass(frozen=True)
class Routes:
    """Groups of tokens that see the same picture.

    `picture` `(groups,)` is what a group sees; `groups` brings tokens `(batch * tokens,)` to their places in groups
    `(groups * GROUP,)`, of which some stay empty.
    """

    picture: Tensor
    groups: Permutation
    size: int

    @classmethod
    def of(cls, slots: Tensor, group: int = GROUP) -> Routes:
        """Groups for `slots` `(batch, tokens)`: the picture each token sees, -1 for none."""
        flat = slots.flatten()
        seeing = (flat >= 0).nonzero().squeeze(1)
        picture, order = torch.sort(flat[seeing], stable=True)
        token = seeing[order]
        if not len(token):
            return cls(token, Permutation.of(token, len(flat)), group)
        count = torch.bincount(picture)
        begin = count.cumsum(0) - count
        rank = torch.arange(len(token), device=token.device) - begin[picture]  # place among the picture's own tokens
        groups_of = (count + group - 1).div(group, rounding_mode="floor")
        first = groups_of.cumsum(0) - groups_of
        row = first[picture] + rank.div(group, rounding_mode="floor")
        total = int(groups_of.sum())
        place = token.new_full((total * group,), -1)
        place[row * group + rank.remainder(group)] = token
        seen = picture.new_empty(total)
        seen[row] = picture
        return cls(seen, Permutation.of(place, len(flat)), group)

    def gather(self, x: Tensor) -> Tensor:
        """`x` `(batch, tokens, width)` as `(groups, GROUP, width)`; zeros where a group is not full."""
        return self.groups(x.flatten(0, 1)).view(-1, self.size, x.shape[-1])

    def scatter(self, grouped: Tensor, like: Tensor) -> Tensor:
        """Grouped rows back to their places; zeros where a token sees nothing. Shape of `like` `(batch, tokens, _)`."""
        return self.groups.inverse(grouped.flatten(0, 1)).view(*like.shape[:2], -1)
