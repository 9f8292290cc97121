"""Who asks: one user as their own test example shows them, taken from visible files alone."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import polars as pl

from unimp_bench.dataset import Dataset
from unimp_bench.errors import UnknownNameError
from unimp_bench.schemas import EXAMPLES, LABELLED_EXAMPLES
from unimp_bench.tasks.spec import TASKS

ABOUT, QUERIED = ("preference", "explanation"), ("search", "image_generation")
_NAMED = 5  # names that an unknown one is answered with
_NEIGHBOURS = 50  # names on either side of an unknown one among which likely ones are looked for


@dataclass(frozen=True)
class Subject:
    """Who asks: the user's visible past, oldest first, as entries of `schemas.HISTORY`."""

    user_id: str
    cohort: str
    position: int
    history: tuple[Mapping[str, Any], ...]

    def example(self, task: str, query: str | None = None, item: str | None = None) -> pl.DataFrame:
        """The question of a task, in the columns of `schemas.EXAMPLES`, its text not yet rendered."""
        row = {
            "example_id": f"{self.user_id}:{self.position:06d}",
            "user_id": self.user_id,
            "position": self.position,
            "cohort": self.cohort,
            "history": list(self.history),
            "query": query if task in QUERIED else None,
            "target_item_id": item if task in ABOUT else None,
        }
        return pl.DataFrame([row], schema=dict(EXAMPLES.columns))


def subject_of(data: Dataset, user: str) -> Subject:
    """The user as their test example shows them, or with all visible rows where they have none.

    Raises:
        UnknownNameError: nobody visible is called so.
    """
    this = pl.col("user_id") == user
    for task in (name for name in TASKS if name in data.tasks):
        found = data.examples(task, "test").filter(this).sort("position").tail(1).collect()
        if found.height:
            row = found.row(0, named=True)
            return Subject(user, row["cohort"], row["position"], tuple(row["history"]))
    entries = [*_trained(data, user), *_validated(data, user)]
    if not entries:
        raise UnknownNameError("user", user, near(_users(data), user))
    cohort = next(
        (
            rows["cohort"][0]
            for task in data.tasks
            for split in ("valid", "train")
            if (rows := data.examples(task, split).filter(this).select("cohort").head(1).collect()).height
        ),
        "in_domain",
    )
    length = int(data.manifest.request["config"]["long_history"])
    return Subject(user, cohort, len(entries), tuple(entries[-length:]))


def _trained(data: Dataset, user: str) -> Iterator[dict[str, Any]]:
    rows = data.interactions().filter(pl.col("user_id") == user).sort("position")
    yield from rows.select("item_id", "rating", "explanation").collect().iter_rows(named=True)


def _validated(data: Dataset, user: str) -> Iterator[dict[str, Any]]:
    """Validation rows, which stand in no visible log: the answers of the validation examples of three tasks."""
    if "recommendation" not in data.tasks:
        return
    this = pl.col("user_id") == user
    rows = data.examples("recommendation", "valid").filter(this).sort("position")
    found = rows.select("example_id", item_id=pl.col("item_ids").list.first()).collect()
    for task, answer in (("preference", "rating"), ("explanation", "text")):
        known = pl.DataFrame(schema={"example_id": pl.String, answer: LABELLED_EXAMPLES.columns[answer]})
        if task in data.tasks:
            known = data.examples(task, "valid").filter(this).select("example_id", answer).collect()
        found = found.join(known, on="example_id", how="left", maintain_order="left")
    yield from found.select("item_id", "rating", explanation="text").iter_rows(named=True)


def own_query(data: Dataset, user: str) -> str | None:
    """The query of the user's own search example; None where there is none."""
    if "search" not in data.tasks:
        return None
    rows = data.examples("search", "test").filter(pl.col("user_id") == user).sort("position").tail(1)
    found = rows.select("query").collect()["query"]
    return str(found[0]) if len(found) else None


def _users(data: Dataset) -> list[str]:
    """Everybody who is visible, sorted."""
    frames = [data.interactions(), *(data.examples(task, "test") for task in data.tasks)]
    return pl.concat([frame.select("user_id") for frame in frames]).unique().collect()["user_id"].sort().to_list()


def near(names: list[str], name: str) -> list[str]:
    """A few of many sorted names that are like a mistyped one, looked for among those that stand near it."""
    at = bisect.bisect_left(names, name)
    return get_close_matches(name, names[max(at - _NEIGHBOURS, 0) : at + _NEIGHBOURS], _NAMED, cutoff=0)
