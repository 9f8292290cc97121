"""A built dataset of hand size for tests of runners, execution and leaderboard: 30 users, 20 items, all six tasks.

Users u00-u19 are in_domain, u20-u23 new_user, u24-u29 of the held-out domain `office` (items i16-i19 and no others).
Everybody has eight rows, office users four: their target is the one item that they have not seen, so whatever ranks
scores 1 there. Pictures are 16 x 16 JPEGs, one for every item but i03.
"""

from __future__ import annotations

import io
import shutil
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
from PIL import Image

from unimp_bench import tables
from unimp_bench.config import BuildConfig
from unimp_bench.dataset import Dataset
from unimp_bench.keyed import index_of
from unimp_bench.places import Home
from unimp_bench.provenance import Manifest, digest, hash_outputs
from unimp_bench.schemas import (
    ANSWERS,
    EXAMPLES,
    IMAGES,
    INTERACTIONS,
    ITEMS,
    LABELLED_EXAMPLES,
    SEALED_INTERACTIONS,
    conform,
)
from unimp_bench.tasks.building import Builder, Settings
from unimp_bench.tasks.item_texts import text_fields
from unimp_bench.tasks.spec import TASKS

ITEM_IDS = [f"i{k:02d}" for k in range(20)]
OFFICE = ITEM_IDS[16:]
USERS = [f"u{k:02d}" for k in range(30)]


def pictures() -> dict[str, bytes]:
    """A JPEG by item id."""
    found = {}
    for k, item in enumerate(ITEM_IDS):
        if item != "i03":
            file = io.BytesIO()
            Image.new("RGB", (16, 16), (k * 12, 255 - k * 12, 90)).save(file, "JPEG")
            found[item] = file.getvalue()
    return found


def items() -> pl.DataFrame:
    """The catalogue: two kinds of toys, one kind of office things."""
    images = {item: sha256(data).hexdigest() for item, data in pictures().items()}
    frame = pl.DataFrame(
        [
            {
                "item_id": item,
                "domain": "office" if item in OFFICE else "toys",
                "title": f"Title number {k}",
                "brand": "Acme" if k % 2 else None,
                "categories": ["Office", "Paper"] if item in OFFICE else ["Toys", "Cars" if k < 8 else "Dolls"],
                "price_usd": 1.5 + k,
                "attributes": [],
                "image_status": "ok" if item in images else "missing_url",
                "image_id": images.get(item),
            }
            for k, item in enumerate(ITEM_IDS)
        ]
    )
    return conform(frame.with_columns(pl.Series("item_index", index_of(frame["item_id"]))), ITEMS.columns)


def interactions() -> pl.DataFrame:
    """All rows with split and cohort."""
    rng = np.random.default_rng(5)
    rows: list[dict[str, object]] = []
    for k, user in enumerate(USERS):
        cohort = "in_domain" if k < 20 else "new_user" if k < 24 else "new_domain"
        bought = rng.permutation(OFFICE) if cohort == "new_domain" else rng.permutation(ITEM_IDS[:16])[:8]
        for position, item in enumerate(bought.tolist()):
            back = len(bought) - 1 - position
            split = "test" if back == 0 else "withheld" if cohort == "new_user" else "valid" if back == 1 else "train"
            rows.append(
                {
                    "user_id": user,
                    "position": position,
                    "item_id": item,
                    "domain": "office" if item in OFFICE else "toys",
                    "timestamp": 1_000 * position,
                    "rating": float(rng.integers(1, 6)),
                    "explanation": "it works very well" if position % 2 else f"the wheel of {item} is good",
                    "source_row": len(rows),
                    "split": split,
                    "cohort": cohort,
                }
            )
    return conform(pl.DataFrame(rows), SEALED_INTERACTIONS.columns)


def build_shop(home: Home, name: str = "shop", *, lean: bool = False) -> Dataset:
    """Write the dataset as `unimp-bench build` would."""
    folder, catalogue, rows = home.dataset(name), items(), interactions()
    config = BuildConfig(new_domains=("office",), lean=lean).resolved()
    tables.write(catalogue, folder / "visible/items.parquet", ITEMS)
    tables.write(_image_rows(), folder / "visible/images-00000.parquet", IMAGES)
    tables.write(rows, folder / "sealed/interactions.parquet", SEALED_INTERACTIONS)
    tables.write(rows.filter(pl.col("split") == "train"), folder / "visible/interactions.parquet", INTERACTIONS)
    facts = {
        "tasks": _write_tasks(folder, rows, catalogue, lean),
        "new_domains": ["office"],
        "split_hash": "abcdef0123456789",
        "protocol": "paper",
        "counts": {},
        "item_text": [[field.label, field.source] for field in text_fields(catalogue, "paper")],
    }
    request = {"config": config.request(), "name": name}
    Manifest("dataset", digest(request), request, outputs=hash_outputs(folder), facts=facts).write(folder)
    return Dataset.open(home, name)


def _write_tasks(folder: Path, rows: pl.DataFrame, catalogue: pl.DataFrame, lean: bool) -> dict[str, object]:
    builder = Builder(catalogue, Settings(n_candidates=4, lean=lean), ["office"])
    facts: dict[str, object] = {}
    for task in TASKS:
        made = {split: builder.examples(task, split, rows) for split in ("train", "valid", "test")}
        for split, frame in made.items():
            path = folder / f"visible/tasks/{task}/{split}.examples.parquet"
            tables.write(frame, path, EXAMPLES if split == "test" else LABELLED_EXAMPLES)
        tables.write(made["test"], folder / f"sealed/tasks/{task}/test.answers.parquet", ANSWERS)
        facts[task] = {"version": TASKS[task].version, "rows": {split: frame.height for split, frame in made.items()}}
    return facts


def add_variant(data: Dataset, name: str = "NT-0.2") -> None:
    """A variant in which every title is gone."""
    folder = data.folder / "variants" / name
    noisy = items().with_columns(pl.lit(None, dtype=pl.String).alias("title"))
    tables.write(noisy, folder / "items.parquet", ITEMS)
    Manifest("variant", digest(name), {"name": name}, outputs=hash_outputs(folder)).write(folder)


def _image_rows() -> pl.DataFrame:
    rows = [
        {"image_id": sha256(data).hexdigest(), "image": {"bytes": data, "path": None}, "width": 16, "height": 16}
        for data in pictures().values()
    ]
    return conform(pl.DataFrame(rows), IMAGES.columns)


@cache
def _template() -> TemporaryDirectory[str]:
    folder = TemporaryDirectory()  # goes when the process ends
    build_shop(Home(Path(folder.name)))
    return folder


def home_at(path: Path) -> Home:
    """A home whose one dataset is the shop; built once a process, then copied."""
    shutil.copytree(_template().name, path)
    return Home(path)
