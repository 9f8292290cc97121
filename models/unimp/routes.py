"""Which token sees which picture, arranged so that cost does not grow with the other pictures of a batch.

With the exclusive mask a token sees one picture, that of the most recent `<image>` before or at it. Tokens of one
picture are gathered into groups of `GROUP`; each group meets its own latents only. Work is tokens x latents, where a
dense mask costs tokens x pictures x latents.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

GROUP = 32  # tokens that share one gathered copy of keys and values


@dataclass(frozen=True)
class Routes:
    """Groups of tokens that see the same picture.

    `token` `(groups, GROUP)` are places in the flattened `(batch * tokens)`; places without a token repeat the group's
    first and are not `valid`. `picture` `(groups,)` is what the group sees. `source` and `target` `(seeing tokens,)`
    are the valid places in the flattened groups and where each belongs: known here, they need not be searched for in
    every block, where a GPU would have to wait for the answer.
    """

    token: Tensor
    valid: Tensor
    picture: Tensor
    source: Tensor
    target: Tensor

    @classmethod
    def of(cls, slots: Tensor, group: int = GROUP) -> Routes:
        """Groups for `slots` `(batch, tokens)`: the picture each token sees, -1 for none."""
        flat = slots.flatten()
        seeing = (flat >= 0).nonzero().squeeze(1)
        picture, order = torch.sort(flat[seeing], stable=True)
        token = seeing[order]
        if not len(token):
            empty = token.new_zeros((0, group))
            return cls(empty, empty.bool(), token, token, token)
        count = torch.bincount(picture)
        begin = count.cumsum(0) - count
        rank = torch.arange(len(token), device=token.device) - begin[picture]  # place among the picture's own tokens
        groups_of = (count + group - 1).div(group, rounding_mode="floor")
        first = groups_of.cumsum(0) - groups_of
        row = first[picture] + rank.div(group, rounding_mode="floor")
        total = int(groups_of.sum())
        column = rank.remainder(group)
        grid = token.new_full((total, group), -1)
        grid[row, column] = token
        seen = picture.new_empty(total)
        seen[row] = picture
        valid = grid >= 0
        return cls(torch.where(valid, grid, grid[:, :1]), valid, seen, row * group + column, token)

    def gather(self, x: Tensor) -> Tensor:
        """`x` `(batch, tokens, width)` as `(groups, GROUP, width)`."""
        return x.flatten(0, 1)[self.token]

    def scatter(self, grouped: Tensor, like: Tensor) -> Tensor:
        """Grouped rows back to their places; zeros where a token sees nothing. Shape of `like` `(batch, tokens, _)`."""
        flat = grouped.new_zeros((like.shape[0] * like.shape[1], grouped.shape[-1]))
        flat = flat.index_copy(0, self.target, grouped.flatten(0, 1).index_select(0, self.source))
        return flat.view(like.shape[0], like.shape[1], -1)
