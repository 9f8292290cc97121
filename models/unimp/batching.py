"""Rows of an epoch, gathered into batches of like length, the same for the same seed and epoch on any machine.

A user gives one row: a window of the log as the trunk, and questions after its items. What is asked where is drawn anew
each epoch, keyed by seed, epoch and user, so a batch depends on nothing but its number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from unimp.batch import PADDING, Batch
from unimp.sequence import Row, Writer
from unimp.shop import IN_HISTORY, Example, Log, Shop
from unimp.vocabulary import IGNORED


@dataclass(frozen=True)
class Plan:
    """What is asked in one epoch.

    Args:
        questions: task to the number of its questions a user and epoch; 0 asks after every item.
        tokens: ids of a batch, padding among them.
        separate: one row a question instead of one a user: the alternative that the benchmark measures.
        users: task to the share of users who are asked it, drawn each epoch; all where nothing is said.
        shortened: share of searches that ask with the last words of their query alone, as people do.
    """

    questions: Mapping[str, int]
    tokens: int = 8192
    separate: bool = False
    users: Mapping[str, float] = field(default_factory=dict)
    shortened: float = 0.0


def rng_of(*keys: int) -> np.random.Generator:
    """A generator that depends on its keys alone."""
    return np.random.default_rng(list(keys))


class Rows:
    """Builds the row of a user in an epoch.

    Args:
        shop: what is learned from.
        writer: writes rows.
        plan: what is asked.
        seed: of all draws.
    """

    def __init__(self, shop: Shop, writer: Writer, plan: Plan, seed: int) -> None:
        self.shop, self.writer, self.plan, self.seed = shop, writer, plan, seed

    @property
    def users(self) -> int:
        """How many rows are users' own; none where selection alone is asked, which has rows of its own."""
        return 0 if self.plan.questions.keys() == {"selection"} else self.shop.log.users

    def __len__(self) -> int:
        return self.users + (len(self.shop.selection) if self.plan.questions.get("selection") else 0)

    def row(self, number: int, epoch: int) -> list[Row]:
        """Rows of a user, or of a selection example (numbers from `users` on)."""
        users = self.users
        if number >= users:
            if rng_of(self.seed, epoch, number).random() >= self.plan.users.get("selection", 1.0):
                return []
            example = self.shop.selection[number - users]
            return [self.writer.row("selection", example)]
        return self._of_user(number, epoch)

    def _of_user(self, user: int, epoch: int) -> list[Row]:
        log, rng = self.shop.log, rng_of(self.seed, epoch, user)
        first, last = int(log.offsets[user]), int(log.offsets[user + 1])
        most = self.writer.style.history
        begin = first + int(rng.integers(0, max(last - first - most, 1)))
        end = min(begin + most + 1, last)  # the last row of a window is an answer only
        asked = self._asked(rng, begin, end)
        before = max(first, begin - self.writer.style.earlier)  # items from here to `begin` are shown bare
        window = slice(before, max(end - 1, begin + 1))
        if self.plan.separate:
            return [self._alone(task, row, before) for task, row in asked]
        questions = []
        for number in rng.permutation(len(asked)).tolist():
            task, target = asked[number]
            example = self._example(rng, task, target)
            questions.append((task, target, example, self.writer.question(task, example)))
        # The trunk is one for all, so it leaves room for the longest of them.
        spare = max((len(piece.ids) + self.writer.room(task) for task, _, _, piece in questions), default=0)
        row = self.writer.trunk(log.item[window], log.rating[window], log.why[window], spare)
        for task, target, example, piece in questions:
            after = target - before - row.dropped
            # Positions stay short; what bounds memory is the row. No task is left out more than another.
            if after < 0 or len(row) > self.writer.style.longest * 2:
                continue
            self.writer.branch(row, task, example, piece, after=after)
        return [row]

    def _example(self, rng: np.random.Generator, task: str, target: int) -> Example:
        """The question whose answer is a row of the log, a search of some with fewer words."""
        example = example_of(self.shop.log, target)
        if task != "search" or not example.query or not self.plan.shortened:
            return example
        words, draw = example.query.split(), rng.random()
        if draw >= self.plan.shortened:
            return example
        return replace(example, query=" ".join(words[int(rng.integers(len(words))) :]))

    def _alone(self, task: str, target: int, begin: int) -> Row:
        log = self.shop.log
        shown, example = slice(begin, target), example_of(log, target)
        history = log.item[shown], log.rating[shown], log.why[shown]
        return self.writer.row(task, replace(example, history=history[0], ratings=history[1], whys=history[2]))

    def _asked(self, rng: np.random.Generator, begin: int, end: int) -> list[tuple[str, int]]:
        found = []
        for task in IN_HISTORY:
            if task not in self.plan.questions or task not in self.shop.log.learned:
                continue
            if (share := self.plan.users.get(task, 1.0)) < 1 and rng.random() >= share:
                continue
            rows = begin + 1 + np.flatnonzero(self.shop.log.learned[task][begin + 1 : end])
            most = self.plan.questions[task]
            if most and len(rows) > most:
                rows = np.sort(rng.choice(rows, most, replace=False))
            found += [(task, int(row)) for row in rows]
        return found


