"""A small honest dataset made by hand, frame by frame, so that a test can break it in one way and write it."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from unimp_bench import tables
from unimp_bench.dataset import Dataset
from unimp_bench.keyed import index_of
from unimp_bench.places import Home
from unimp_bench.provenance import Manifest, hash_outputs
from unimp_bench.schemas import (
    ANSWERS,
    DROPS,
    EXAMPLES,
    IMAGES,
    INTERACTIONS,
    ITEMS,
    LABELLED_EXAMPLES,
    SEALED_INTERACTIONS,
    conform,
)
from unimp_bench.tasks.spec import TASKS

DAY = 86_400_000
ITEMS_A_DOMAIN = {"toys": 150, "office": 40}
USERS_A_DOMAIN = {"toys": 60, "office": 12}
NEW_USERS = 8
LENGTH = 10


@dataclass
class Shop:
    """All frames of a dataset; `examples` by (task, split), with their answers in all three splits."""

    items: pl.DataFrame
    images: pl.DataFrame
    sealed: pl.DataFrame
    visible: pl.DataFrame
    examples: dict[tuple[str, str], pl.DataFrame]
    answers: dict[str, pl.DataFrame]
    facts: dict[str, object]

    def write(self, root: Path, name: str = "shop", inputs: dict[str, str] | None = None) -> Dataset:
        home = Home(root)
        folder = home.dataset(name)
        tables.write(self.items, folder / "visible/items.parquet", ITEMS)
        tables.write(self.images, folder / "visible/images-00000.parquet", IMAGES)
        tables.write(self.sealed, folder / "sealed/interactions.parquet", SEALED_INTERACTIONS)
        tables.write(self.visible, folder / "visible/interactions.parquet", INTERACTIONS)
        tables.write(pl.DataFrame(DROP_ROWS, schema=dict(DROPS.columns), orient="row"), folder / "drops.parquet", DROPS)
        for (task, split), rows in self.examples.items():
            path = folder / f"visible/tasks/{task}/{split}.examples.parquet"
            tables.write(rows, path, EXAMPLES if split == "test" else LABELLED_EXAMPLES)
        for task, rows in self.answers.items():
            tables.write(rows, folder / f"sealed/tasks/{task}/test.answers.parquet", ANSWERS)
        (folder / "config.toml").write_text('protocol = "paper"\nseed = 0\n')
        manifest = Manifest(
            "dataset", "0123456789abcdef", {"source": "hand"}, inputs or {}, hash_outputs(folder), facts=self.facts
        )
        manifest.write(folder)
        return Dataset.open(home, name)


DROP_ROWS = [("core", "toys", "user_below_5", 7), ("read", "toys", "rating_missing", 2)]


def good_shop(ties: str = "hash") -> Shop:
    """An honest dataset of 72 users with ten rows each: 8 of them new, 12 in the held-out domain `office`."""
    shop = _made(ties)
    return replace(shop, examples=dict(shop.examples), answers=dict(shop.answers), facts=dict(shop.facts))


@cache
def _made(ties: str) -> Shop:
    rng = np.random.default_rng(7)
    items = _items(rng)
    sealed = _sealed(rng, items, ties)
    visible = sealed.filter(pl.col("split") == "train").select(list(INTERACTIONS.columns))
    examples = {(task, split): _examples(rng, task, split, sealed, items) for task in TASKS for split in SPLITS}
    answers = {task: conform(examples[task, "test"], ANSWERS.columns) for task in TASKS}
    return Shop(items, _images(items), sealed, visible, examples, answers, _facts(sealed, items, examples))


SPLITS = ("train", "valid", "test")


def _items(rng: np.random.Generator) -> pl.DataFrame:
    rows = []
    for domain, n in ITEMS_A_DOMAIN.items():
        codes = rng.permutation(9000)[:n] + (1000 if domain == "toys" else 20_000)
        for k, code in enumerate(codes):
            path = [domain.title(), f"Kind {k % 6}"]
            picture = f"{domain}-{k:03d}" if k % 10 else None
            rows.append(
                (f"B{code:06d}", domain, f"Thing {k} of {domain}", path, "ok" if picture else "missing_url", picture)
            )
    names = ["item_id", "domain", "title", "categories", "image_status", "image_id"]
    frame = pl.DataFrame(rows, schema=names, orient="row").sort("item_id")
    frame = frame.with_columns(pl.Series("item_index", index_of(frame["item_id"])), brand=pl.lit("Acme"), attributes=[])
    return conform(frame, ITEMS.columns)


def _images(items: pl.DataFrame) -> pl.DataFrame:
    rows = []
    for k, name in enumerate(items["image_id"].drop_nulls().to_list()):
        file = io.BytesIO()
        Image.new("RGB", (8, 8), (k % 256, 90, 30)).save(file, "PNG")
        rows.append({"image_id": name, "image": {"bytes": file.getvalue(), "path": None}, "width": 8, "height": 8})
    return pl.DataFrame(rows, schema=dict(IMAGES.columns))


def _sealed(rng: np.random.Generator, items: pl.DataFrame, ties: str) -> pl.DataFrame:
    rows = []
    for domain, n in USERS_A_DOMAIN.items():
        ids = items.filter(pl.col("domain") == domain)["item_id"].to_list()
        for u in range(n):
            user = f"U{u:03d}" + ("@office" if domain == "office" else "")
            new = domain == "toys" and u < NEW_USERS
            cohort = "new_user" if new else "new_domain" if domain == "office" else "in_domain"
            bought = [ids[k] for k in rng.permutation(len(ids))[:LENGTH]]
            days = np.sort(rng.integers(1, 6, LENGTH))
            order = sorted(range(LENGTH), key=lambda k: (days[k], bought[k] if ties == "item_id" else k))
            extra = u % 3
            for position, k in enumerate(order):
                back = LENGTH - 1 - position
                split = "test" if back == 0 else "withheld" if new else "valid" if back == 1 else "train"
                if back in range(2, 2 + extra):
                    split = "withheld"
                rows.append(
                    {
                        "user_id": user,
                        "position": position,
                        "item_id": bought[k],
                        "domain": domain,
                        "timestamp": int(days[k]) * DAY,
                        "rating": float(1 + (u + k) % 5),
                        "review_text": f"Review {user} {k}.",
                        "explanation": f"the wheels of {user} number {k} turn well",
                        "source_row": int(rng.integers(0, 1_000_000)),
                        "split": split,
                        "cohort": cohort,
                    }
                )
    return conform(pl.DataFrame(rows).sort("user_id", "position"), SEALED_INTERACTIONS.columns)


def _examples(
    rng: np.random.Generator, task: str, split: str, sealed: pl.DataFrame, items: pl.DataFrame
) -> pl.DataFrame:
    by_id = {row["item_id"]: row for row in items.iter_rows(named=True)}
    rows = []
    for (user,), group in sealed.group_by("user_id", maintain_order=True):
        history = group.to_dicts()
        for target in history:
            at = target["position"]
            if target["split"] != split or at == 0:
                continue
            before = [r for r in history if r["position"] < at]
            positives = [target]
            serves = "test" if int(str(user)[1:4]) % 2 or target["cohort"] == "new_user" else "valid"
            if task == "selection" and split != "train" and split != serves:
                continue
            if task == "selection":
                given = [r for r in before if r["split"] == "withheld"] if split != "train" else []
                positives = [*given[-2:], target]
            if split == "valid":
                before = [r for r in before if r["split"] == "train"]
            before = [r for r in before if r not in positives]
            rows.append(_example(rng, task, str(user), target, before, positives, history, by_id))
    return conform(pl.DataFrame(rows, infer_schema_length=None).sort("example_id"), LABELLED_EXAMPLES.columns)


def _example(rng, task, user, target, before, positives, whole, by_id):
    item = by_id[target["item_id"]]
    own = {r["item_id"] for r in whole}
    shown = before[-5:]
    row = {
        "example_id": f"{user}:{target['position']:06d}",
        "user_id": user,
        "position": target["position"],
        "cohort": target["cohort"],
        "history": [{k: r[k] for k in ("item_id", "rating", "explanation")} for r in shown],
        "query": " ".join(item["categories"]).lower() if task in ("search", "image_generation") else None,
        "target_item_id": target["item_id"] if task in ("preference", "explanation") else None,
        "candidates": None,
        "item_ids": None,
        "rating": target["rating"] if task == "preference" else None,
        "text": target["explanation"] if task == "explanation" else None,
    }
    images = [r["item_id"] for r in shown]
    if task in ("preference", "explanation"):
        images.append(target["item_id"])
    else:
        row["item_ids"] = [r["item_id"] for r in positives]
    if task == "selection":
        taken = {by_id[r["item_id"]]["image_id"] for r in positives}
        pool = [i for i in by_id if i not in own and by_id[i]["domain"] == target["domain"]]
        pool = [i for i in pool if by_id[i]["image_id"] not in taken - {None}]
        negatives = [pool[k] for k in rng.permutation(len(pool))[: 5 - len(positives)]]
        both = row["item_ids"] + negatives
        row["candidates"] = [both[k] for k in rng.permutation(5)]
        images += row["candidates"]
    parts = [f"<image> {by_id[i]['title']} item_{by_id[i]['item_index']}" for i in images]
    row |= {"instruction": f"{' '.join(parts)} {row['query'] or ''} What now?", "image_item_ids": images}
    return row | {"response": "answer"}


def _facts(
    sealed: pl.DataFrame, items: pl.DataFrame, examples: dict[tuple[str, str], pl.DataFrame]
) -> dict[str, object]:
    by_domain = {
        domain: {
            "users": sealed.filter(pl.col("domain") == domain)["user_id"].n_unique(),
            "items": items.filter(pl.col("domain") == domain).height,
            "interactions": sealed.filter(pl.col("domain") == domain).height,
        }
        for domain in ITEMS_A_DOMAIN
    }
    return {
        "split_hash": "feed",
        "new_domains": ["office"],
        "protocol": "paper",
        "seed": 0,
        "source": "hand",
        "tasks": {
            task: {"version": 1, "prompts": "paper-1", "rows": {s: examples[task, s].height for s in SPLITS}}
            for task in TASKS
        },
        "skipped_tasks": {},
        "counts": {
            "interactions": sealed.height,
            "users": sealed["user_id"].n_unique(),
            "items": items.height,
            "by_domain": by_domain,
        },
        "raw_counts": {"toys": 700, "office": 130},
        "ties": {"rate": 0.9, "ascending_by_id": 0.5, "rule": "hash"},
        "coverage": {"title": 1.0, "brand": 1.0, "image": 0.9, "rating": 1.0, "review_text": 1.0, "explanation": 1.0},
        "image_status": {"ok": 171, "missing_url": 19},
        "duplicates": "first",
        "core": {"user": 5, "item": 5},
        "splits": dict(sealed.group_by("split").len().sort("split").iter_rows()),
        "cohorts": {"in_domain": 52, "new_user": 8, "new_domain": 12},
        "explanations": {"extractor": "lexicon-1", "coverage": 1.0},
    }
