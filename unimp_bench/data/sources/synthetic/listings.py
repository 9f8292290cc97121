"""Metadata records of the synthetic shop in the form of Amazon 2014: Python dict literals with the flaws of real ones.

Text is drawn from the item's id alone and knows nothing of its style; `related` and `salesRank` are noise.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import numpy as np

from unimp_bench.data.sources.synthetic.kinds import BRAND_GROUPS, DEPARTMENTS, LINES
from unimp_bench.data.sources.synthetic.world import GENERATOR_VERSION, World, item_code
from unimp_bench.keyed import string_key

_PRICE_FACTOR = (0.55, 1.0, 1.8)  # of price levels
_WORN_BY = {"Women": "Women's ", "Men": "Men's ", "Girls": "Girls' ", "Boys": "Boys' "}
_NO_BRAND = ("", "None", "Unknown")
# Shares of items with a flaw.
_NO_RECORD, _NO_ADDRESS, _DEAD_ADDRESS = 0.01, 0.02, 0.02
_NO_TITLE, _BAD_BRAND, _ABSENT_BRAND, _NO_PRICE, _NO_DESCRIPTION = 0.01, 0.03, 0.05, 0.08, 0.15


@dataclass(frozen=True)
class Listing:
    """What is printed about one item."""

    item_id: str
    category: int
    house: int
    brand: int
    price: int  # level


def listing_of(world: World, item: int) -> Listing:
    """The listing of one of the world's items."""
    return Listing(
        world.item_ids[item],
        item // world.each,
        int(world.house[item]),
        int(world.brand[item]),
        int(world.price[item]),
    )


def listing_of_stranger(world: World, item_id: str) -> Listing:
    """A listing of an item that the world does not know: nobody buys it, or too few do."""
    rng = _rng(item_id, "stranger")
    house = int(rng.integers(len(BRAND_GROUPS)))
    brand = int(rng.integers(len(BRAND_GROUPS[house])))
    return Listing(item_id, int(rng.integers(world.categories)), house, brand, int(rng.integers(3)))


def _rng(item_id: str, stage: str) -> np.random.Generator:
    return np.random.default_rng([string_key(item_id, stage, GENERATOR_VERSION)])


def has_record(item_id: str) -> bool:
    """Whether there is metadata of the item at all."""
    return bool(_rng(item_id, "record").random() >= _NO_RECORD)


def address(item_id: str) -> str | None:
    """Address of the item's picture, None for a few."""
    absent = _rng(item_id, "picture address").random() < _NO_ADDRESS
    return None if absent else f"http://images.example.invalid/{item_id}.jpg"


def has_picture(item_id: str) -> bool:
    """Whether there is a picture behind the address; a few addresses are dead."""
    return address(item_id) is not None and bool(_rng(item_id, "picture").random() >= _DEAD_ADDRESS)


def record(world: World, listing: Listing) -> dict[str, Any]:
    """The metadata record, keys in the order of real ones; what is missing has no key."""
    rng = _rng(listing.item_id, "listing")
    department_number, kind_number = world.category_kinds[listing.category]
    department = DEPARTMENTS[department_number]
    kind = department.kinds[kind_number]
    root, section, leaf = world.category_paths[listing.category]
    brand = BRAND_GROUPS[listing.house][listing.brand]
    line, material = str(rng.choice(LINES)), str(rng.choice(kind.materials))
    number, inches = int(rng.integers(100, 1000)), int(rng.integers(6, 20))
    worn_by = _WORN_BY.get(section, "")
    title = f"{brand} {worn_by}{line} {kind.noun.title()} No. {number}, {material.title()}"
    if rng.random() < 0.1:
        title += f' ({inches}")'
    first, second = kind.features
    description = (
        f"The {line} {kind.noun} by {brand} is made of {material} and meant for {kind.use}. "
        f"Model {number}; {first} and {second} were revised this year. Packed in one box & shipped from our store."
    )
    price = round(kind.price_usd * _PRICE_FACTOR[listing.price] * rng.uniform(0.9, 1.1)) - 0.01
    others = [item_code(0, f"noise {rng.integers(1 << 40)}") for _ in range(int(rng.integers(0, 4)))]
    paths = [[root, section, leaf]]
    if rng.random() < 0.1:
        paths.append([root])  # real items stand in several places
    flaws = rng.random(5)
    made: dict[str, Any] = {"asin": listing.item_id}
    if flaws[0] >= _NO_TITLE:
        # Some texts are escaped for HTML and some are not, as in real dumps.
        made["title"] = html.escape(title) if rng.random() < 0.5 else title
    if flaws[1] >= _NO_PRICE:
        made["price"] = price
    if (url := address(listing.item_id)) is not None:
        made["imUrl"] = url
    if others:
        made["related"] = {"also_bought": others, "buy_after_viewing": others[:1]}
    if rng.random() < 0.7:
        made["salesRank"] = {root: int(rng.integers(1, 900_000))}
    if flaws[2] < _BAD_BRAND:
        made["brand"] = str(rng.choice(_NO_BRAND))
    elif flaws[2] >= _BAD_BRAND + _ABSENT_BRAND:
        made["brand"] = html.escape(brand) if rng.random() < 0.5 else brand
    made["categories"] = paths
    if flaws[3] >= _NO_DESCRIPTION:
        made["description"] = html.escape(description) if rng.random() < 0.5 else description
    return made


def line(made: dict[str, Any]) -> str:
    """The record as one line, written as Python's `repr` writes it, in ASCII: no JSON."""
    return ascii(made) + "\n"
