"""A built dataset folder as a `Shop`, by pyarrow alone, and the same from tables that somebody else read."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from unimp.errors import UnimpError
from unimp.item_text import AMAZON, body, field_text
from unimp.shop import IN_HISTORY, TASKS, Example, Items, Log, Shop

NEW_DOMAIN = "new_domain"
Fields = Sequence[tuple[str, str]]


def items_of(table: pa.Table, fields: Fields, images: Sequence[Path]) -> Items:
    """The catalogue from the items table; pictures stay in their files until they are asked for."""
    rows = table.sort_by("item_index").to_pylist()
    return Items(
        ids=tuple(row["item_id"] for row in rows),
        bodies=tuple(body(row, fields or AMAZON) for row in rows),
        titles=tuple(field_text(row, "title") for row in rows),
        domains=tuple(row["domain"] for row in rows),
        picture_ids=tuple(row["image_id"] for row in rows),
        pictures=partial(read_pictures, tuple(images)),
    )


def read_pictures(files: Sequence[Path], ids: Sequence[str]) -> dict[str, bytes]:
    """Encoded pictures by id, from Parquet files; ids without a picture are left out."""
    names, found = sorted(set(ids)), {}
    wanted = pa.array(names, pa.string())
    for file in files:
        opened = pq.ParquetFile(file)
        groups = [k for k in range(opened.num_row_groups) if _may_hold(opened.metadata.row_group(k).column(0), names)]
        for batch in opened.iter_batches(columns=["image_id", "image"], batch_size=512, row_groups=groups):
            part = batch.filter(pc.is_in(batch["image_id"].cast(pa.string()), wanted))
            for row in part.to_pylist():
                found[row["image_id"]] = row["image"]["bytes"]
    return found


def _may_hold(column: Any, names: Sequence[str]) -> bool:
    """Whether a part of a file, by the first and last `image_id` that it says it has, may hold one of sorted names.

    Pictures are written in the order of their ids and asked for in blocks of it, so most parts need not be read.
    """
    said = column.statistics
    if column.path_in_schema != "image_id" or said is None or not said.has_min_max:
        return True
    return bisect_left(names, str(said.min)) < bisect_right(names, str(said.max))


def log_of(interactions: pa.Table, train: Mapping[str, pa.Table], index: Mapping[str, int]) -> Log:
    """The log, and which of its rows each task learns. Examples of position p ask for a user's p-th row."""
    table = interactions.sort_by([("user_id", "ascending"), ("position", "ascending")])
    users = table["user_id"].combine_chunks().dictionary_encode()
    codes = users.indices.to_numpy(zero_copy_only=False)
    place = {user: k for k, user in enumerate(users.dictionary.to_pylist())}
    offsets = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(place)))]).astype(np.int64)
    rows = table.num_rows
    item = np.array([index[i] for i in table["item_id"].to_pylist()], dtype=np.int64)
    rating = table["rating"].to_numpy().astype(np.float32)
    query = np.full(rows, -1, dtype=np.int64)
    known: dict[str, int] = {}
    learned = {}
    for task in (*IN_HISTORY, "image_generation"):
        if task not in train:
            continue
        examples = train[task]
        owner = np.array([place.get(u, -1) for u in examples["user_id"].to_pylist()], dtype=np.int64)
        at = examples["position"].to_numpy().astype(np.int64)
        known_owner = owner >= 0
        at = offsets[owner[known_owner]] + at[known_owner]
        learned[task] = np.zeros(rows, dtype=bool)
        learned[task][at] = True
        if task in ("search", "image_generation"):
            for row, text in zip(at, examples["query"].filter(pa.array(known_owner)).to_pylist(), strict=True):
                if text is not None:
                    query[row] = known.setdefault(text, len(known))
    return Log(offsets, item, rating, table["explanation"].to_pylist(), query, list(known), learned)


def examples_of(table: pa.Table, index: Mapping[str, int]) -> list[Example]:
    """Examples with item indices; answers where the table has them."""
    found = []
    for row in table.to_pylist():
        history = row["history"] or []
        target = row.get("target_item_id")
        found.append(
            Example(
                id=row["example_id"],
                cohort=row["cohort"],
                history=np.array([index[h["item_id"]] for h in history], dtype=np.int64),
                ratings=np.array([np.nan if h["rating"] is None else h["rating"] for h in history], dtype=np.float32),
                whys=[h["explanation"] for h in history],
                query=row["query"],
                target=index[target] if target is not None else None,
                candidates=tuple(index[i] for i in row["candidates"] or ()),
                answer_items=tuple(index[i] for i in row.get("item_ids") or ()),
                answer_rating=row.get("rating"),
                answer_text=row.get("text"),
            )
        )
    return found


