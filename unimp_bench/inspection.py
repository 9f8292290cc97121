"""One user of a dataset: the whole history, the test examples with their answers, and what finished runs said.

This opens sealed answers, as scoring does: what it returns is for people, never for runners.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from unimp_bench import tables
from unimp_bench.board import settings_hash
from unimp_bench.budget import Budget
from unimp_bench.check import VALUE
from unimp_bench.dataset import Catalogue, Dataset
from unimp_bench.errors import ConfigError, UnknownNameError
from unimp_bench.places import Home
from unimp_bench.results import Record, records
from unimp_bench.schemas import PREDICTIONS, SCORES
from unimp_bench.tasks.spec import TASKS

_LATELY = 4  # purchases by which two users are told apart
_NEAR = 50  # users on either side of an unknown name among whom a likely one is looked for


@dataclass(frozen=True)
class Said:
    """What one run answered to one example; `answer` in the type of the task, None where it could not."""

    runner: str
    answer: Any
    metric: str
    value: float | None


@dataclass(frozen=True)
class Asked:
    """One test example with its sealed answer and what runs said, best first."""

    task: str
    example_id: str
    query: str | None
    target_item_id: str | None
    candidates: tuple[str, ...]
    answer: Any
    said: tuple[Said, ...]


@dataclass(frozen=True)
class Person:
    """One user. `history` has position, split, item_id, title, domain, rating, explanation, image_id, oldest first."""

    user_id: str
    cohort: str
    history: pl.DataFrame
    asked: tuple[Asked, ...]


def inspect(home: Home, data: Dataset, user: str, task: str | None = None) -> Person:
    """Everything about one user.

    Raises:
        UnknownNameError: there is no such user or task.
        ConfigError: the dataset does not have the task.
        IncompleteError: a file cannot be read.
    """
    if task is not None and task not in TASKS:
        raise UnknownNameError("task", task, TASKS)
    if task is not None and task not in data.tasks:
        raise ConfigError(f"{data.name} has no task {task}; it has {', '.join(data.tasks)}")
    rows = data.sealed_interactions().filter(pl.col("user_id") == user).sort("position").collect()
    if rows.height == 0:
        raise UnknownNameError("user", user, _neighbours(data, user))
    view = data.catalogue()
    items = view.items.select("item_id", "title", "image_id")
    history = rows.join(items, on="item_id", how="left", maintain_order="left").select(
        "position", "split", "item_id", "title", "domain", "rating", "explanation", "image_id"
    )
    tasks = [task] if task is not None else [name for name in TASKS if name in data.tasks]
    asked = [one for name in tasks for one in _asked(home, data, name, user)]
    return Person(user, rows["cohort"][0], history, tuple(asked))


def with_query(home: Home, data: Dataset, query: str, most: int = 4) -> list[Person]:
    """Some users who are to be drawn a picture for the same query, no two of whom bought the same lately.

    Users come in the order of their names; `asked` of each holds the examples of that query alone.

    Raises:
        ConfigError: the dataset does not have image generation.
        UnknownNameError: nobody is asked that query.
    """
    task = "image_generation"
    if task not in data.tasks:
        raise ConfigError(f"{data.name} has no task {task}; it has {', '.join(data.tasks)}")
    examples = data.examples(task, "test").select("user_id", "query").collect()
    users = examples.filter(pl.col("query") == query)["user_id"].unique().sort()
    if users.is_empty():
        raise UnknownNameError("query", query, examples["query"].drop_nulls().unique().sort().to_list())
    found: list[Person] = []
    known: set[str] = set()
    for user in users:
        person = inspect(home, data, user, task)
        lately = set(before(person)["item_id"].tail(_LATELY))
        if known & lately:
            continue
        known |= lately
        asked = tuple(one for one in person.asked if one.query == query)
        found.append(replace(person, asked=asked))
        if len(found) == most:
            break
    return found


def before(person: Person) -> pl.DataFrame:
    """What a user bought before the test interaction."""
    return person.history.filter(pl.col("split") != "test")


def _neighbours(data: Dataset, user: str) -> list[str]:
    """Users whose names stand near the given one: a mistyped name is looked for among them, not among millions."""
    users = data.sealed_interactions().select("user_id").unique().collect()["user_id"].sort().to_list()
    at = bisect.bisect_left(users, user)
    return users[max(at - _NEAR, 0) : at + _NEAR]


def _asked(home: Home, data: Dataset, task: str, user: str) -> Iterator[Asked]:
    examples = data.examples(task, "test").filter(pl.col("user_id") == user).sort("example_id").collect()
    if examples.height == 0:
        return
    answers = examples.select("example_id").join(data.sealed_answers(task), on="example_id", how="left")
    value = {**VALUE, "image": "item_ids"}[TASKS[task].answer]  # the truth of a picture is the item that it shows
    truths = dict(answers.select("example_id", value).iter_rows())
    runs = _newest(records(home, data.name, task), data)
    for row in examples.iter_rows(named=True):
        said = [found for run in runs if (found := _said(run, task, row["example_id"])) is not None]
        yield Asked(
            task,
            row["example_id"],
            row["query"],
            row["target_item_id"],
            tuple(row["candidates"] or ()),
            truths[row["example_id"]],
            tuple(sorted(said, key=lambda one: (_rank(one), one.runner))),
        )


def _rank(said: Said) -> float:
    from unimp_bench.metrics.spec import METRICS

    if said.value is None:
        return float("inf")
    return -said.value if METRICS[said.metric].higher_is_better else said.value


def _newest(runs: Sequence[Record], data: Dataset) -> list[Record]:
    """Of runs on this very build, the newest of each runner, parameters, budget and variant."""
    found: dict[tuple[str, str, str], Record] = {}
    for run in sorted(runs, key=lambda run: str(run.manifest.created)):
        request = run.request
        if request["data_hash"] == data.data_hash:
            found[request["runner"], settings_hash(request), request["variant"]] = run
    return [found[key] for key in sorted(found)]


def _said(run: Record, task: str, example_id: str) -> Said | None:
    kind, metric = TASKS[task].answer, TASKS[task].metric
    this = pl.col("example_id") == example_id
    answer = tables.scan(run.folder / "predictions.parquet", PREDICTIONS[kind]).filter(this).collect()
    if answer.height == 0:
        return None
    scores = tables.scan(run.folder / "scores.parquet", SCORES).filter(this & (pl.col("metric") == metric)).collect()
    said = answer[VALUE[kind]].to_list()[0]
    if kind == "image":
        said = said and said["bytes"]
    variant = run.request["variant"]
    budget = Budget.of(run.request.get("budget"))
    name = run.request["runner"] + (f" on {variant}" if variant != "clean" else "")
    name += "" if budget is None else f" ({budget})"
    return Said(name, said, metric, scores["value"][0] if scores.height else None)


def titles(view: Catalogue, item_ids: Sequence[str]) -> list[str]:
    """What items are called; their ids where they have no title."""
    wanted = view.items.filter(pl.col("item_id").is_in(list(item_ids)))
    named = dict(wanted.select("item_id", "title").iter_rows())
    return [named.get(item) or item for item in item_ids]
