"""The catalogue's names as a prefix tree in arrays: which id may follow what was written so far.

    nodes: all prefixes, level after level, each level in lexicographic order; node 0 is the empty prefix
    widest: the most children a node has

Children of a node stand side by side, so three arrays of one integer a node are the whole tree: 120,000 items of four
ids take about half a second and 10 MB.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import LogitsProcessor

from unimp.errors import UnimpError


@dataclass(frozen=True)
class Trie:
    """A prefix tree over sequences of equal length.

    `ids` `(nodes,)` is the id that leads to a node (-1: the root), `first` and `count` `(nodes,)` are its run of
    children, `item` `(nodes,)` the item it names in full (-1: none). `levels` is the length of a name, `widest` the
    most children of a node.
    """

    ids: Tensor
    first: Tensor
    count: Tensor
    item: Tensor
    levels: int
    widest: int

    @classmethod
    def of(cls, names: NDArray[np.int64]) -> Trie:
        """The tree of names `(items, levels)`, as `Vocabulary.items_named` gives them.

        Raises:
            UnimpError: no items, or two of one name.
        """
        items, levels = names.shape
        if not items:
            raise UnimpError("a catalogue of no items has no names to generate; build the dataset again")
        order = np.lexsort(names.T[::-1])
        rows = names[order]
        ids = [np.array([-1])]
        counts: list[NDArray[np.int64]] = []
        parent_of = np.zeros(items, dtype=np.int64)  # each sorted row's node at the level above
        for level in range(levels):
            starts = np.ones(items, dtype=bool)
            starts[1:] = (parent_of[1:] != parent_of[:-1]) | (rows[1:, level] != rows[:-1, level])
            ids.append(rows[starts, level])
            counts.append(np.bincount(parent_of[starts], minlength=int(parent_of[-1]) + 1))
            parent_of = np.cumsum(starts) - 1
        if len(ids[-1]) < items:
            twice = int(np.flatnonzero(np.diff(parent_of) == 0)[0])
            one, other = sorted((int(order[twice]), int(order[twice + 1])))
            raise UnimpError(f"items {one} and {other} have the same semantic id; make the ids again")
        counts.append(np.zeros(items, dtype=np.int64))
        count = np.concatenate(counts)
        item = np.full(len(count), -1)
        item[-items:] = order
        first = 1 + np.cumsum(count) - count
        arrays = (np.concatenate(ids), first, count, item)
        led, begin, many, named = (torch.as_tensor(a) for a in arrays)
        return cls(led, begin, many, named, levels, int(count.max()))

    def to(self, device: torch.device | str) -> Trie:
        """The tree on another device."""
        ids, first, count, item = (t.to(device) for t in (self.ids, self.first, self.count, self.item))
        return Trie(ids, first, count, item, self.levels, self.widest)

    def children(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Ids and nodes `(n, widest)` that may follow nodes `(n,)`, ascending; -1 where there is none."""
        known = nodes >= 0
        nodes = nodes.clamp(min=0)
        place = torch.arange(int(self.count[nodes].max()) if len(nodes) else 0, device=nodes.device)
        there = (place < self.count[nodes].unsqueeze(1)) & known.unsqueeze(1)
        kids = torch.where(there, self.first[nodes].unsqueeze(1) + place, 0)
        return torch.where(there, self.ids[kids], -1), torch.where(there, kids, -1)

    def walk(self, written: Tensor) -> Tensor:
        """Nodes `(n,)` of prefixes `(n, up to levels)`; -1 for what begins no name."""
        nodes = torch.zeros(len(written), dtype=torch.long, device=written.device)
        for column in written.unbind(1):
            nodes = self._child(nodes, column)
        return nodes

    def _child(self, nodes: Tensor, ids: Tensor) -> Tensor:
        """The child of each node that an id leads to, by bisection of its run; -1 where there is none."""
        known, parent = nodes >= 0, nodes.clamp(min=0)
        low = self.first[parent]
        end = low + self.count[parent]
        high = end
        for _ in range(self.widest.bit_length()):
            middle = (low + high).div(2, rounding_mode="floor").clamp(max=len(self.ids) - 1)
            less = (low < high) & (self.ids[middle] < ids)
            low, high = torch.where(less, middle + 1, low), torch.where(less | (low >= high), high, middle)
        found = low.clamp(max=len(self.ids) - 1)
        return torch.where(known & (low < end) & (self.ids[found] == ids), found, -1)


class TrieProcessor(LogitsProcessor):
    """Lets `generate` write names of items and nothing else.

    Args:
        trie: the catalogue.
        prompt: ids before the answer begins, padding included.
        end: the one id allowed once a name is whole.
    """

    def __init__(self, trie: Trie, prompt: int, end: int) -> None:
        self.trie, self.prompt, self.end = trie, prompt, end

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores `(rows, ids)` with minus infinity where no name goes on, given what was read `(rows, tokens)`."""
        written = input_ids[:, self.prompt :][:, : self.trie.levels]
        nodes = self.trie.walk(written)
        ids, kids = self.trie.children(nodes)
        allowed = torch.zeros_like(scores, dtype=torch.bool)
        row = torch.arange(len(scores), device=scores.device).unsqueeze(1).expand_as(ids)
        there = kids >= 0
        allowed[row[there], ids[there]] = True
        allowed[:, self.end] |= ~there.any(1)
        return scores.masked_fill(~allowed, -torch.inf)
