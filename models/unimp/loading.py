"""Batches on their way to the model: what an epoch reads, in which order, made in the background.

The order depends on seed and epoch alone. A step is what one update of the weights learns from: `accumulate` batches
for each process, dealt out so that every batch is read by exactly one.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimp.batch import Batch
from unimp.batching import Plan, Rows, collate, epoch_batches, rng_of
from unimp.losses import supervised_places
from unimp.shop import IN_HISTORY

Patches = Callable[[Tensor], Tensor | None]
_T = TypeVar("_T")
_CHUNK_EXTRA = 6  # ids of a history item beside its attributes: <image>, name, rating, <|endofchunk|>
_QUESTION = 40  # ids of a question and its answer, roughly; what it repeats of an item is added
_SAMPLE = 32  # rows that are written to correct the estimate


@dataclass(frozen=True)
class Targets:
    """What a batch teaches: n labels.

    `places` (flat), `labels`, `kinds`, `answers` `(n,)` int64, `weights` `(n,)` float32. Labels side by side in one
    segment are one answer.
    """

    places: Tensor
    labels: Tensor
    kinds: Tensor
    answers: Tensor
    weights: Tensor

    @classmethod
    def of(cls, batch: Batch) -> Targets:
        """The targets of a batch."""
        places = supervised_places(batch.labels)
        segments = batch.segments.flatten()[places]
        first = torch.ones_like(places, dtype=torch.bool)
        if len(places):
            first[1:] = (places[1:] != places[:-1] + 1) | (segments[1:] != segments[:-1])
        return cls(
            places,
            batch.labels.flatten()[places],
            batch.kinds.flatten()[places],
            first.long().cumsum(0),
            batch.weights.flatten()[places],
        )

    def amount(self, norm: str) -> float:
        """What the loss is divided by under a norm of `losses.NORMS`."""
        if norm == "tokens":
            return float(len(self.places))
        if norm == "weights":
            return float(self.weights.sum())
        return float(self.answers[-1]) if len(self.answers) else 0.0

    def to(self, device: torch.device) -> Targets:
        """The targets on another device."""
        return Targets(*(t.to(device) for t in (self.places, self.labels, self.kinds, self.answers, self.weights)))


@dataclass(frozen=True)
class Load:
    """One batch, ready for a forward pass.

    `numbers` are its rows (for messages), `key` names it within the epoch's draw, `idle` says that it is read only to
    keep step with other processes and teaches nothing. `ids` counts its ids, padding apart, `padded` all places,
    `dropped` history items that found none. Where hidden states are known, `batch` is None.
    """

    key: int
    numbers: Sequence[int]
    batch: Batch | None
    patches: Tensor | None
    targets: Targets
    ids: int
    padded: int
    idle: bool = False
    dropped: int = 0


@runtime_checkable
class Measured(Protocol):
    """Rows that know their lengths."""

    def lengths(self) -> NDArray[np.int64]:
        """Ids of each row `(rows,)`."""


def estimated_lengths(rows: Rows) -> NDArray[np.int64]:
    """About how many ids each row has `(len(rows),)`, from the log alone: rows go into buckets by it.

    A user's shown items times the mean length of an item of theirs, and the questions asked, made true on average by
    writing a few rows. Millions of users take seconds.
    """
    log, plan, style = rows.shop.log, rows.plan, rows.writer.style
    body = np.fromiter((len(one) for one in rows.writer.bodies), np.int64, len(rows.writer.bodies)) + _CHUNK_EXTRA
    sums = np.concatenate([[0], np.cumsum(body[log.item])])
    count = np.diff(log.offsets)
    mean = np.diff(sums[log.offsets]) / np.maximum(count, 1)
    answers = np.clip(count - 1, 0, style.history)
    trunk = 1 + np.maximum(answers, np.minimum(count, 1)) * mean
    # A window stands anywhere in a log, so that half of what lies outside it lies before it.
    trunk += _CHUNK_EXTRA * np.clip((count - 1 - style.history) / 2, 0, style.earlier)
    found = np.zeros(len(count))
    for task in IN_HISTORY:
        if task in plan.questions and task in log.learned:
            told = np.concatenate([[0], np.cumsum(log.learned[task])])[log.offsets]
            asked = np.minimum(np.diff(told), answers)
            if most := plan.questions[task]:
                asked = np.minimum(asked, most)
            each = _QUESTION + (mean if "{target}" in style.words.ask[task] else 0)
            found += asked * ((trunk * 0.6 + each) if plan.separate else each)
    total = found if plan.separate else trunk + found
    chosen = rows.shop.selection if plan.questions.get("selection") is not None else ()
    typical = float(body.mean()) if len(body) else 1.0
    shown = [min(len(one.history), style.history) + len(one.candidates) for one in chosen]
    chosen_lengths = np.asarray(shown, dtype=np.float64)[: len(rows) - rows.users] * typical + _QUESTION
    total = total[: rows.users]
    lengths = np.concatenate([_true_on_average(rows, total, 0), _true_on_average(rows, chosen_lengths, rows.users)])
    whole: NDArray[np.int64] = np.maximum(np.rint(lengths), 1).astype(np.int64)
    return whole


def _true_on_average(rows: Rows, lengths: NDArray[np.float64], first: int) -> NDArray[np.float64]:
    """Estimates of rows from `first` on, scaled so that those of a sample sum to what it really is."""
    if not len(lengths):
        return lengths
    sample = np.unique(np.linspace(0, len(lengths) - 1, min(_SAMPLE, len(lengths))).astype(np.int64))
    real = sum(len(row) for k in sample for row in rows.row(first + int(k), 0))
    return lengths * (real / lengths[sample].sum()) if real else lengths


def steps_of(rows: Rows, epoch: int, draw: int, share: int, accumulate: int) -> list[list[tuple[int, list[int]]]]:
    """Batches `(key, row numbers)` of each step of an epoch, for all processes together.

    `draw` says which drawing of rows is read; where it is not the epoch itself, its batches come in an order of the
    epoch's own.
    """
    lengths = rows.lengths() if isinstance(rows, Measured) else estimated_lengths(rows)
    batches = list(enumerate(epoch_batches(lengths, rows.plan.tokens, rows.seed, draw, share)))
    if draw != epoch:
        batches = [batches[k] for k in rng_of(rows.seed, epoch, 2).permutation(len(batches))]
    size = share * accumulate
    return [batches[start : start + size] for start in range(0, len(batches), size)]


def own(step: Sequence[tuple[int, list[int]]], rank: int, share: int) -> list[tuple[int, list[int], bool]]:
    """A process's batches of a step; every process has equally many, the last may be idle."""
    rounds = -(-len(step) // share)
    found = []
    for k in range(rounds):
        place = k * share + rank
        key, numbers = step[min(place, len(step) - 1)]
        found.append((key, numbers, place >= len(step)))
    return found


class Loader:
    """Makes batches.

    Args:
        rows: of one plan.
        draw: which drawing of rows is read.
        has_picture: `(items,)`.
        patches: patch tokens `(pictures, patches, width)` of item indices.
        always: read one picture even where a batch shows none, so that all batches are learned from alike.
    """

    def __init__(
        self, rows: Rows, draw: int, has_picture: NDArray[np.bool_], patches: Patches, *, always: bool = False
    ) -> None:
        self.rows, self.draw, self.has_picture, self.patches, self.always = rows, draw, has_picture, patches, always

    def load(self, key: int, numbers: Sequence[int], idle: bool = False) -> Load:
        """One batch of rows."""
        written = [row for number in numbers for row in self.rows.row(number, self.draw)]
        if not written:  # nobody of this batch was asked anything
            written = [self.rows.writer.trunk(np.zeros(0, np.int64), np.zeros(0, np.float32), [])]
        batch = collate(written, self.has_picture, self.rows.writer.vocabulary.pad)
        if self.always and not len(batch.pictures) and self.has_picture.any():
            batch = replace(batch, pictures=torch.as_tensor([int(np.argmax(self.has_picture))]))
        patches = self.patches(batch.pictures) if len(batch.pictures) else None
        dropped = sum(row.dropped for row in written)
        return Load(key, numbers, batch, patches, Targets.of(batch), batch.tokens, batch.ids.numel(), idle, dropped)


def in_background(made: Iterable[_T], ahead: int = 2) -> Generator[_T, None, None]:
    """The same things in the same order, made by a thread that runs up to `ahead` of the reader; errors come along."""
    if ahead <= 0:
        yield from made
        return
    # A thing in a list of its own, an error to raise, or None at the end.
    ready: queue.Queue[list[_T] | BaseException | None] = queue.Queue(maxsize=ahead)
    stop = threading.Event()

    def put(one: list[_T] | BaseException | None) -> None:
        while not stop.is_set():
            try:
                ready.put(one, timeout=0.1)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for one in made:
                put([one])
                if stop.is_set():
                    return
            put(None)
        except BaseException as problem:  # handed to the reader, who raises it
            put(problem)

    thread = threading.Thread(target=work, name="unimp-loading", daemon=True)
    thread.start()
    try:
        while True:
            got = ready.get()
            if isinstance(got, BaseException):
                raise got
            if got is None:
                return
            yield from got
    finally:
        stop.set()
        thread.join()


def continued(plan: Plan, epochs: int, order: Sequence[str], kept: float = 0.25) -> Callable[[int], Plan]:
    """The strategy `continue`: tasks are added one by one, all by the last epoch; earlier ones keep some users.

    The newest task asks all users, the others a random quarter (released code; Table 7).
    """
    tasks = [task for task in order if task in plan.questions]

    def plan_of(epoch: int) -> Plan:
        # The last epoch has them all, however few epochs there are.
        reached = -(-(epoch + 1) * len(tasks) // max(epochs, 1)) - 1
        users: Mapping[str, float] = dict.fromkeys(tasks[:reached], kept)
        return replace(plan, questions={task: plan.questions[task] for task in tasks[: reached + 1]}, users=users)

    return plan_of
