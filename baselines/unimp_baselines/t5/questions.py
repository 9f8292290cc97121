"""Questions with their answers, apart from any wording: rows of examples, and windows of users' train rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from unimp_bench.runners.protocol import TaskData

Window = Literal["last3", "any"]


@dataclass(frozen=True)
class Question:
    """One question; what its task does not ask for is empty."""

    task: str
    user: str
    history: tuple[tuple[str, float | None], ...]  # item and rating, oldest first
    item: str | None = None
    choices: tuple[str, ...] = ()
    answer: Any = None  # item id, rating, sentence, or set of items


_ANSWERS = {"recommendation": "item_ids", "preference": "rating", "explanation": "text", "selection": "item_ids"}


def questions(task: str, examples: pl.DataFrame, history: int) -> list[Question]:
    """One question for each row of `schemas.EXAMPLES`; with answers where there are any."""
    answer = pl.col(_ANSWERS[task]) if _ANSWERS[task] in examples.columns else pl.lit(None)
    past = pl.col("history").list.tail(history)
    rows = examples.select(
        "user_id",
        past.list.eval(pl.element().struct.field("item_id")).alias("items"),
        past.list.eval(pl.element().struct.field("rating")).alias("ratings"),
        "target_item_id",
        "candidates",
        answer.alias("answer"),
    )
    found = []
    for user, items, ratings, item, choices, right in rows.iter_rows():
        said = right
        if right is not None and task == "recommendation":
            said = right[0]
        elif right is not None and task == "selection":
            said = frozenset(right)
        entries = tuple(zip(items or (), ratings or (), strict=True))
        found.append(Question(task, user, entries, item, tuple(choices or ()), said))
    return found


@dataclass(frozen=True)
class Rows:
    """A user's train items, oldest first, from which sequential questions are cut anew each epoch."""

    user: str
    items: tuple[str, ...]

    def window(self, history: int, ends: Window, rng: np.random.Generator) -> Question:
        """A stretch of the rows with what follows it.

        As P5 draws it: the end is one of the last three places and the start one of the first three. With `ends="any"`
        the end is any place: P5's targets are never a user's early items, which wastes long histories.
        """
        last = len(self.items) - 1
        end = int(rng.integers(max(1, last - 2) if ends == "last3" else 1, last + 1))
        start = max(int(rng.integers(0, min(3, end))), end - history)
        entries = tuple((item, None) for item in self.items[start:end])
        return Question("recommendation", self.user, entries, answer=self.items[end])


@dataclass(frozen=True)
class Lessons:
    """All that a fit trains on and stops by, by task."""

    rows: list[Rows]  # users with at least two train rows; empty where recommendation is not learned
    train: Mapping[str, list[Question]]
    valid: Mapping[str, list[Question]]

    @classmethod
    def of(cls, data: Mapping[str, TaskData], history: int, most_valid: int, rng: np.random.Generator) -> Lessons:
        """From what a runner is given; of validation at most `most_valid` drawn questions a task."""
        rows: list[Rows] = []
        train: dict[str, list[Question]] = {}
        valid: dict[str, list[Question]] = {}
        for task in sorted(data):
            if task == "recommendation":
                bought = data[task].interactions.sort("user_id", "position").group_by("user_id", maintain_order=True)
                lists = bought.agg("item_id").filter(pl.col("item_id").list.len() > 1).collect()
                rows = [Rows(user, tuple(items)) for user, items in lists.iter_rows()]
            else:
                labelled = data[task].train.collect().sort("example_id")
                train[task] = [q for q in questions(task, labelled, history) if q.answer is not None]
            asked = data[task].valid.collect().sort("example_id")
            kept = np.sort(rng.permutation(asked.height)[:most_valid])
            valid[task] = [q for q in questions(task, asked[kept], history) if q.answer is not None]
        return cls(rows, train, valid)
