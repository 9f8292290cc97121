"""Examples as prompts, and prompts as batches of like length, read.

Neither the batch an example is in nor its place there changes what is read, beyond the rounding of floating point.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from unimp import memory
from unimp.batching import collate
from unimp.errors import UnimpError
from unimp.modeling import Unimp
from unimp.sequence import Row, Writer
from unimp.shop import Example, Ints
from unimp.streams import Patches, Stream
from unimp.threads import ahead, at_once

STRETCH = 4096  # examples written out at a time


class Reader:
    """Reads what is asked, up to where the answer begins.

    Args:
        model: trained.
        writer: writes the prompts, in the style that the model was trained in.
        patches: patch tokens of item indices `(pictures,)`, None for a model without a tower.
        has_picture: `(items,)`.
        tokens: ids of a batch, padding and beams counted.

    `dropped` counts history items that found no place in `writer.style.longest` ids, over all prompts so far.
    """

    def __init__(
        self, model: Unimp, writer: Writer, patches: Patches, has_picture: NDArray[np.bool_], tokens: int
    ) -> None:
        self.model, self.writer, self.patches, self.has_picture = model, writer, patches, has_picture
        self.vocabulary, self.tokens, self.dropped = writer.vocabulary, tokens, 0

    def prompt(self, task: str, example: Example, answer: int = 0) -> Row:
        """The row of one question, ending at `<answer>`, with room for an answer, of so many ids at least."""
        row = self.writer.row(task, example, answer, learn=False)
        self.dropped += row.dropped
        return row

    def streams(
        self, task: str, examples: Sequence[Example], *, going_on: bool = True, copies: int = 1, answer: int = 0
    ) -> Iterator[tuple[Ints, Stream]]:
        """Batches of examples, read, with their numbers.

        Args:
            task: what is asked.
            examples: of whom.
            going_on: whether ids will be written.
            copies: continuations that each prompt will have.
            answer: ids to keep free for the answer, at least.
        """
        for start in range(0, len(examples), STRETCH):
            part = examples[start : start + STRETCH]
            rows = [self.prompt(task, example, answer) for example in part]
            yield from self.read(rows, np.arange(start, start + len(part)), going_on=going_on, copies=copies)

    def read(
        self, rows: Sequence[Row], numbers: Ints, *, going_on: bool = True, copies: int = 1
    ) -> Iterator[tuple[Ints, Stream]]:
        """Batches of rows of like length, read, with the numbers of their examples; the next are read meanwhile."""

        def begun(chosen: Ints) -> tuple[Ints, Stream]:
            batch = collate([rows[n] for n in chosen], self.has_picture, self.vocabulary.pad, left=True)
            stream = Stream.begin(self.model, batch, self.patches, going_on=going_on)
            if not bool(stream.last.isfinite().all()):
                raise UnimpError(
                    f"what the model reads in {len(batch.ids)} examples are no numbers: its weights are spoilt; train "
                    "it again with a lower learning rate"
                )
            return numbers[chosen], stream

        for count, read in enumerate(ahead(begun, self._batches(rows, copies), at_once(self.model.device)), start=1):
            yield read
            if count % memory.EVERY == 0:
                memory.give_back()  # each thread's part of the heap else keeps the largest batches it ever saw
        memory.give_back()

    def _batches(self, rows: Sequence[Row], copies: int) -> Iterator[Ints]:
        """Places of rows of like length, as many as fit in a batch."""
        lengths = np.array([len(row) for row in rows])
        order = np.argsort(lengths, kind="stable")
        start = 0
        while start < len(order):
            stop = start + 1
            while stop < len(order) and (stop + 1 - start) * int(lengths[order[stop]]) * copies <= self.tokens:
                stop += 1
            yield order[start:stop]
            start = stop

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Inside, the model learns nothing: evaluation mode, no gradients, content of item rows computed once."""
        learning = self.model.training
        self.model.train(False)
        try:
            with torch.no_grad(), self.model.embed.kept.keeping(), self.model.head.kept.keeping():
                yield
        finally:
            self.model.train(learning)
