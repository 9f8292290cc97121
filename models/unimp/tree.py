"""Attention over a trunk and its branches, without the pairs that the mask of `batch.tree_mask` forbids.

    B rows, N ids a row, T ids of the longest trunk, L ids of the longest branch of a group, h heads of width d

A branch sees its trunk and itself, so a row of 300 trunk ids and 25 questions of 40 ids needs 300 x 300 / 2 + 1,000 x
340 products, where the dense mask computes 1,300 x 1,300. The result is the dense one's, branch by branch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from unimp.batch import PADDING, Batch

NAME = "unimp_tree"  # under which transformers' bodies find it
_STEP = 16  # branches of like length, in steps of so many ids, are computed together


@dataclass(frozen=True)
class Group:
    """Branches of like length: `row` `(n,)`, `place` `(n, L)` in the flattened ids, `valid` `(n, L)`.

    `mask` `(n, 1, L, T + L)` says which trunk ids and which of the branch's own each of its ids sees.
    """

    row: Tensor
    place: Tensor
    valid: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Tree:
    """How the ids of a batch hang together. `trunk` is T; `real` `(B, T)` marks trunk ids."""

    trunk: int
    real: Tensor
    groups: tuple[Group, ...]

    @classmethod
    def of(cls, batch: Batch) -> Tree:
        """The tree of a batch whose rows begin with their trunk."""
        segments, horizon = batch.segments.cpu(), batch.horizon.cpu()
        trunk = int((segments == 0).sum(1).max())
        wide = segments.shape[1]
        found: dict[int, list[tuple[int, int, int, int]]] = {}
        change = torch.ones_like(segments, dtype=torch.bool)
        change[:, 1:] = segments[:, 1:] != segments[:, :-1]
        rows, starts = change.nonzero(as_tuple=True)
        ends = torch.cat([starts[1:], starts.new_tensor([wide])])
        ends = torch.where(ends > starts, ends, wide)  # the next start is in another row
        for row, start, end in zip(rows.tolist(), starts.tolist(), ends.tolist(), strict=True):
            if segments[row, start] > 0:
                size = -(-(end - start) // _STEP) * _STEP
                found.setdefault(size, []).append((row, start, end - start, int(horizon[row, start])))
        groups = tuple(_group(size, found[size], trunk, wide, batch.ids.device) for size in sorted(found))
        return cls(trunk, (segments[:, :trunk] == 0).to(batch.ids.device), groups)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """Attention `(B, h, N, d)` of queries, keys and values of that shape; zeros at padding."""
        b, heads, n, width = q.shape
        top = [x[:, :, : self.trunk] for x in (q, k, v)]
        seen = functional.scaled_dot_product_attention(top[0], top[1], top[2], is_causal=True, scale=scale)
        out = q.new_zeros((b, n, heads, width))
        # A shorter row's places behind its own trunk belong to branches, whose turn comes below.
        out[:, : self.trunk] = seen.transpose(1, 2) * self.real[:, :, None, None]
        out = out.reshape(b * n, heads, width)
        flat = [x.transpose(1, 2).reshape(b * n, heads, width) for x in (q, k, v)]
        for group in self.groups:
            own = [x[group.place].transpose(1, 2) for x in flat]  # (n, h, L, d)
            keys = torch.cat([top[1][group.row], own[1]], dim=2)
            values = torch.cat([top[2][group.row], own[2]], dim=2)
            part = functional.scaled_dot_product_attention(own[0], keys, values, attn_mask=group.mask, scale=scale)
            part = part.to(out.dtype)  # under autocast the product is half of what the rotated queries are
            out = out.index_copy(0, group.place[group.valid], part.transpose(1, 2)[group.valid])
        return out.view(b, n, heads, width).transpose(1, 2)


def _group(size: int, branches: list[tuple[int, int, int, int]], trunk: int, wide: int, device: torch.device) -> Group:
    row, start, length, horizon = torch.tensor(branches, device=device).unbind(1)
    step = torch.arange(size, device=device)
    valid = step < length[:, None]
    place = row[:, None] * wide + start[:, None] + torch.minimum(step, length[:, None] - 1)
    past = (torch.arange(trunk, device=device) < horizon[:, None])[:, None].expand(-1, size, -1)
    own = (step[None, :] <= step[:, None])[None] & valid[:, None]
    own = own | torch.eye(size, dtype=torch.bool, device=device)  # padding sees itself: no row is empty
    return Group(row, place, valid, torch.cat([past, own.expand(len(row), -1, -1)], dim=2)[:, None])


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    tree: Tree | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """What a body's layer calls: the tree's attention where there is one, else the library's own."""
    if tree is None:
        plain: Callable[..., tuple[Tensor, Tensor | None]] = sdpa_attention_forward
        return plain(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    return tree.attend(query, key, value, scale).transpose(1, 2).contiguous(), None


def has_branches(batch: Batch) -> bool:
    """Whether a row of a batch holds more than a trunk, and trunks stand first."""
    return bool((batch.segments > 0).any()) and bool((batch.segments[:, 0] != PADDING).all())


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
