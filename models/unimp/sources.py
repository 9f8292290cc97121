"""Rows that are learned before and beside the users' own: text, captions, searches, histories, pictures.

Each is a `Rows` in the sense of the training loop: numbered rows, the same for the same number and epoch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache, partial, reduce

import numpy as np
from numpy.typing import NDArray

from unimp.batching import Plan, Rows, rng_of
from unimp.sequence import CONTEXT, Piece, Row, Writer
from unimp.shop import Example, Ints, Shop

Ids = NDArray[np.int32]
BLOCK = 256  # ids of text in a row
PASSAGE = 8  # most words of an item by which it is asked for
_WORD, _APOSTROPHES = re.compile(r"[^\W_]+"), re.compile(r"['\u2019`\u00b4]")
_NOBODY = np.zeros(0, dtype=np.int64)
BARE = 6  # ids of a bare item, about: its name, its rating, the end


class Text(Rows):
    """Texts end to end, in rows of `BLOCK` ids, every id learned: what teaches a body to read.

    Their order is drawn anew each epoch, so that no two neighbours are learned as one text.
    """

    def __init__(self, shop: Shop, writer: Writer, texts: Sequence[Ids], tokens: int, seed: int) -> None:
        super().__init__(shop, writer, Plan({}, tokens), seed)
        self.texts = texts
        self._of: tuple[int, NDArray[np.int64]] | None = None
        self._total = sum(len(text) + 1 for text in texts)

    def __len__(self) -> int:
        return max(1, -(-self._total // BLOCK))

    def lengths(self) -> NDArray[np.int64]:
        """Every row but the last is full."""
        return np.full(len(self), BLOCK + 1, dtype=np.int64)

    def row(self, number: int, epoch: int) -> list[Row]:
        """A row of an epoch's text."""
        known = self._of
        if known is None or known[0] != epoch:
            end = self.writer.vocabulary.end
            order = rng_of(self.seed, epoch, 3).permutation(len(self.texts))
            flat = [np.append(self.texts[k], end).astype(np.int64) for k in order]
            self._of = known = (epoch, np.concatenate(flat) if flat else np.zeros(0, np.int64))
        ids = known[1][number * BLOCK : (number + 1) * BLOCK].tolist()
        row = Row()
        self.writer._put(row, Piece.of([self.writer.vocabulary.end]), 0, 0, CONTEXT, 1.0)
        self.writer._put(row, Piece.of(ids, learned=True), 0, 1, CONTEXT, 1.0)
        return [row]


class Captions(Rows):
    """One item a row: its attributes from its picture, its id from both (the paper's context reconstruction).

    `writer` must be of context `both` or `attributes`.
    """

    def __len__(self) -> int:
        return len(self.shop.items)

    def lengths(self) -> NDArray[np.int64]:
        """The items' own."""
        beside = 4 + self.writer.style.image_places  # begin, name and its word, end of a chunk
        return np.fromiter((len(body) + beside for body in self.writer.bodies), np.int64, len(self))

    def row(self, number: int, epoch: int) -> list[Row]:
        """The row of an item."""
        nothing = np.full(1, np.nan, dtype=np.float32)
        return [self.writer.trunk(np.array([number]), nothing, [None])]


