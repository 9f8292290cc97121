"""From items, histories and answers to ids, labels and picture slots.

One item of a history reads `<image> attributes ID item_k Rating rate_r <|endofchunk|>`. A row is a trunk of such chunks
and any number of branches (`batch.py`): a question, `<answer>`, and what is to be learned. `context` chooses what of
the trunk is learned too (eq. 7): the item's id from its words and picture (the released code), its attributes from its
picture (the paper), both, or nothing. The id stands behind the attributes, so it cannot give them away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from unimp.prompts import PAPER, Words
from unimp.shop import TASKS, Example, Ints
from unimp.vocabulary import IGNORED, Vocabulary

CONTEXTS = ("id", "attributes", "both", "none")
KINDS = (*TASKS, "context")
CONTEXT = KINDS.index("context")


@dataclass(frozen=True)
class Style:
    """What a sequence shows.

    Args:
        history: most items of a history that are read in full.
        earlier: most items before those, of which id, picture and rating alone are read.
        context: what of the history is learned, one of `CONTEXTS`.
        ratings, whys: whether history items show the user's rating and explanation.
        pictures: whether `<image>` is written.
        image_places: how often it is written; once a latent for early fusion, once for all others.
        words: the wording.
        joint: whether rating and explanation are one answer.
        most_words: an explanation is learned and read up to so many ids.
        longest: ids a row may have; the oldest items go first, and are counted.
    """

    history: int = 5
    earlier: int = 0
    context: str = "id"
    ratings: bool = True
    whys: bool = False
    pictures: bool = True
    image_places: int = 1
    words: Words = PAPER
    joint: bool = False
    most_words: int = 40
    longest: int = 2048


@dataclass
class Row:
    """One growing row; see `Batch` for what the lists are. `items` are item indices, -1 for no picture."""

    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    horizon: list[int] = field(default_factory=list)
    items: list[int] = field(default_factory=list)
    which: list[int] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)  # trunk ids after each item; [0] is before the first
    seen: list[int] = field(default_factory=list)  # picture that a branch from there sees first
    queries: dict[int, tuple[int, ...]] = field(default_factory=dict)  # different ids of a branch's query
    branches: int = 0
    dropped: int = 0  # oldest items that found no place

    def __len__(self) -> int:
        return len(self.ids)


@dataclass
class Piece:
    """Some ids with their labels and pictures, not yet placed in a row."""

    ids: list[int]
    labels: list[int]
    items: list[int]
    which: list[int]

    @classmethod
    def of(cls, ids: Sequence[int], item: int = -1, learned: bool = False) -> Piece:
        """Ids that see one item's picture."""
        own = [int(i) for i in ids]
        return cls(own, list(own) if learned else [IGNORED] * len(own), [item] * len(own), [-1] * len(own))

    def __add__(self, other: Piece) -> Piece:
        return Piece(
            self.ids + other.ids, self.labels + other.labels, self.items + other.items, self.which + other.which
        )


