"""Floors that know nothing: random, constant, and the neighbour in the catalogue's order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl

from unimp_baselines.common import (
    EVERY_COHORT,
    LearnsNothing,
    best_candidates,
    blocks,
    last_index,
    positives,
    read_state,
    write_state,
)
from unimp_bench import keyed
from unimp_bench.dataset import Catalogue
from unimp_bench.runners.protocol import Context, ScoreBlock, TaskData

RANKED = frozenset({"recommendation", "search"})


@dataclass
class Random:
    """Scores drawn by a keyed hash of (seed, task, example, item): the same whatever else is asked.

    A selection takes as many random candidates as train selections take on the mean.
    """

    tasks: ClassVar[frozenset[str]] = RANKED | {"selection"}
    cohorts: ClassVar[frozenset[str]] = EVERY_COHORT
    version: ClassVar[int] = 1
    reads_truth: ClassVar[bool] = False

    _positives: int = field(default=1, init=False, repr=False)

    def fit(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Count how many candidates train selections take."""
        if "selection" in data:
            self._positives = positives(data["selection"])

    def save(self, folder: Path) -> None:
        """Write the count."""
        write_state(folder, {"positives": self._positives})

    def load(self, folder: Path) -> None:
        """Read the count."""
        self._positives = int(read_state(folder)["positives"])

    def predict(
        self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context
    ) -> Iterator[pl.DataFrame | ScoreBlock]:
        """Scores of all items, or some candidates."""
        if task == "selection":
            long = examples.select("example_id", pl.col("candidates").alias("item_id")).explode("item_id")
            draws = keyed.mix(
                keyed.string_keys(long["example_id"], "random", context.seed),
                keyed.string_keys(long["item_id"], "random"),
            )
            yield best_candidates(
                examples, long.with_columns(pl.Series("strength", keyed.uniform(draws))), self._positives
            )
            return
        items = keyed.string_keys(view.items["item_id"], "random")
        for block in blocks(examples, len(items)):
            ids = keyed.string_keys(block["example_id"], "random", task, context.seed)
            draws = keyed.mix(ids[:, None], items[None, :])  # (examples, items)
            yield ScoreBlock(block["example_id"].to_list(), keyed.uniform(draws).astype(np.float32))


@dataclass
class Constant(LearnsNothing):
    """The same score for every item: what it earns is the tie rule's work, and must be chance."""

    tasks: ClassVar[frozenset[str]] = RANKED
    cohorts: ClassVar[frozenset[str]] = EVERY_COHORT
    version: ClassVar[int] = 1
    reads_truth: ClassVar[bool] = False

    def predict(self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context) -> Iterator[ScoreBlock]:
        """Zeros."""
        for block in blocks(examples, view.items.height):
            scores = np.zeros((block.height, view.items.height), dtype=np.float32)
            yield ScoreBlock(block["example_id"].to_list(), scores)


@dataclass
class LastIndexPlusOne(LearnsNothing):
    """The probe for ids that tell the order of purchase: items after the last one in catalogue order, nearest first.

    At chance as long as `item_index` says nothing about time, popularity or the split.
    """

    tasks: ClassVar[frozenset[str]] = RANKED
    cohorts: ClassVar[frozenset[str]] = EVERY_COHORT
    version: ClassVar[int] = 1
    reads_truth: ClassVar[bool] = False

    def predict(self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context) -> Iterator[ScoreBlock]:
        """Minus the distance that one walks upwards from the last item, around the end."""
        items = view.items.height
        for block in blocks(examples, items):
            last = last_index(block, view)
            steps = (np.arange(items)[None, :] - last[:, None] - 1) % items  # (examples, items)
            yield ScoreBlock(block["example_id"].to_list(), -steps.astype(np.float32))
