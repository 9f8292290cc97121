"""The truth of a shop as files: written beside the raw dump, read by the oracles and by nobody else."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from unimp_bench import tables
from unimp_bench.data.sources.synthetic.reviews import Bank
from unimp_bench.data.sources.synthetic.sampling import Customers
from unimp_bench.data.sources.synthetic.world import GENERATOR_VERSION, Tastes, World, join_type, split_type
from unimp_bench.errors import IncompleteError
from unimp_bench.places import atomic
from unimp_bench.schemas import STRINGS, Table

TRUE_ITEMS = Table(
    "true_items",
    1,
    ("item_id",),
    {
        "item_id": pl.String,
        "category": pl.Int32,
        "place": pl.Int32,  # within the category
        "style": pl.Int32,
        "house": pl.Int32,
        "brand": pl.Int32,
        "price": pl.Int32,
        "appeal": pl.Float64,
        "quality": pl.Float64,
    },
)
TRUE_USERS = Table(
    "true_users",
    1,
    ("user_id",),
    {"user_id": pl.String, "style": pl.Int32, "house": pl.Int32, "price": pl.Int32, "lenient": pl.Int32},
)
TRUE_CATEGORIES = Table(
    "true_categories",
    1,
    ("category",),
    {
        "category": pl.Int32,
        "domain": pl.String,
        "department": pl.Int32,
        "kind": pl.Int32,
        "path": STRINGS,
        "start": pl.Float64,
        "transitions": pl.List(pl.Float64),  # to every category, in their order
    },
)
TRUE_SENTENCES = Table(
    "true_sentences",
    1,
    ("sentence",),
    {
        "sentence": pl.Int32,
        "kind": pl.Int32,
        "aspect": pl.Int32,
        "positive": pl.Int32,
        "share": pl.Float64,
        "text": pl.String,
    },
)


@dataclass(frozen=True)
class Truth:
    """A shop's world, its customers and what they may say."""

    world: World
    customers: Customers
    bank: Bank

    @cached_property
    def user_index(self) -> dict[str, int]:
        """User id to its row in `customers`."""
        return {user: u for u, user in enumerate(self.customers.user_ids)}


def write(truth: Truth, folder: Path) -> None:
    """Write the truth as a folder of Parquet files and `world.json`."""
    world, customers, bank = truth.world, truth.customers, truth.bank
    count = len(world.item_ids)
    items = {
        "item_id": list(world.item_ids),
        "category": np.arange(count) // world.each,
        "place": np.arange(count) % world.each,
        **{name: getattr(world, name) for name in ("style", "house", "brand", "price", "appeal", "quality")},
    }
    style, house, price = split_type(customers.types)
    users = {
        "user_id": list(customers.user_ids),
        "style": style,
        "house": house,
        "price": price,
        "lenient": customers.lenient,
    }
    categories = {
        "category": np.arange(world.categories),
        "domain": list(world.category_domains),
        "department": [department for department, _ in world.category_kinds],
        "kind": [kind for _, kind in world.category_kinds],
        "path": [list(path) for path in world.category_paths],
        "start": world.start,
        "transitions": world.transitions.tolist(),
    }
    sentences = {
        "sentence": np.arange(len(bank.texts)),
        "kind": bank.kind,
        "aspect": bank.aspect,
        "positive": bank.positive,
        "share": bank.share,
        "text": list(bank.texts),
    }
    tables.write(pl.DataFrame(items), folder / "items.parquet", TRUE_ITEMS)
    tables.write(pl.DataFrame(users), folder / "users.parquet", TRUE_USERS)
    tables.write(pl.DataFrame(categories), folder / "categories.parquet", TRUE_CATEGORIES)
    tables.write(pl.DataFrame(sentences), folder / "sentences.parquet", TRUE_SENTENCES)
    facts = {"generator_version": GENERATOR_VERSION, "size": world.size, "seed": world.seed}
    with atomic(folder / "world.json") as draft:
        draft.write_text(json.dumps({**facts, "tastes": dataclasses.asdict(world.tastes)}, indent=1) + "\n")


def read(folder: Path) -> Truth:
    """The truth of a folder.

    Raises:
        IncompleteError: it is not whole, or another version of the generator wrote it.
    """
    try:
        facts = json.loads((folder / "world.json").read_text())
    except (OSError, ValueError):
        raise IncompleteError(f"{folder} does not hold a shop's truth; build the synthetic dataset again") from None
    if facts["generator_version"] != GENERATOR_VERSION:
        raise IncompleteError(
            f"{folder} was written by generator version {facts['generator_version']}, this one is version "
            f"{GENERATOR_VERSION}; build the synthetic dataset again"
        )
    items = tables.read(folder / "items.parquet", TRUE_ITEMS).sort("category", "place")
    users = tables.read(folder / "users.parquet", TRUE_USERS)
    categories = tables.read(folder / "categories.parquet", TRUE_CATEGORIES)
    sentences = tables.read(folder / "sentences.parquet", TRUE_SENTENCES)

    def whole(frame: pl.DataFrame, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        return frame[name].cast(pl.Int64).to_numpy()

    world = World(
        size=facts["size"],
        seed=facts["seed"],
        tastes=_tastes(facts["tastes"]),
        category_domains=tuple(categories["domain"]),
        category_kinds=tuple(categories.select("department", "kind").iter_rows()),
        category_paths=tuple(tuple(path) for path in categories["path"].to_list()),
        start=categories["start"].to_numpy(),
        transitions=np.array(categories["transitions"].to_list()),
        item_ids=tuple(items["item_id"]),
        style=whole(items, "style"),
        house=whole(items, "house"),
        brand=whole(items, "brand"),
        price=whole(items, "price"),
        appeal=items["appeal"].to_numpy(),
        quality=items["quality"].to_numpy(),
    )
    types = join_type(whole(users, "style"), whole(users, "house"), whole(users, "price"))
    customers = Customers(tuple(users["user_id"]), types, whole(users, "lenient"))
    bank = Bank(
        tuple(sentences["text"]),
        whole(sentences, "kind"),
        whole(sentences, "aspect"),
        whole(sentences, "positive"),
        sentences["share"].to_numpy(),
    )
    return Truth(world, customers, bank)


def _tastes(values: Mapping[str, Any]) -> Tastes:
    plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return Tastes(**plain)