def example_of(log: Log, row: int) -> Example:
    """The question whose answer is a row of the log; its history is the trunk's affair."""
    rating = float(log.rating[row])
    return Example(
        id="",
        cohort="",
        history=log.item[:0],
        ratings=log.rating[:0],
        whys=(),
        query=log.queries[log.query[row]] if log.query[row] >= 0 else None,
        target=int(log.item[row]),
        answer_items=(int(log.item[row]),),
        answer_rating=None if np.isnan(rating) else rating,
        answer_text=log.why[row],
    )


def epoch_batches(lengths: NDArray[np.int64], tokens: int, seed: int, epoch: int, share: int = 1) -> list[list[int]]:
    """Row numbers of each batch of an epoch.

    Rows are shuffled, sorted by length within stretches of some fifty batches, cut where the padded size would pass
    `tokens`, and the batches shuffled. With `share` processes the number of batches is a multiple of it: the largest
    are cut in two until it is, so that no row is read twice.
    """
    rng = rng_of(seed, epoch, 1)
    order = rng.permutation(len(lengths))
    stretch = max(1, int(50 * tokens / max(float(lengths.mean()), 1.0))) if len(lengths) else 1
    batches: list[list[int]] = []
    for start in range(0, len(order), stretch):
        part = order[start : start + stretch]
        part = part[np.argsort(lengths[part], kind="stable")]
        current: list[int] = []
        for number in part:
            if current and (len(current) + 1) * int(lengths[number]) > tokens:
                batches.append(current)
                current = []
            current.append(int(number))
        if current:
            batches.append(current)
    batches = [batches[k] for k in rng.permutation(len(batches))]
    while len(batches) % share and any(len(b) > 1 for b in batches):
        largest = max(range(len(batches)), key=lambda k: (len(batches[k]), -k))
        half = len(batches[largest]) // 2
        batches[largest : largest + 1] = [batches[largest][:half], batches[largest][half:]]
    return batches


def collate(rows: Sequence[Row], has_picture: NDArray[np.bool_], pad: int, *, left: bool = False) -> Batch:
    """Rows side by side, padded at the end (or the front, for generation).

    `has_picture` `(items,)`: tokens of other items see nothing.
    """
    width = max(len(row) for row in rows)
    shape = (len(rows), width)
    ids, labels = np.full(shape, pad), np.full(shape, IGNORED)
    positions, horizon = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    segments, items = np.full(shape, PADDING), np.full(shape, -1)
    which, kinds, weights = np.full(shape, -1), np.full(shape, -1), np.zeros(shape, dtype=np.float32)
    query, queries = np.full(shape, -1), [words for row in rows for words in row.queries.values()]
    asked = 0  # queries of earlier rows
    for k, row in enumerate(rows):
        at = slice(width - len(row), width) if left else slice(0, len(row))
        ids[k, at], labels[k, at], positions[k, at] = row.ids, row.labels, row.positions
        segments[k, at], horizon[k, at], items[k, at] = row.segments, row.horizon, row.items
        which[k, at], kinds[k, at], weights[k, at] = row.which, row.kinds, row.weights
        number = np.full(row.branches + 1, -1)  # by segment
        number[list(row.queries)] = asked + np.arange(len(row.queries))
        query[k, at] = number[row.segments]
        asked += len(row.queries)
    items = np.where((items >= 0) & has_picture[np.maximum(items, 0)], items, -1)
    pictures, place = np.unique(items, return_inverse=True)
    slots = place.reshape(shape)
    if len(pictures) and pictures[0] == -1:
        pictures, slots = pictures[1:], slots - 1
    words = np.array([word for own in queries for word in own], dtype=np.int64)
    starts = np.cumsum([0, *(len(own) for own in queries)], dtype=np.int64)[:-1]
    tensors = (ids, labels, positions, segments, horizon, slots, which, kinds, weights, pictures, query, words, starts)
    return Batch(*(torch.as_tensor(np.ascontiguousarray(t)) for t in tensors))
