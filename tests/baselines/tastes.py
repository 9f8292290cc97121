"""A made shop for systems that rate and explain: what there is to learn is known, and where it can be learned from.

A user is kind or strict, an item fine or plain (its title says which), so ratings are 1, 3 or 5. A picture is of one
colour, which no text of the item names and every explanation does. Items of `COLD` nobody bought in training.
"""

from __future__ import annotations

import io
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from unimp_bench import tables
from unimp_bench.dataset import Catalogue
from unimp_bench.runners.protocol import TaskData
from unimp_bench.schemas import EXAMPLES, IMAGES, INTERACTIONS, ITEMS, LABELLED_EXAMPLES, conform

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220)}
ITEM_IDS = [f"i{k:02d}" for k in range(24)]
COLD = ITEM_IDS[18:]
USERS = [f"u{k:02d}" for k in range(40)]
EACH = 8  # rows of a user, the last for validation


def colour(item: str) -> str:
    """What its picture shows."""
    return list(COLOURS)[int(item[1:]) % 3]


def rating(user: str, item: str) -> float:
    """What a user gives to an item."""
    return 3.0 + (1 if int(user[1:]) % 2 else -1) + (1 if int(item[1:]) // 3 % 2 else -1)


def said(user: str, item: str) -> str:
    """What a user says of an item."""
    return f"I like the {colour(item)} one." if rating(user, item) >= 3 else f"The {colour(item)} one is bad."


def catalogue(folder: Path, *, pictures: bool = True) -> Catalogue:
    """The items, with their pictures as a file in a folder."""
    shown = {}
    for name, values in COLOURS.items():
        file = io.BytesIO()
        Image.new("RGB", (16, 16), values).save(file, "PNG")
        shown[name] = file.getvalue()
    ids = {name: sha256(data).hexdigest() for name, data in shown.items()}
    rows = [
        {"image_id": ids[name], "image": {"bytes": data, "path": None}, "width": 16, "height": 16}
        for name, data in shown.items()
    ]
    path = folder / "images.parquet"
    tables.write(conform(pl.DataFrame(rows), IMAGES.columns).sort("image_id"), path, IMAGES)
    items = [
        {
            "item_id": item,
            "item_index": k,
            "domain": "toys",
            "title": f"{'Fine' if k // 3 % 2 else 'Plain'} thing number {k}",
            "image_id": ids[colour(item)] if pictures else None,
        }
        for k, item in enumerate(ITEM_IDS)
    ]
    frame = pl.DataFrame(items, schema_overrides={"image_id": pl.String})
    return Catalogue(conform(frame, ITEMS.columns), frozenset(), (path,))


def _row(user: str, item: str) -> dict[str, Any]:
    return {"item_id": item, "rating": rating(user, item), "explanation": said(user, item)}


def _example(user: str, past: list[str], item: str, answer: dict[str, Any]) -> dict[str, Any]:
    return {
        "example_id": f"{user}:{item}",
        "user_id": user,
        "position": len(past),
        "cohort": "in_domain",
        "history": [_row(user, one) for one in past],
        "target_item_id": item,
        **answer,
    }


def _bought(user: str) -> list[str]:
    return [str(item) for item in np.random.default_rng(int(user[1:])).permutation(ITEM_IDS[:18])[:EACH]]


def data_at(folder: Path, *, pictures: bool = True) -> dict[str, TaskData]:
    """What may be learned of both tasks."""
    view = catalogue(folder, pictures=pictures)
    rows = [
        {"user_id": user, "position": k, "domain": "toys", **_row(user, item)}
        for user in USERS
        for k, item in enumerate(_bought(user)[:-1])
    ]
    train = conform(pl.DataFrame(rows), INTERACTIONS.columns).lazy()
    found = {}
    for task in ("explanation", "preference"):
        asked = []
        for user in USERS:
            *past, last = _bought(user)
            answer = {"rating": rating(user, last)} if task == "preference" else {"text": said(user, last)}
            asked.append(_example(user, past, last, answer))
        valid = conform(pl.DataFrame(asked), LABELLED_EXAMPLES.columns).lazy()
        found[task] = TaskData(valid.head(0), valid, train, view)
    return found


def questions(users: list[str] = USERS) -> pl.DataFrame:
    """Every user about an item that nobody bought, after their first seven."""
    rows = [_example(user, _bought(user)[:-1], COLD[int(user[1:]) // 2 % len(COLD)], {}) for user in users]
    return conform(pl.DataFrame(rows), EXAMPLES.columns)
