"""Embeddings as two tables: rows of the text tokenizer and rows of all ids beside it.

Resizing a published embedding has cost others their item rows (in transformers >= 4.35 a resized matrix stays frozen).
Here nothing is ever resized: new ids have tables of their own, and what is trained is said once, in `trainable`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

INIT_STD = 0.02


@dataclass(frozen=True)
class Content:
    """What the last rows are, the items, given what stands in the table for them `(items, width)` (`item_rows.py`)."""

    items: int
    rows: Callable[[Tensor], Tensor]


class Kept:
    """Rows with the content that was added, made once while weights stay as they are.

    Content of 120,000 items is a product as large as the body's; text is written one id at a time, and every id would
    pay for it anew. In training one pass reads the rows and predicts by them.
    """

    def __init__(self) -> None:
        self.wanted = False
        self.rows: Tensor | None = None

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Inside, weights must not change: rows are made at the first use and forgotten at the end."""
        before, self.wanted = self.wanted, True
        try:
            yield
        finally:
            self.wanted = before
            if not before:
                self.rows = None

    def of(self, rows: Tensor, content: Content | None) -> Tensor:
        """The rows, the last of them with their content."""
        if content is None:
            return rows
        if not self.wanted:
            return _with(rows, content)
        if self.rows is None or (torch.is_grad_enabled() and not self.rows.requires_grad):
            self.rows = _with(rows, content)
        return self.rows


class InputRows(nn.Module):
    """Embeddings `(ids, width)` of text ids and of new ids.

    Args:
        text: how many text ids there are.
        new: how many ids follow them.
        width: width of a row.
        scale: factor on rows that are read.
    """

    def __init__(self, text: int, new: int, width: int, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.text = nn.Embedding(text, width)
        self.new = nn.Embedding(new, width)
        self.content: Content | None = None
        self.kept = Kept()

    def table(self) -> Tensor:
        """Rows of new ids `(new, width)`."""
        return self.kept.of(self.new.weight, self.content)

    def forward(self, ids: Tensor) -> Tensor:
        """Rows of ids `(batch, tokens)` as `(batch, tokens, width)`."""
        count = self.text.num_embeddings
        old = self.text(ids.clamp(max=count - 1))
        own = functional.embedding((ids - count).clamp(min=0), self.table())
        read = torch.where((ids >= count).unsqueeze(-1), own, old)
        return read if self.scale == 1.0 else read * self.scale


class OutputRows(nn.Module):
    """The head: one row a text id and one a new id, and with `bias` a number for each new id."""

    def __init__(self, text: int, new: int, width: int, *, bias: bool = False) -> None:
        super().__init__()
        self.text = nn.Linear(width, text, bias=False)
        self.new = nn.Linear(width, new, bias=bias)
        self.content: Content | None = None
        self.kept = Kept()

    def table(self) -> Tensor:
        """Rows of new ids `(new, width)`."""
        return self.kept.of(self.new.weight, self.content)

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits `(..., ids)` of hidden states `(..., width)`."""
        return torch.cat([self.text(hidden), functional.linear(hidden, self.table(), self.new.bias)], dim=-1)

    def some(self, hidden: Tensor, ids: range) -> Tensor:
        """Logits `(..., len(ids))` of a run of new ids only: what ranking a catalogue needs."""
        first = ids.start - self.text.out_features
        some = slice(first, first + len(ids))
        table, bias = self.table()[some].to(hidden.dtype), self.new.bias
        return functional.linear(hidden, table, bias[some].to(hidden.dtype) if bias is not None else None)


def _with(rows: Tensor, content: Content) -> Tensor:
    first = len(rows) - content.items
    return torch.cat([rows[:first], content.rows(rows[first:])])
