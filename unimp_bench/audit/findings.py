"""What an audit works on and what it says: the evidence of one dataset, and one finding a check.

Files of examples may hold tens of millions of rows, so they are only ever scanned for the columns that a check needs,
or walked in chunks. What is held in memory is the catalogue and the held-out rows (valid, test, withheld).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import polars as pl

from unimp_bench.dataset import Dataset

CHUNK = 131_072  # rows
SPLITS = ("train", "valid", "test")
HISTORY_ITEMS = pl.col("history").list.eval(pl.element().struct.field("item_id"))


@dataclass(frozen=True)
class Check:
    """One finding: `info` is a figure to know or a check that does not apply, `fail` stops a build."""

    name: str
    status: Literal["pass", "fail", "info"]
    value: float | int | str
    detail: str


def verdict(name: str, good: bool, value: float | int | str, detail: str) -> Check:
    """A finding that passes or fails."""
    return Check(name, "pass" if good else "fail", value, detail)


def silent(name: str, reason: str) -> Check:
    """A check that does not apply."""
    return Check(name, "info", "n/a", reason)


def listing(counts: dict[str, int]) -> str:
    """The counts that are not zero, as "a 3, b 1"."""
    return ", ".join(f"{name} {n:,}" for name, n in counts.items() if n)


def count(rows: pl.LazyFrame) -> int:
    """Number of rows, found by streaming."""
    return int(rows.select(pl.len()).collect(engine="streaming").item())


def chunks(rows: pl.LazyFrame, size: int = CHUNK) -> Iterator[pl.DataFrame]:
    """The rows in their order, about `size` at a time."""
    for part in rows.collect_batches(chunk_size=size, maintain_order=True):
        if part.height:
            yield part


@dataclass(frozen=True)
class Evidence:
    """A dataset and what several checks ask of it."""

    dataset: Dataset

    @property
    def protocol(self) -> str:
        """Name of the protocol that split it."""
        return str(self.dataset.manifest.facts["protocol"])

    @cached_property
    def items(self) -> pl.DataFrame:
        """The catalogue, by item_index."""
        return self.dataset.catalogue().items

    @cached_property
    def held_out(self) -> pl.DataFrame:
        """Valid, test and withheld rows: user_id, position, item_id, timestamp, split, cohort."""
        rows = self.dataset.sealed_interactions().filter(pl.col("split") != "train")
        names = ("user_id", "position", "item_id", "timestamp", "split", "cohort")
        return rows.select(names).collect(engine="streaming")

    @cached_property
    def new_users(self) -> pl.DataFrame:
        """Ids of the users of cohort new_user, in the column user_id."""
        return self.held_out.filter(pl.col("cohort") == "new_user").select("user_id").unique().sort("user_id")

    def labelled(self, *tasks: str) -> Iterator[tuple[str, str, pl.LazyFrame]]:
        """Task, split and rows of all three splits with their answers; of all tasks, or of those named and built."""
        for task in self.dataset.tasks:
            if tasks and task not in tasks:
                continue
            for split in SPLITS:
                rows = self.dataset.examples(task, split)
                if split == "test":
                    answers = self.dataset.sealed_answers(task).lazy()
                    rows = rows.join(answers, on="example_id", how="left", maintain_order="left")
                yield task, split, rows

    def lacks(self, task: str) -> str | None:
        """Why the dataset does not yield the task; None if it does."""
        if task in self.dataset.tasks:
            return None
        reasons = self.dataset.manifest.facts.get("skipped_tasks", {})
        return f"no task {task}: {reasons.get(task, 'not built')}"
