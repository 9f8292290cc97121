"""Attention over a trunk and its branches, without the pairs that the mask of `batch.tree_mask` forbids.

    B rows, N ids a row, T ids of the longest trunk, L ids of the longest branch of a group, h heads of width d

A branch sees its trunk and itself, so a row of 300 trunk ids and 25 questions of 40 ids needs 300 x 300 / 2 + 1,000 x
340 products, where the dense mask computes 1,300 x 1,300. The result is the dense one's, branch by branch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from unimp.attention import attend, computed
from unimp.batch import PADDING, Batch
from unimp.permutation import Permutation

NAME = "unimp_tree"  # under which transformers' bodies find it
_STEP = 16  # branches of like length, in steps of so many ids, are computed together


@dataclass(frozen=True)
class Group:
    """n branches of like length in the order of their rows: `counts` of them to each of the B rows.

    `mask` `(n, 1, L, T + L)` is added to scores: 0 for the trunk ids and the branch's own ids that an id sees, minus
    infinity for others.
    """

    counts: list[int]
    mask: Tensor


@dataclass(frozen=True)
class Tree:
    """How the ids of a batch hang together. `trunk` is T.

    `parts` takes the ids `(B N,)` apart: trunks `(B, T)` come first, then the branches `(n, L)` of each group, all
    flattened. Places behind a shorter trunk or branch are empty.
    """

    trunk: int
    groups: tuple[Group, ...]
    parts: Permutation

    @classmethod
    def of(cls, batch: Batch) -> Tree:
        """The tree of a batch whose rows begin with their trunk."""
        segments, horizon = batch.segments.cpu(), batch.horizon.cpu()
        trunk = int((segments == 0).sum(1).max())
        rows, wide = segments.shape
        found: dict[int, list[tuple[int, int, int, int]]] = {}
        change = torch.ones_like(segments, dtype=torch.bool)
        change[:, 1:] = segments[:, 1:] != segments[:, :-1]
        row_of, starts = change.nonzero(as_tuple=True)
        ends = torch.cat([starts[1:], starts.new_tensor([wide])])
        ends = torch.where(ends > starts, ends, wide)  # the next start is in another row
        for row, start, end in zip(row_of.tolist(), starts.tolist(), ends.tolist(), strict=True):
            if segments[row, start] > 0:
                size = -(-(end - start) // _STEP) * _STEP
                found.setdefault(size, []).append((row, start, end - start, int(horizon[row, start])))
        place = torch.arange(rows * wide).view(rows, wide)[:, :trunk]
        sources, groups = [torch.where(segments[:, :trunk] == 0, place, -1).flatten()], []
        for size in sorted(found):
            row, start, length, until = torch.tensor(found[size]).unbind(1)
            step = torch.arange(size)
            valid = step < length[:, None]
            sources.append(torch.where(valid, (row * wide + start)[:, None] + step, -1).flatten())
            counts = torch.bincount(row, minlength=rows).tolist()
            groups.append(Group(counts, _mask(until, valid, trunk).to(batch.ids.device)))
        parts = Permutation.of(torch.cat(sources).to(batch.ids.device), rows * wide)
        return cls(trunk, tuple(groups), parts)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """Attention `(B, h, N, d)` of queries, keys and values of that shape; zeros at padding."""
        b, heads, n, d = q.shape
        together = torch.cat([x.transpose(1, 2) for x in (q, k, v)], dim=-1)  # one matrix to move for three
        shapes = [(b, self.trunk), *((len(group.mask), group.mask.shape[2]) for group in self.groups)]
        parts = self.parts(together.flatten(0, 1)).split([rows * size for rows, size in shapes])
        # Split, not sliced: the gradient of a slice is as large as what it is a slice of.
        trunk, *branches = (
            x.view(*shape, heads, 3 * d).transpose(1, 2).split(d, dim=-1)
            for x, shape in zip(parts, shapes, strict=True)
        )
        seen = [attend(trunk[0], trunk[1], trunk[2], is_causal=True, scale=scale)]
        for group, (query, *own) in zip(self.groups, branches, strict=True):
            keys, values = (_joined(trunk[part], own[part - 1], group.counts) for part in (1, 2))
            mask = group.mask.to(query.dtype)
            seen.append(attend(query, keys, values, mask=mask, scale=scale))
        rows = torch.cat([x.transpose(1, 2).reshape(-1, heads * d) for x in seen])
        return self.parts.inverse(rows).view(b, n, heads, d).transpose(1, 2)


class _Joined(torch.autograd.Function):
    """What stands in a trunk before what stands in each of its branches.

    As a selection of trunks and a concatenation it would be copied twice, and its gradient added up row by row.
    """

    @staticmethod
    def forward(ctx: Any, trunk: Tensor, own: Tensor, counts: list[int]) -> Tensor:
        ctx.counts, ctx.trunk = counts, trunk.shape[2]
        both = own.new_empty((*own.shape[:2], trunk.shape[2] + own.shape[2], own.shape[3]))
        for of_row, part in zip(trunk, both[:, :, : ctx.trunk].split(counts), strict=True):
            part.copy_(of_row)
        both[:, :, ctx.trunk :] = own
        return both

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        of_trunks = [part.sum(0) for part in gradient[:, :, : ctx.trunk].split(ctx.counts)]
        return torch.stack(of_trunks), gradient[:, :, ctx.trunk :], None


def _joined(trunk: Tensor, own: Tensor, counts: list[int]) -> Tensor:
    """Keys or values `(n, h, T + L, d)` of trunks `(B, h, T, d)` and their branches `(n, h, L, d)`."""
    joined: Tensor = _Joined.apply(trunk, own, counts)  # type: ignore[no-untyped-call]
    return joined


def _mask(horizon: Tensor, valid: Tensor, trunk: int) -> Tensor:
    """The mask of a group whose branches see `horizon` `(n,)` ids of T and have ids where `valid` `(n, L)`."""
    size = valid.shape[1]
    step = torch.arange(size)
    past = (torch.arange(trunk) < horizon[:, None])[:, None].expand(-1, size, -1)
    own = (step[None, :] <= step[:, None])[None] & valid[:, None]
    own = own | torch.eye(size, dtype=torch.bool)  # padding sees itself: no row is empty
    seen = torch.cat([past, own.expand(len(horizon), -1, -1)], dim=2)[:, None]
    return torch.zeros(seen.shape).masked_fill_(~seen, float("-inf"))


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
        plain: Callable[..., tuple[Tensor, Tensor | None]] = partial(sdpa_attention_forward, module)
        return computed(plain, query, key, value, attention_mask, scaling=scaling, **kwargs)
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    return tree.attend(query, key, value, scale).transpose(1, 2).contiguous(), None


def has_branches(batch: Batch) -> bool:
    """Whether a row of a batch holds more than a trunk, and trunks stand first."""
    return bool((batch.segments > 0).any()) and bool((batch.segments[:, 0] != PADDING).all())


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