def selections_of(table: pa.Table, interactions: pa.Table, log: Log, index: Mapping[str, int]) -> tuple[Example, ...]:
    """Selection's training examples with the whole history before them.

    Train files keep the last five entries; test examples show up to fifty, and what is trained must look like them.
    """
    users = {user: k for k, user in enumerate(sorted(set(interactions["user_id"].to_pylist())))}
    found = []
    rows = zip(table["user_id"].to_pylist(), table["position"].to_pylist(), strict=True)
    for read, (user, position) in zip(examples_of(table, index), rows, strict=True):
        first = int(log.offsets[users[user]]) if user in users else 0
        before = slice(first, first + position)
        shown = log.item[before]
        own = len(read.history)
        known = user in users and len(shown) == position >= own
        if known and np.array_equal(shown[position - own :], read.history):
            read_whole = replace(read, history=shown, ratings=log.rating[before], whys=list(log.why[before]))
            found.append(read_whole)
        else:
            found.append(read)
    return tuple(found)


def shop_of(items: Items, interactions: pa.Table, train: Mapping[str, pa.Table], valid: Mapping[str, pa.Table]) -> Shop:
    """A shop from the tables of a built dataset, filtered to the cohort at hand by the caller."""
    index = {item: k for k, item in enumerate(items.ids)}
    reviews = [
        f"{title or ''} {text or ''}".strip()
        for title, text in zip(
            interactions["review_title"].to_pylist(), interactions["review_text"].to_pylist(), strict=True
        )
        if title or text
    ]
    log = log_of(interactions, train, index)
    selection = selections_of(train["selection"], interactions, log, index) if "selection" in train else ()
    return Shop(
        items,
        log,
        selection,
        {task: examples_of(table, index) for task, table in valid.items()},
        reviews,
    )


def facts_of(folder: Path) -> dict[str, Any]:
    """What a built dataset folder says of itself, `new_domains` among it.

    Raises:
        UnimpError: the folder is no finished dataset.
    """
    try:
        facts: dict[str, Any] = json.loads((folder / "manifest.json").read_text())["facts"]
        if not isinstance(facts["new_domains"], list):
            raise ValueError("new_domains is no list")
        return facts
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnimpError(f"{folder} is no finished dataset ({error}); build it with `unimp-bench build`") from None


def table_of(file: Path) -> pa.Table:
    """A Parquet file, whole.

    Raises:
        UnimpError: it is not there or not whole.
    """
    try:
        return pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        said = str(error).split("\n")[0]
        raise UnimpError(f"{file} cannot be read ({said}); copy the dataset again or build it") from None


def catalogue_of(folder: Path) -> Items:
    """The catalogue of a built dataset folder.

    Raises:
        UnimpError: the folder is no finished dataset, or its catalogue is not whole.
    """
    visible, facts = folder / "visible", facts_of(folder)
    fields = [tuple(pair) for pair in facts.get("item_text", ())]
    with _of_this_version(folder):
        return items_of(table_of(visible / "items.parquet"), fields, sorted(visible.glob("images-*.parquet")))


def questions_of(folder: Path, task: str, items: Items) -> list[Example]:
    """The test examples of a task.

    Raises:
        UnimpError: the folder has no such task, or its files are not whole.
    """
    file = folder / "visible" / "tasks" / task / "test.examples.parquet"
    if not file.is_file():
        raise UnimpError(f"{folder} has no task {task}; build it with `unimp-bench build`, or choose another")
    with _of_this_version(folder):
        return examples_of(table_of(file), {item: k for k, item in enumerate(items.ids)})


@contextmanager
def _of_this_version(folder: Path) -> Iterator[None]:
    """Inside, a column or an item that is not there says that files do not belong together."""
    try:
        yield
    except KeyError as error:
        raise UnimpError(f"{folder} is not whole: it lacks {error}; copy the dataset again or build it") from None


def read_folder(folder: Path, tasks: Sequence[str] = TASKS, *, new_domains: bool = False) -> Shop:
    """What a built dataset folder lets a model learn; the rows of held-out domains with `new_domains`, else all others.

    Raises:
        UnimpError: the folder is no finished dataset, or one of its files is not whole.
    """
    held_out, visible, items = set(facts_of(folder)["new_domains"]), folder / "visible", catalogue_of(folder)
    with _of_this_version(folder):
        interactions = table_of(visible / "interactions.parquet")
        outside = pc.is_in(interactions["domain"].cast(pa.string()), pa.array(sorted(held_out), pa.string()))
        interactions = interactions.filter(outside if new_domains else pc.invert(outside))
        split: dict[str, dict[str, pa.Table]] = {"train": {}, "valid": {}}
        for task in tasks:
            for name, tables in split.items():
                file = visible / "tasks" / task / f"{name}.examples.parquet"
                if file.is_file():
                    table = table_of(file)
                    mine = pc.equal(table["cohort"].cast(pa.string()), NEW_DOMAIN)
                    tables[task] = table.filter(mine if new_domains else pc.invert(mine))
        return shop_of(items, interactions, split["train"], split["valid"])
