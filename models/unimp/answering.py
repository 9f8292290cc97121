"""Answers of a trained system, task by task, in the units of the benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import numpy as np
from numpy.typing import NDArray

from unimp.decisions import chances_of_items, taken
from unimp.shop import Example
from unimp.system import System
from unimp.threads import at_most

Floats = NDArray[np.float32]
TEMPERATURE = 0.4  # of picture codes; chosen by KID on validation, of the synthetic shop and of `hm` together


class Answering:
    """Asks a system; each task with the weights that were fine-tuned for it.

    Args:
        system: trained.
        seed: of drawn picture codes.
    """

    def __init__(self, system: System, seed: int = 0) -> None:
        self.system, self.seed = system, seed
        self.decoder = system.decoder()

    @property
    def dropped(self) -> int:
        """History items, the oldest, that found no place so far."""
        return self.decoder.dropped

    def ranking(self, task: str, examples: Sequence[Example]) -> Floats:
        """Scores `(n, items)` of recommendation or search."""
        with self.system.tuned(task), self._threads():
            return self.system.rank(task, examples, self.decoder)

    def _threads(self) -> AbstractContextManager[None]:
        return at_most(self.system.options.budget.threads)

    def ratings(self, examples: Sequence[Example]) -> Floats:
        """Ratings `(n,)`: expected, or the likeliest whole one."""
        with self.system.tuned("preference"), self._threads():
            expected, likeliest = self.decoder.rate(examples)
        if self.system.options.rating == "likeliest":
            return likeliest.astype(np.float32)
        return self.system.decisions.ratings(expected)

    def selections(self, examples: Sequence[Example]) -> tuple[list[list[int]], list[Floats]]:
        """Chosen places among the candidates, and each candidate's score."""
        decisions = self.system.decisions
        if decisions.by == "items":
            with self.system.tuned("recommendation"), self._threads():
                scores = chances_of_items(self.system.rank("recommendation", examples, self.decoder), examples)
        else:
            with self.system.tuned("selection"), self._threads():
                written, scores = self.decoder.choose(examples)
        if decisions.threshold is None:
            return written, scores
        return [taken(own, decisions.threshold) for own in scores], scores

    def explanations(self, examples: Sequence[Example]) -> list[str]:
        """One explanation an example."""
        system = self.system
        with system.tuned("explanation"), self._threads():
            return self.decoder.explain(examples, system.parts.encoder.decode, beams=system.options.beams)

    def pictures(self, examples: Sequence[Example]) -> list[bytes | None]:
        """PNG bytes of one picture an example (eq. 9); None where no picture can be made."""
        system = self.system
        if system.parts.image_tokens is None:
            return [None] * len(examples)
        with self._threads():
            found = system.retrieve(examples, decoder=self.decoder)
        rows = []
        for example, items in zip(examples, found, strict=True):
            row = system.writer.retrieved(items.tolist())
            system.writer.branch(row, "image_generation", example, learn=False)
            rows.append(row)
        with system.tuned("image_generation"), self._threads():
            codes = self.decoder.picture_codes(
                rows,
                system.parts.image_tokens.codes_per_picture,
                temperature=TEMPERATURE,
                seed=self.seed,
                keys=[example.id for example in examples],
            )
        drawn: list[bytes | None] = list(system.parts.image_tokens.decode_png(codes))
        return drawn
