"""Popularity: how often an item was bought in train, the same for everybody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_baselines.common import EVERY_COHORT, best_candidates, blocks, positives, read_state, write_state
from unimp_bench.dataset import Catalogue
from unimp_bench.runners.protocol import Context, ScoreBlock, TaskData


def counts(data: Mapping[str, TaskData]) -> dict[str, int]:
    """Train interactions by item. They are the same for all tasks of a fit."""
    interactions = next(iter(data.values())).interactions
    found = interactions.group_by("item_id").len().sort("item_id").collect()
    return dict(zip(found["item_id"].to_list(), found["len"].to_list(), strict=True))


def vector(bought: Mapping[str, int], view: Catalogue) -> NDArray[np.float32]:
    """Counts `(items,)` in the order of `item_index`."""
    return np.array([bought.get(item, 0) for item in view.items["item_id"].to_list()], dtype=np.float32)


@dataclass
class LearnsCounts:
    """The part of a floor that learns train interactions by item, and how many candidates a selection takes."""

    _bought: dict[str, int] = field(default_factory=dict, init=False, repr=False)
    _positives: int = field(default=1, init=False, repr=False)

    def fit(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Count."""
        self._bought = counts(data)
        if "selection" in data:
            self._positives = positives(data["selection"])

    def adapt(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Count the held-out domain as well."""
        self._bought |= counts(data)

    def save(self, folder: Path) -> None:
        """Write the counts."""
        write_state(folder, {"bought": self._bought, "positives": self._positives})

    def load(self, folder: Path) -> None:
        """Read the counts."""
        state = read_state(folder)
        self._bought, self._positives = state["bought"], int(state["positives"])


@dataclass
class Popularity(LearnsCounts):
    """Items by their number of train interactions; a search query is not looked at.

    A selection takes the most popular candidates, as many as train selections take on the mean. A held-out domain is
    counted by `adapt`.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"recommendation", "search", "selection"})
    cohorts: ClassVar[frozenset[str]] = EVERY_COHORT
    version: ClassVar[int] = 1
    reads_truth: ClassVar[bool] = False

    def predict(
        self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context
    ) -> Iterator[pl.DataFrame | ScoreBlock]:
        """The counts, once for every example, or the most popular candidates."""
        strength = vector(self._bought, view)
        if task == "selection":
            yield best_candidates(
                examples, view.items.select("item_id", pl.Series("strength", strength)), self._positives
            )
            return
        for block in blocks(examples, len(strength)):
            yield ScoreBlock(block["example_id"].to_list(), np.tile(strength, (block.height, 1)))
