"""Selection floors that do not look at the candidates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from unimp_baselines.common import EVERY_COHORT, LearnsNothing
from unimp_bench.dataset import Catalogue
from unimp_bench.runners.protocol import Context


@dataclass
class AllCandidates(LearnsNothing):
    """Takes every candidate: recall 1, and the F1 that the share of positives gives away."""

    tasks: ClassVar[frozenset[str]] = frozenset({"selection"})
    cohorts: ClassVar[frozenset[str]] = EVERY_COHORT
    version: ClassVar[int] = 1
    reads_truth: ClassVar[bool] = False

    def predict(self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context) -> Iterator[pl.DataFrame]:
        """All of them."""
        yield examples.select("example_id", pl.col("candidates").alias("item_ids"))


@dataclass
class FirstCandidate(LearnsNothing):
    """Takes the first candidate: above chance only if the order of candidates tells something."""

    tasks: ClassVar[frozenset[str]] = frozenset({"selection"})
    cohorts: ClassVar[frozenset[str]] = EVERY_COHORT
    version: ClassVar[int] = 1
    reads_truth: ClassVar[bool] = False

    def predict(self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context) -> Iterator[pl.DataFrame]:
        """The first."""
        yield examples.select("example_id", pl.col("candidates").list.head(1).alias("item_ids"))
