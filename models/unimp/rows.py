"""Embeddings as two tables: rows of the text tokenizer and rows of all ids beside it.

Resizing a published embedding has cost others their item rows (in transformers >= 4.35 a resized matrix stays frozen).
Here nothing is ever resized: new ids have tables of their own, and what is trained is said once, in `trainable`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

INIT_STD = 0.02


class InputRows(nn.Module):
    """Embeddings `(ids, width)` of text ids and of new ids.

    Args:
        text: how many text ids there are.
        new: how many ids follow them.
        width: width of a row.
    """

    def __init__(self, text: int, new: int, width: int) -> None:
        super().__init__()
        self.text = nn.Embedding(text, width)
        self.new = nn.Embedding(new, width)
        self.added: Callable[[], Tensor] | None = None  # content of the last rows, the items (`item_rows.py`)

    def table(self) -> Tensor:
        """Rows of new ids `(new, width)`."""
        return _with(self.new.weight, self.added)

    def forward(self, ids: Tensor) -> Tensor:
        """Rows of ids `(batch, tokens)` as `(batch, tokens, width)`."""
        count = self.text.num_embeddings
        old = self.text(ids.clamp(max=count - 1))
        own = functional.embedding((ids - count).clamp(min=0), self.table())
        return torch.where((ids >= count).unsqueeze(-1), own, old)


class OutputRows(nn.Module):
    """The head: one row a text id and one a new id, no bias."""

    def __init__(self, text: int, new: int, width: int) -> None:
        super().__init__()
        self.text = nn.Linear(width, text, bias=False)
        self.new = nn.Linear(width, new, bias=False)
        self.added: Callable[[], Tensor] | None = None  # content of the last rows, the items (`item_rows.py`)

    def table(self) -> Tensor:
        """Rows of new ids `(new, width)`."""
        return _with(self.new.weight, self.added)

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits `(..., ids)` of hidden states `(..., width)`."""
        return torch.cat([self.text(hidden), functional.linear(hidden, self.table())], dim=-1)

    def some(self, hidden: Tensor, ids: range) -> Tensor:
        """Logits `(..., len(ids))` of a run of new ids only: what ranking a catalogue needs."""
        first = ids.start - self.text.out_features
        return functional.linear(hidden, self.table()[first : first + len(ids)])


def _with(rows: Tensor, added: Callable[[], Tensor] | None) -> Tensor:
    if added is None:
        return rows
    more = added()
    return torch.cat([rows[: len(rows) - len(more)], rows[len(rows) - len(more) :] + more])
