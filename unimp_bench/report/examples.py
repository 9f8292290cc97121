"""The browser of examples: what a user had, what was asked, the sealed answer, and what each system said.

Only clean, whole runs of the dataset as it stands are shown; of several seeds the smallest. Everything is bounded:
examples and systems a task, entries of a history, items of a ranking, characters of a text, pictures in all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from unimp_bench import tables
from unimp_bench.check import VALUE
from unimp_bench.dataset import CLEAN, Dataset
from unimp_bench.metrics.spec import METRICS
from unimp_bench.places import Home
from unimp_bench.progress import Progress
from unimp_bench.provenance import digest
from unimp_bench.report.choosing import Chosen, choose
from unimp_bench.report.labels import Labels
from unimp_bench.report.pictures import Album
from unimp_bench.report.values import cut, plain
from unimp_bench.results import Record, records
from unimp_bench.schemas import COHORTS, PREDICTIONS, SCORES
from unimp_bench.tasks.spec import TASKS

SYSTEMS = 12  # a task, the best of the first cohort first
HISTORY = 8  # entries, the latest
LISTED = 5  # items of a ranking
_TITLE, _TEXT = 160, 600  # characters


@dataclass(frozen=True)
class Speaker:
    """A system whose answers are shown."""

    label: str
    run: Record


def browser(
    home: Home, dataset: Dataset, tasks: Sequence[str], labels: Labels, board: pl.DataFrame, progress: Progress
) -> dict[str, Any]:
    """`examples` by task, the `items` that they name, and the `pictures` of both.

    Raises:
        IncompleteError: a run's answers or scores cannot be read.
    """
    progress.start("gathering examples", len(tasks), "tasks")
    shown: dict[str, Any] = {}
    for task in tasks:
        shown[task] = _of_task(home, dataset, task, labels, board)
        progress.advance()
    progress.finish()
    album = Album()
    items = _items(dataset, shown, album, progress)
    for task in tasks:
        for example in shown[task]["examples"]:
            for said in example["said"]:
                if "image" in said:
                    said["image"] = album.add(said["image"])
    return {"examples": shown, "items": items, "pictures": album.addresses, "pictures_left_out": album.left_out}


def _of_task(home: Home, dataset: Dataset, task: str, labels: Labels, board: pl.DataFrame) -> dict[str, Any]:
    first = board.filter(pl.col("task") == task, pl.col("metric") == TASKS[task].metric, pl.col("variant") == CLEAN)
    if first.height == 0:
        return {"systems": [], "examples": []}
    shown = speakers(home, dataset, task, labels, first)
    examples = dataset.examples(task, "test").select("example_id", "cohort").collect()
    values = _values(shown, TASKS[task].metric)
    cohorts = [cohort for cohort in COHORTS if cohort in examples["cohort"]]
    chosen = choose(_margins(examples, values, TASKS[task].metric, _leader(shown)), cohorts)
    return {
        "systems": [speaker.label for speaker in shown],
        "examples": list(_written(dataset, task, chosen, shown, values)),
    }


def speakers(home: Home, dataset: Dataset, task: str, labels: Labels, first: pl.DataFrame) -> list[Speaker]:
    """The runs whose answers are shown, in the order of the leaderboard's first cohort."""
    latest: dict[str, Record] = {}
    for run in records(home, dataset.name, task):
        asked = run.request
        if asked["limit"] is not None or asked["variant"] != CLEAN or asked["data_hash"] != dataset.data_hash:
            continue
        label = labels.name(asked["runner"], digest(asked["parameters"])[:8])
        held = latest.get(label)
        if held is None or _rank(run) > _rank(held):
            latest[label] = run
    order = [
        labels.name(runner, setting)
        for runner, setting in first.sort(
            pl.col("cohort").replace_strict({name: i for i, name in enumerate(COHORTS)}, return_dtype=pl.Int8),
            maintain_order=True,
        )
        .select("runner", "parameters_hash")
        .iter_rows()
    ]
    return [Speaker(label, latest[label]) for label in dict.fromkeys(order) if label in latest][:SYSTEMS]


def _rank(run: Record) -> tuple[int, int, str]:
    return run.request["runner_version"], -run.request["seed"], str(run.manifest.created)


def _leader(speakers: Sequence[Speaker]) -> str:
    """The best system that does not read the truth, or the best of all."""
    honest = [speaker.label for speaker in speakers if not speaker.run.request["reads_truth"]]
    return (honest or [speaker.label for speaker in speakers])[0]


def _values(speakers: Iterable[Speaker], metric: str) -> pl.DataFrame:
    """example_id, label, truth and value of the metric; nothing where values say nothing about one example."""
    schema = {"example_id": pl.String, "value": pl.Float64, "label": pl.String, "truth": pl.Boolean}
    if METRICS[metric].by_cohort:
        return pl.DataFrame(schema=schema)
    frames = [
        tables.scan(speaker.run.folder / "scores.parquet", SCORES)
        .filter(pl.col("metric") == metric)
        .select("example_id", "value")
        .collect()
        .with_columns(label=pl.lit(speaker.label), truth=pl.lit(bool(speaker.run.request["reads_truth"])))
        for speaker in speakers
    ]
    return pl.concat(frames).select(list(schema)) if frames else pl.DataFrame(schema=schema)