class Searches(Rows):
    """One search a row, without a history: by a query of the log, or by a few words of the item that is to be found.

    A log names some items under some queries; this way a query is answered by any item that has all its words, and
    every item can be found by some of its own, as in a differentiable search index (Tay et al. 2022). Of the rows

        1/2   ask with a query of the log; answers are drawn as often as they were bought, and once more
        1/4   ask with words of an item that is drawn likewise, so that what is known of popularity stays
        1/4   ask with words of the item of the row's number: nobody need have bought it

    Words that every item has and bare numbers ask for nothing and are left out.
    """

    def __init__(self, shop: Shop, writer: Writer, tokens: int, seed: int) -> None:
        super().__init__(shop, writer, Plan({}, tokens), seed)
        bodies = [words_of(body) for body in shop.items.bodies]
        having: dict[str, list[int]] = {}
        for item, words in enumerate(bodies):
            for word in words:
                having.setdefault(word, []).append(item)
        self._having = {word: np.array(items) for word, items in having.items()}
        self._telling = [[w for w in words if len(having[w]) < len(bodies) and not w.isdigit()] for words in bodies]
        self._bought = 1 + np.bincount(shop.log.item, minlength=len(shop.items))
        self._queries = shop.log.query[shop.log.query >= 0]
        self._every = self._shares(np.arange(len(shop.items)))
        self._answers = lru_cache(maxsize=256)(self._answers_of)  # a broad query has many answers

    def __len__(self) -> int:
        return len(self.shop.items)

    def lengths(self) -> NDArray[np.int64]:
        """The longest of some rows, for all: they differ by a few words."""
        some = range(0, len(self), max(len(self) // 64, 1))
        return np.full(len(self), max((len(self.row(number, 0)[0]) for number in some), default=1), dtype=np.int64)

    def row(self, number: int, epoch: int) -> list[Row]:
        """The row of a search and an answer that are drawn."""
        rng = rng_of(self.seed, epoch, number, 7)
        query, item = self._drawn(rng, number)
        none = np.zeros(0, dtype=np.int64)
        row = self.writer.trunk(none, np.zeros(0, np.float32), ())
        asked = Example("", "", none, np.zeros(0, np.float32), (), query=query, answer_items=(item,))
        self.writer.branch(row, "search", asked)
        return [row]

    def _drawn(self, rng: np.random.Generator, number: int) -> tuple[str, int]:
        kind = rng.random()
        if kind < 0.5 and len(self._queries):
            query = self.shop.log.queries[int(self._queries[rng.integers(len(self._queries))])]
            items, shares = self._answers(query)
            if len(items):
                return query, _one_of(rng, items, shares)
        item = number if kind >= 0.75 else _one_of(rng, *self._every)
        words, count = self._telling[item], int(rng.integers(1, PASSAGE + 1))
        first = int(rng.integers(max(len(words) - count, 0) + 1))
        return " ".join(words[first : first + count]), item

    def _answers_of(self, query: str) -> tuple[Ints, NDArray[np.float64]]:
        """Items that have all words of a query, with their shares."""
        having = sorted((self._having.get(word, _NOBODY) for word in words_of(query)), key=len)
        found = reduce(partial(np.intersect1d, assume_unique=True), having) if having else _NOBODY
        return self._shares(found)

    def _shares(self, items: Ints) -> tuple[Ints, NDArray[np.float64]]:
        """Items, and up to where in [0, 1] each one's share of draws goes."""
        bought = self._bought[items]
        return items, np.cumsum(bought) / max(bought.sum(), 1)


def words_of(text: str) -> list[str]:
    """Different words of a text in small letters, as the benchmark makes queries: apostrophes go, other marks part."""
    return list(dict.fromkeys(_WORD.findall(_APOSTROPHES.sub("", text.lower()))))


def _one_of(rng: np.random.Generator, items: Ints, shares: NDArray[np.float64]) -> int:
    return int(items[min(int(np.searchsorted(shares, rng.random(), side="right")), len(items) - 1)])


class Histories(Rows):
    """One user a row: the last items of the log by their ids alone, with ratings, each learned from those before.

    `writer` must be of context `id` and a style with earlier items only: a history takes a fifth of the ids so, and
    nothing but other items is there to tell the next from.
    """

    def __len__(self) -> int:
        return self.shop.log.users

    def lengths(self) -> NDArray[np.int64]:
        """About a chunk's ids an item."""
        return 1 + BARE * np.minimum(np.diff(self.shop.log.offsets), self.writer.style.earlier)

    def row(self, number: int, epoch: int) -> list[Row]:
        """The row of a user; of a long history another stretch each epoch."""
        log, most = self.shop.log, self.writer.style.earlier
        first, last = int(log.offsets[number]), int(log.offsets[number + 1])
        begin = first + int(rng_of(self.seed, epoch, number, 6).integers(0, max(last - first - most, 0) + 1))
        shown = slice(begin, min(begin + most, last))
        return [self.writer.trunk(log.item[shown], log.rating[shown], log.why[shown])]


class Pictures(Rows):
    """Picture codes from retrieved items and a query (eq. 9), one example a row.

    Codes of the retrieved items are learned as context is: each stands beside the picture that it was made of, which
    tells far more of what codes mean than the answer, whose picture nobody sees.

    Args:
        examples: what is asked, with the answer's item.
        retrieved: items found for each `(n, k)`, never the answer itself; -1 for none.
        drawings: an epoch has one example of so many that stand together, and epochs take turns.
    """

    def __init__(
        self,
        shop: Shop,
        writer: Writer,
        examples: Sequence[Example],
        retrieved: Ints,
        tokens: int,
        seed: int,
        drawings: int = 1,
    ) -> None:
        super().__init__(shop, writer, Plan({}, tokens), seed)
        self.examples, self.retrieved, self.drawings = examples, retrieved, drawings

    def __len__(self) -> int:
        return (len(self.examples) + self.drawings - 1) // self.drawings

    def lengths(self) -> NDArray[np.int64]:
        """All alike."""
        return np.full(len(self), len(self.row(0, 0)[0]) if len(self) else 1, dtype=np.int64)

    def row(self, number: int, epoch: int) -> list[Row]:
        """The row of an example."""
        number = (number * self.drawings + epoch % self.drawings) % len(self.examples)
        row = self.writer.retrieved(self.retrieved[number].tolist(), learn=self.writer.style.context != "none")
        self.writer.branch(row, "image_generation", self.examples[number])
        return [row]


def log_examples(shop: Shop, task: str, a_user: int, seed: int, keep: Callable[[int], bool]) -> list[Example]:
    """Examples with their full history, drawn from the rows of the log that a task learns, so many a user.

    `keep` says whether an item may be an answer.
    """
    log, found = shop.log, []
    for user in range(log.users):
        first, last = int(log.offsets[user]), int(log.offsets[user + 1])
        rows = first + np.flatnonzero(log.learned[task][first:last])
        rows = np.array([row for row in rows if keep(int(log.item[row]))], dtype=np.int64)
        if a_user and len(rows) > a_user:
            rows = np.sort(rng_of(seed, user, 4).choice(rows, a_user, replace=False))
        for row in rows.tolist():
            before = slice(first, row)
            found.append(
                Example(
                    id=f"{user}:{row - first}",
                    cohort="in_domain",
                    history=log.item[before],
                    ratings=log.rating[before],
                    whys=list(log.why[first:row]),
                    query=log.queries[log.query[row]] if log.query[row] >= 0 else None,
                    target=int(log.item[row]),
                    answer_items=(int(log.item[row]),),
                )
            )
    return found
