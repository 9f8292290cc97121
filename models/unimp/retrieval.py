"""Items that the search task finds, from which pictures are made (eq. 9): a few a question.

The model's own ranking, without neighbours: questions that drawing is learned from ask for purchases of the log, which
neighbours have counted.

n examples, items of the catalogue
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unimp.decoding import Decoder
from unimp.shop import Example, Ints

RETRIEVED = 2  # items that a picture is made from
SEARCHED = 50  # items of a search by names, of which histories leave enough
MOST_SCORES = 64_000_000  # examples x items that are scored together


def retrieved(
    decoder: Decoder,
    examples: Sequence[Example],
    shown: NDArray[np.bool_],
    codes: Ints | None = None,
    never: Sequence[int] | None = None,
) -> Ints:
    """The best items of each search `(n, RETRIEVED)`, none of its history; -1 stands where nothing is left.

    Args:
        decoder: ranks.
        examples: of the task `search`.
        shown: items `(items,)` that may be found.
        codes: picture codes `(items, places)`.
        never: an item of each example that must not be found, nor any with the very same picture: what is to be
            drawn would else be there to copy.
    """
    found = np.full((len(examples), RETRIEVED), -1, dtype=np.int64)
    alike = np.arange(len(shown))
    if never is not None and codes is not None:
        alike = np.unique(codes, axis=0, return_inverse=True)[1].reshape(-1)
    size = max(1, MOST_SCORES // len(shown))
    for start in range(0, len(examples), size):
        part = examples[start : start + size]
        scores = decoder.rank("search", part, k=SEARCHED)
        scores[:, ~shown] = -np.inf
        for row, example in enumerate(part):
            scores[row, example.history] = -np.inf
            if never is not None:
                scores[row, alike == alike[never[start + row]]] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, :RETRIEVED]
        there = np.isfinite(np.take_along_axis(scores, best, axis=1))
        found[start : start + len(part), : best.shape[1]] = np.where(there, best, -1)
    return found