def _margins(examples: pl.DataFrame, values: pl.DataFrame, metric: str, leader: str) -> pl.DataFrame:
    """example_id, cohort, and by how much the leader is better than the mean of all other honest systems."""
    sign = 1.0 if METRICS[metric].higher_is_better else -1.0
    others = values.filter((pl.col("label") != leader) & ~pl.col("truth"))
    mean = others.group_by("example_id").agg(mean=pl.col("value").mean())
    mine = values.filter(pl.col("label") == leader).select("example_id", "value")
    margin = sign * (pl.col("value") - pl.col("mean"))
    joined = examples.join(mine, on="example_id", how="left").join(mean, on="example_id", how="left")
    return joined.select("example_id", "cohort", margin=margin)


def _written(
    dataset: Dataset, task: str, chosen: Sequence[Chosen], speakers: Sequence[Speaker], values: pl.DataFrame
) -> Iterator[dict[str, Any]]:
    """The chosen examples with all that was said of them; pictures are still bytes."""
    ids = [one.example_id for one in chosen]
    wanted = pl.col("example_id").is_in(ids)
    asked = _by_id(dataset.examples(task, "test").filter(wanted).collect())
    answers = _by_id(dataset.sealed_answers(task).filter(wanted))
    kind = TASKS[task].answer
    said = [
        _by_id(tables.scan(one.run.folder / "predictions.parquet", PREDICTIONS[kind]).filter(wanted).collect())
        for one in speakers
    ]
    value = {(row["example_id"], row["label"]): row["value"] for row in values.filter(wanted).iter_rows(named=True)}
    for one in chosen:
        example, answer = asked[one.example_id], answers[one.example_id]
        past = example["history"] or []
        yield {
            "id": one.example_id,
            "user": example["user_id"],
            "cohort": one.cohort,
            "why": one.why,
            "history": [[e["item_id"], e["rating"], cut(e["explanation"], _TEXT)] for e in past[-HISTORY:]],
            "earlier": max(0, len(past) - HISTORY),
            "query": cut(example["query"], _TEXT),
            "target": example["target_item_id"],
            "candidates": example["candidates"] or [],
            "answer": {
                "items": answer["item_ids"] or [],
                "rating": answer["rating"],
                "text": cut(answer["text"], _TEXT),
            },
            "said": [
                {
                    "system": number,
                    "value": plain(value.get((one.example_id, speaker.label))),
                    **_answer(kind, rows.get(one.example_id), answer["item_ids"] or []),
                }
                for number, (speaker, rows) in enumerate(zip(speakers, said, strict=True))
            ],
        }


def _answer(kind: str, row: Mapping[str, Any] | None, wanted: Sequence[str]) -> dict[str, Any]:
    """One system's answer; empty where it gave none. `rank` is the wanted item's place, 0 where it is not listed."""
    given = None if row is None else row[VALUE[kind]]
    if given is None:
        return {}
    if kind == "ranking":
        places = [given.index(item) + 1 for item in wanted if item in given]
        return {"items": given[:LISTED], "rank": min(places, default=0), "of": len(given)}
    if kind == "selection":
        return {"items": given}
    if kind == "image":
        return {"image": given["bytes"]} if given["bytes"] else {}
    return {"rating": plain(given)} if kind == "rating" else {"text": cut(given, _TEXT)}


def _items(dataset: Dataset, shown: Mapping[str, Any], album: Album, progress: Progress) -> dict[str, Any]:
    """Title, brand, categories, price, domain and picture of every item that is named.

    Pictures of what was asked come before pictures of what was answered, should the budget not suffice for all.
    """
    examples = [example for task in shown.values() for example in task["examples"]]
    named: dict[str, None] = {}
    for example in examples:
        past = [entry[0] for entry in example["history"]]
        one = [example["target"]] if example["target"] else []
        named.update(dict.fromkeys([*past, *one, *example["answer"]["items"], *example["candidates"]]))
    for example in examples:
        for said in example["said"]:
            named.update(dict.fromkeys(said.get("items", ())))
    rows = dataset.catalogue().items.filter(pl.col("item_id").is_in(list(named)))
    known = {row["item_id"]: row for row in rows.iter_rows(named=True)}
    pictures = dataset.catalogue().pictures(row["image_id"] for row in known.values() if row["image_id"])
    progress.start("shrinking pictures", len(known), "items")
    found: dict[str, Any] = {}
    for item in named:
        row = known.get(item)
        if row is None:
            continue
        found[item] = {
            "title": cut(row["title"], _TITLE),
            "brand": cut(row["brand"], _TITLE),
            "path": [cut(name, _TITLE) for name in row["categories"] or []],
            "price": row["price_usd"],
            "domain": row["domain"],
            "picture": album.add(pictures.get(row["image_id"])),
        }
        progress.advance()
    progress.finish()
    return found


def _by_id(frame: pl.DataFrame) -> dict[str, dict[str, Any]]:
    return {row["example_id"]: row for row in frame.iter_rows(named=True)}