class Writer:
    """Writes rows for one catalogue.

    Args:
        vocabulary: ids beyond text.
        bodies: ids of every item's attributes, ragged.
        encode: text to ids, special ids impossible.
        style: what is shown.
        weights: task to weight; 1 where nothing is said.
        codes: picture codes of every item `(items, places)`, -1 where it has none; for image generation.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        bodies: Sequence[NDArray[np.int32]],
        titles: Sequence[NDArray[np.int32]],
        encode: Callable[[str], Iterable[int]],
        style: Style,
        *,
        weights: dict[str, float] | None = None,
        codes: Ints | None = None,
    ) -> None:
        self.vocabulary, self.bodies, self.titles, self.style, self.codes = vocabulary, bodies, titles, style, codes
        self.weights = weights or {}
        self._encode = encode
        self._text = lru_cache(maxsize=200_000)(self._ids_of)
        self._query = lru_cache(maxsize=200_000)(self._query_of)

    def _ids_of(self, text: str) -> tuple[int, ...]:
        return tuple(int(i) for i in self._encode(text))

    def _query_of(self, query: str) -> tuple[int, ...]:
        return tuple(sorted(set(self._ids_of(f" {query.lower()}"))))

    # Pieces

    def _image(self, item: int) -> Piece:
        if not self.style.pictures:
            return Piece([], [], [], [])
        times = self.style.image_places
        return Piece([self.vocabulary.image] * times, [IGNORED] * times, [item] * times, list(range(times)))

    def _body(self, item: int, learned: bool = False) -> Piece:
        return Piece.of(self.bodies[item].tolist(), item, learned)

    def _name(self, item: int, learned: bool = False) -> Piece:
        named = Piece.of(self.vocabulary.item(item), item, learned)
        return Piece.of(self._text(f" {self.style.words.name}"), item) + named

    def chunk(self, item: int, rating: float, why: str | None, bare: bool = False) -> Piece:
        """One item of a history; a `bare` one is its id and rating alone, which see its picture from the id on."""
        style, vocabulary = self.style, self.vocabulary
        attributes, name = style.context in ("attributes", "both"), style.context in ("id", "both")
        piece = self._name(item, name)
        if not bare:
            piece = self._image(item) + self._body(item, attributes) + piece
        if style.ratings and not np.isnan(rating):
            rate = vocabulary.rate(int(np.floor(rating + 0.5)))
            piece += Piece.of(self._text(f" {style.words.rating}"), item) + Piece.of([rate], item, name)
        if style.whys and why and not bare:
            piece += Piece.of(self._text(f" {style.words.why} {why}")[: style.most_words], item)
        piece += Piece.of([vocabulary.chunk_end], item)
        if bare:
            # The picture stands behind the name: before it, it would tell the id that other items are to tell.
            named = len(self._text(f" {style.words.name}")) + len(vocabulary.item(item)) - 1
            piece.items[:named] = [-1] * named
            if style.pictures:
                piece.which[named] = 0
            else:
                piece.items = [-1] * len(piece.ids)
        return piece

    def room(self, task: str) -> int:
        """Ids that an answer may take, kept free for it whether it is learned or asked for."""
        if task == "selection":
            return len(self.vocabulary.choices) + 1
        if task == "image_generation":
            return self.codes.shape[1] if self.codes is not None else 0
        if task == "explanation" or (self.style.joint and task == "preference"):
            return self.style.most_words + 1 + self.style.joint
        return 1 if task == "preference" else self.vocabulary.levels

    def question(self, task: str, example: Example, room: int = 0) -> Piece:
        """What is asked, up to and with `<answer>` and what leads to a rating.

        -2 marks ids that see the history's last picture. A question that leaves no room for an answer, of so many ids
        at least, is asked with fewer words of its items, or the first words of its query.
        """
        piece, room = self._question(task, example, example.query), max(room, self.room(task))
        if (excess := 1 + len(piece.ids) + room - self.style.longest) <= 0:
            return piece
        told = [len(self.bodies[item]) for item in _told_of(task, example)]
        if told:
            return self._question(task, example, example.query, max(0, (sum(told) - excess) // len(told)))
        query = example.query or ""
        while len(query) > 1 and 1 + len(piece.ids) + room > self.style.longest:
            query = query[: len(query) // 2]
            piece = self._question(task, example, query)
        return piece

    def _question(self, task: str, example: Example, query: str | None, most: int | None = None) -> Piece:
        """A question whose query and words of items are given; `most` ids of each item's words."""
        before, after, middle = self.style.words.ask[task], "", Piece([], [], [], [])

        def told(item: int) -> Piece:
            return Piece.of(self.bodies[item][:most].tolist(), item) + self._name(item)

        if "{target}" in before:
            before, after = before.split("{target}")
            assert example.target is not None
            middle = self._image(example.target) + told(example.target)
        elif "{candidates}" in before:
            before, after = before.split("{candidates}")
            for label, item in zip(self.vocabulary.choices, example.candidates, strict=False):
                middle += self._image(item) + Piece.of([label], item) + told(item)
                middle += Piece.of([self.vocabulary.chunk_end], item)
        elif "{query}" in before:
            before = before.replace("{query}", query or "Unknown")
        last = middle.items[-1] if middle.items else -2
        # A rating is asked for in the words that it stands behind all through the history.
        lead = self._text(f" {self.style.words.rating}") if task == "preference" and not self.style.joint else ()
        piece = Piece.of(self._text(before.strip()), -2) if before.strip() else Piece([], [], [], [])
        asked = self._text(f" {after.strip()}" if after else "")
        return piece + middle + Piece.of([*asked, self.vocabulary.answer, *lead], last)

    def answer(self, task: str, example: Example) -> list[int]:
        """Ids of the answer; closed by the end id where its length is not fixed."""
        v = self.vocabulary
        if task in ("recommendation", "search"):
            return v.item(example.answer_items[0])
        if task == "preference" and not self.style.joint:
            assert example.answer_rating is not None
            return [v.rate(int(np.floor(example.answer_rating + 0.5)))]
        if task == "selection":
            places = [k for k, item in enumerate(example.candidates) if item in example.answer_items]
            return [*(v.choices[k] for k in places if k < len(v.choices)), v.end]
        if task == "image_generation":
            assert self.codes is not None
            return [v.pictures.start + int(c) for c in self.codes[example.answer_items[0]]]
        words = list(self._text(f" {example.answer_text or ''}".rstrip()))[: self.style.most_words]
        rate = (
            [v.rate(int(np.floor(example.answer_rating + 0.5)))] if self.style.joint and example.answer_rating else []
        )
        return [*rate, *words, v.end]

    # Rows

    def trunk(self, history: Ints, ratings: NDArray[np.float32], whys: Sequence[str | None], spare: int = 0) -> Row:
        """A row that holds the last items of a history, as many as the style shows and as find a place.

        The earlier ones of them stand there bare.

        `spare` ids are kept free for questions.
        """
        full = len(history) - min(len(history), self.style.history)
        first = max(full - self.style.earlier, 0)
        chunks = [self.chunk(int(history[k]), float(ratings[k]), whys[k], k < full) for k in range(first, len(history))]
        dropped = 0
        while chunks and 1 + spare + sum(len(c.ids) for c in chunks) > self.style.longest:
            chunks.pop(0)
            dropped += 1
        row = Row(dropped=dropped)
        self._put(row, Piece.of([self.vocabulary.end]), 0, 0, CONTEXT, 1.0)
        row.ends.append(1)
        row.seen.append(-1)
        for chunk in chunks:
            self._put(row, chunk, 0, len(row), CONTEXT, 1.0)
            row.ends.append(len(row))
            row.seen.append(chunk.items[-1])
        return row

    def retrieved(self, items: Sequence[int], learn: bool = False) -> Row:
        """A row whose trunk is retrieved items with their picture codes (eq. 9); -1 stands for none.

        With `learn` these codes are to be learned as context: which codes stand for the picture that is seen.
        """
        assert self.codes is not None
        row = Row()
        self._put(row, Piece.of([self.vocabulary.end]), 0, 0, CONTEXT, 1.0)
        row.ends.append(1)
        row.seen.append(-1)
        for item in (k for k in items if k >= 0):
            shown = [self.vocabulary.pictures.start + int(c) for c in self.codes[item] if c >= 0]
            piece = self._image(item) + Piece.of(self._text(" Title"), item)
            piece += Piece.of(self.titles[item].tolist(), item)
            piece += Piece.of(self._text(f" {self.style.words.name}"), item) + Piece.of(shown, item, learn)
            piece += Piece.of([self.vocabulary.chunk_end], item)
            self._put(row, piece, 0, len(row), CONTEXT, 1.0)
            row.ends.append(len(row))
            row.seen.append(item)
        return row

    def branch(
        self,
        row: Row,
        task: str,
        example: Example,
        question: Piece | None = None,
        *,
        after: int = -1,
        learn: bool = True,
    ) -> None:
        """Ask something after the first `after` items of the trunk, all by default, with its answer to learn.

        `question` is what `question` wrote, if it is known.
        """
        piece = question if question is not None else self.question(task, example)
        if learn:
            piece += Piece.of(self.answer(task, example), piece.items[-1], learned=True)
        seen = row.seen[after]
        put = Piece(piece.ids, piece.labels, [seen if item == -2 else item for item in piece.items], piece.which)
        row.branches += 1
        self._put(row, put, row.branches, row.ends[after], TASKS.index(task), self.weights.get(task, 1.0))
        if task == "search" and example.query:
            row.queries[row.branches] = self._query(example.query)

    def row(self, task: str, example: Example, room: int = 0, *, learn: bool = True) -> Row:
        """One question behind its history, whose oldest items go where they leave question and answer no room."""
        question = self.question(task, example, room)
        spare = len(question.ids) + max(room, self.room(task))
        row = self.trunk(example.history, example.ratings, example.whys, spare)
        self.branch(row, task, example, question, learn=learn)
        return row

    @staticmethod
    def _put(row: Row, piece: Piece, segment: int, start: int, kind: int, weight: float) -> None:
        n = len(piece.ids)
        row.ids += piece.ids
        row.labels += piece.labels
        row.positions += range(start, start + n)
        row.segments += [segment] * n
        row.horizon += [start] * n if segment else range(start + 1, start + n + 1)
        row.items += piece.items
        row.which += piece.which
        row.kinds += [kind if label != IGNORED else -1 for label in piece.labels]
        row.weights += [weight] * n


def _told_of(task: str, example: Example) -> tuple[int, ...]:
    """Items whose words a question repeats."""
    if task == "selection":
        return example.candidates
    return (example.target,) if task in ("preference", "explanation") and example.target is not None else ()
