"""What a fit through RecBole leaves behind: files in a folder, and what of them is kept in memory."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_baselines.recbole.feed import read_names


@dataclass(frozen=True)
class Learned:
    """What a fit left: files in `folder`, which items and users it knows, and the threshold of selection."""

    folder: Path
    users: pl.Series
    items: pl.Series
    popularity: NDArray[np.float32]  # (items,) log(1 + train rows), for those of whom nothing is known
    digest: str  # sha256 of the weights
    threshold: float | None
    facts: dict[str, Any]

    @classmethod
    def read(cls, folder: Path, threshold: float | None, facts: dict[str, Any]) -> Learned:
        """From the feed and the weights in a folder."""
        users, items = read_names(folder / "names.parquet")
        with np.load(folder / "feed.npz") as feed:
            counts = np.bincount(feed["sequences"], minlength=len(items) + 1)[1:]
        digest = sha256((folder / "weights.pt").read_bytes()).hexdigest()
        return cls(folder, users, items, np.log1p(counts).astype(np.float32), digest, threshold, facts)
