"""What an encoder is, and what it gives.

    items of a catalogue, in `item_index` order; width of the encoder

An encoder that learns something of its own (words' weights, principal components, a small network) learns it from
`view.clean`, so that a noise variant is seen by the same eyes as the catalogue that a system was fitted on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from unimp_bench.dataset import Catalogue
from unimp_bench.runners.protocol import Context

Values = NDArray[np.float32]
Present = NDArray[np.bool_]
Modality = Literal["text", "image"]


class Encoder(Protocol):
    """Turns items into numbers; an entry point of the group `unimp_bench.encoders`.

    An entry point `name` is called without arguments, `name:` with what follows the colon. One thing more that an
    encoder may have: `errors`, a tuple of exception classes whose text is one line for the user, for an encoder that
    does not import this package's own.
    """

    @property
    def modality(self) -> Modality:
        """What of an item it reads; with `identity` and the catalogue without noise, all that features depend on."""

    def identity(self) -> str:
        """Names version, settings and weights (by hash): equal ones give equal features of equal catalogues."""

    def encode(self, view: Catalogue, context: Context) -> tuple[Values, Present]:
        """Features `(items, width)` and which items have one `(items,)`.

        `context.features` is a folder to keep learned parts in, never None; seed, truth and curve are not the run's.
        """


@dataclass(frozen=True)
class ItemFeatures:
    """Features of a catalogue's items.

    Args:
        values: `(items, width)`, in `item_index` order; zeros for items without the text or picture.
        present: `(items,)`, which items have a feature.
        encoder: its name, as it was asked for.
        digest: SHA-256 over the encoder's identity and what it read of the catalogue, 64 hex digits.
    """

    values: Values
    present: Present
    encoder: str
    digest: str

    @property
    def width(self) -> int:
        """Numbers of an item."""
        return int(self.values.shape[1])
