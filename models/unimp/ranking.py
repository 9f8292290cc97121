"""Lists of items: by item logits in one forward pass, or by beam search over their names.

    n: examples;   items: the catalogue;   k: length of a list

Where items have one id each, ranking needs no search: the logits of all item ids at the answer's place order the
catalogue as constrained beam search would. Items of several ids are searched through their trie.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimp.beams import name_beams, split_rows, text_beams
from unimp.errors import UnimpError
from unimp.reader import Reader
from unimp.shop import Example, Ints
from unimp.streams import Stream
from unimp.trie import Trie

METHODS = ("item_logits", "constrained_beam", "free_beam")
RANKED = 100  # items of an answered list that a search by names finds
CHUNK = 65_536  # rows of the head scored at a time

Floats = NDArray[np.float32]


class Ranker:
    """Orders the catalogue for examples.

    Args:
        reader: reads them.
        searched: items `(items,)` whose names a search may find; all by default. Item logits score every item.
    """

    def __init__(self, reader: Reader, searched: NDArray[np.bool_] | None = None) -> None:
        self.searched = searched
        self.reader, self.model, self.vocabulary = reader, reader.model, reader.vocabulary
        self._trie: Trie | None = None

    def rank(
        self,
        task: str,
        examples: Sequence[Example],
        *,
        method: str | None = None,
        k: int = 10,
        beams: int | None = None,
        log: bool = False,
    ) -> Floats:
        """Scores `(n, items)` for recommendation or search; minus infinity for what a search did not find.

        Args:
            task: `recommendation` or `search`.
            examples: what is asked.
            method: see `rank_top`; only `item_logits` scores every item.
            k: items found by a search.
            beams: see `rank_top`.
            log: log-probabilities among all ids instead of logits.
        """
        items = self.vocabulary.items
        scores = np.full((len(examples), items), -np.inf, dtype=np.float32)
        if self._method(method) == "item_logits":
            with self.reader.answering():
                for numbers, stream in self.reader.streams(task, examples, going_on=False):
                    parts = [self._item_logits(stream.last, part) for part in self._parts()]
                    scores[numbers] = (torch.cat(parts, dim=1) - self._normaliser(stream.last, log)).cpu().numpy()
            return scores
        found, values = self.rank_top(task, examples, k, method=method, beams=beams)
        row, place = np.nonzero(found >= 0)
        scores[row, found[row, place]] = values[row, place]
        return scores

    def rank_top(
        self,
        task: str,
        examples: Sequence[Example],
        k: int,
        *,
        method: str | None = None,
        beams: int | None = None,
        log: bool = False,
    ) -> tuple[Ints, Floats]:
        """The first k items of each list `(n, k)` and their scores, best first; -1 where there is none.

        Args:
            task: `recommendation` or `search`.
            examples: what is asked.
            k: length of a list.
            method: `item_logits` (exact; items of one id), `constrained_beam` (over the catalogue's names), or
                `free_beam`, the released code's: any text may be written, and what names no item keeps its rank as -1.
                By default the first that the ids allow.
            beams: prefixes that a search keeps, k by default; the search is exact where it keeps them all.
            log: log-probabilities instead of logits; searches always give them.

        Raises:
            UnimpError: an unknown method, or item logits for items of several ids.
        """
        method = self._method(method)
        width = max(beams or k, k)
        copies = 1 if method == "item_logits" else width
        items, scores = np.full((len(examples), k), -1), np.full((len(examples), k), -np.inf, dtype=np.float32)
        with self.reader.answering():
            going_on = method != "item_logits" and self.vocabulary.levels > 1
            for numbers, stream in self.reader.streams(task, examples, going_on=going_on, copies=copies):
                if method == "item_logits":
                    named, best = self._best(stream.last, k)
                    best = best - self._normaliser(stream.last, log)
                elif method == "constrained_beam":
                    named, best = name_beams(stream, self.trie, self._log_probabilities, width)
                else:
                    named, best = self._free(stream, width)
                    best = best.masked_fill(named < 0, -torch.inf)
                count = min(k, named.shape[1])
                items[numbers, :count] = named[:, :count].cpu().numpy()
                scores[numbers, :count] = best[:, :count].cpu().numpy()
        return items, scores

    @property
    def trie(self) -> Trie:
        """Names of the items that may be found, made when first asked for."""
        if self._trie is None:
            count = self.vocabulary.items
            items = np.flatnonzero(self.searched if self.searched is not None else np.ones(count, dtype=bool))
            found = Trie.of(self.vocabulary.items_named(items.tolist()))
            named = torch.where(found.item >= 0, torch.as_tensor(items)[found.item.clamp(min=0)], -1)
            self._trie = replace(found, item=named).to(self.model.device)
        return self._trie

    def _method(self, method: str | None) -> str:
        atomic = self.vocabulary.levels == 1
        method = method or ("item_logits" if atomic else "constrained_beam")
        if method not in METHODS:
            raise UnimpError(f"'{method}' is no way to rank; known: {', '.join(METHODS)}")
        if method == "item_logits" and not atomic:
            raise UnimpError("item_logits needs items of one id, these have several; take constrained_beam")
        return method

    def _parts(self) -> Iterator[range]:
        ids = self.vocabulary.item_ids
        for start in range(ids.start, ids.stop, CHUNK):
            yield range(start, min(start + CHUNK, ids.stop))

    def _item_logits(self, hidden: Tensor, ids: range) -> Tensor:
        """Logits in float32: half precision would give a large catalogue many equal scores."""
        return self.model.head.some(hidden.float(), ids)

    def _best(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k best items `(rows, k)` and their logits, holding one part of the catalogue at a time."""
        named = torch.zeros((len(hidden), 0), dtype=torch.long, device=hidden.device)
        best = hidden.new_zeros((len(hidden), 0), dtype=torch.float32)
        for part in self._parts():
            values, at = (logits := self._item_logits(hidden, part)).topk(min(k, logits.shape[1]), dim=1)
            best, named = torch.cat([best, values], 1), torch.cat([named, at + part.start], 1)
            best, at = best.topk(min(k, best.shape[1]), dim=1)
            named = named.gather(1, at)
        return named - self.vocabulary.item_ids.start, best

    def _normaliser(self, hidden: Tensor, wanted: bool) -> Tensor | float:
        """What turns logits into log-probabilities among all ids, `(n, 1)`."""
        if not wanted:
            return 0.0
        parts = split_rows(self.vocabulary.size, hidden)
        return torch.cat([self.model.head(some).float().logsumexp(-1, keepdim=True) for (some,) in parts])

    def _log_probabilities(self, hidden: Tensor, ids: Tensor) -> Tensor:
        """Of item ids `(n, m)`, among all ids; some rows at a time."""
        parts = []
        for some, wanted in split_rows(self.vocabulary.size, hidden, ids):
            logits = self.model.head(some).float()
            parts.append(logits.gather(1, wanted) - logits.logsumexp(-1, keepdim=True))
        return torch.cat(parts)

    def _free(self, stream: Stream, beams: int) -> tuple[Tensor, Tensor]:
        never = torch.tensor(self.vocabulary.never_generated, device=stream.last.device)

        def next_id(hidden: Tensor, _: int) -> Tensor:
            chances: Tensor = self.model.head(hidden).float().log_softmax(-1)
            return chances.index_fill(1, never, -torch.inf)

        levels, end = self.vocabulary.levels, self.vocabulary.end
        written, scores = text_beams(stream, next_id, beams=beams, longest=levels, end=end)
        nodes = self.trie.walk(written.flatten(0, 1)).view(scores.shape)
        return torch.where(nodes >= 0, self.trie.item[nodes.clamp(min=0)], -1), scores
