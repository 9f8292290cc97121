"""Semantic ids of a catalogue: the quantiser's codes, and one more that tells items with equal codes apart.

Items come in catalogue order, a hash of their ids, so the last code says nothing about popularity or time. Where all
last codes of a prefix are taken, an item takes the nearest other code of the last quantised level that has room.
Shapes: items n, quantised levels P, codes of a level K.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_bench.errors import ConfigError, IncompleteError

Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Named:
    """Items with their `codes` `(n, P + 1)`, no two alike."""

    items: pl.Series
    codes: Codes

    def write(self, path: Path) -> None:
        """Keep it as Parquet."""
        pl.DataFrame({"item_id": self.items, "codes": self.codes.tolist()}).write_parquet(path)

    @classmethod
    def read(cls, path: Path) -> Named:
        """What `write` kept.

        Raises:
            IncompleteError: it is not there or not whole.
        """
        try:
            kept = pl.read_parquet(path)
            return cls(kept["item_id"], np.array(kept["codes"].to_list(), dtype=np.int64))
        except (OSError, pl.exceptions.PolarsError):
            raise IncompleteError(f"{path} cannot be read; run again with --force") from None


def codebook_size(wanted: int, items: int) -> int:
    """Codes of a level: as wanted, or by the catalogue's size if that is 0; never more than a quarter of the items."""
    by_size = 256 if items >= 4_096 else 64
    return wanted or max(2, min(by_size, items // 4))


def distinct(codes: Codes, order: Codes, room: int) -> Codes:
    """Codes `(n, P + 1)`, no two alike.

    Args:
        codes: of the quantiser `(n, P)`.
        order: codes of its last level, nearest first `(n, K)`.
        room: codes of the further level.

    Raises:
        ConfigError: too many items are alike.
    """
    taken: dict[tuple[int, ...], int] = {}
    found = np.empty((len(codes), codes.shape[1] + 1), dtype=np.int64)
    for item, own in enumerate(map(tuple, codes.tolist())):
        name = own
        if taken.get(own, 0) >= room:
            others = ((*own[:-1], code) for code in order[item].tolist())
            free = next((other for other in others if taken.get(other, 0) < room), None)
            if free is None:
                raise ConfigError(
                    f"tiger: more than {room * order.shape[1]} items have the codes {list(own[:-1])}: their text is "
                    "alike or missing; raise codebook or levels, or take another text encoder (--set text=...)"
                )
            name = free
        found[item] = (*name, taken.get(name, 0))
        taken[name] = taken.get(name, 0) + 1
    return found
