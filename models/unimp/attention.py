"""Scaled dot-product attention, wherever this package attends by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

WHOLE = ["cpu"]  # devices whose attention is float32 even where other products are bfloat16

_T = TypeVar("_T")


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, **more: Any) -> Tensor:
    """PyTorch's `scaled_dot_product_attention` of `(batch, heads, tokens, width)`, in the precision of `computed`."""
    return computed(functional.scaled_dot_product_attention, query, key, value, mask, **more)


def computed(
    attention: Callable[..., _T], query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **more: Any
) -> _T:
    """What `attention` makes of these, on a CPU in float32 whatever autocast says.

    A CPU's kernels for bfloat16 split attention into products too small for its matrix units: backwards over 384 rows
    of 65 ids and heads of 32 they take 41 ms, those for float32 6 (PyTorch 2.13, two cores).
    """
    kind = query.device.type
    if kind not in WHOLE or not torch.is_autocast_enabled(kind):
        return attention(query, key, value, mask, **more)
    if mask is not None and mask.is_floating_point():
        mask = mask.float()
    with torch.autocast(kind, enabled=False):
        return attention(query.float(), key.float(), value.float(), mask, **more)
