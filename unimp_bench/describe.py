"""Counts and shares of a dataset, for its manifest and card; and the hash that names its split."""

from __future__ import annotations

import hashlib
from typing import Any

import polars as pl

_ROWS_A_SLICE = 1_000_000


def split_hash(interactions: pl.DataFrame) -> str:
    """16 hex digits over (user_id, position, item_id, split, cohort) of all rows: equal splits, equal names."""
    digest = hashlib.sha256()
    columns = interactions.select("user_id", "position", "item_id", "split", "cohort").sort("user_id", "position")
    for part in columns.iter_slices(_ROWS_A_SLICE):
        digest.update(part.write_csv().encode())
    return digest.hexdigest()[:16]


def _share(frame: pl.DataFrame, present: pl.Expr) -> float:
    return round(float(frame.select(present.mean()).item() or 0.0), 4)


def describe(interactions: pl.DataFrame, items: pl.DataFrame) -> dict[str, Any]:
    """The facts `counts`, `splits`, `cohorts`, `coverage`, `image_status` and `cold_items`."""
    by_domain = interactions.group_by("domain").agg(
        pl.col("user_id").n_unique().alias("users"),
        pl.col("item_id").n_unique().alias("items"),
        pl.len().alias("interactions"),
    )
    filled = {
        "title": pl.col("title").is_not_null(),
        "brand": pl.col("brand").is_not_null(),
        "categories": pl.col("categories").list.len().fill_null(0) > 0,
        "price": pl.col("price_usd").is_not_null(),
        "image": pl.col("image_id").is_not_null(),
    }
    said = {name: pl.col(name).is_not_null() for name in ("timestamp", "rating", "review_text", "explanation")}
    trained = interactions.filter(pl.col("split") == "train")["item_id"].unique()
    users = interactions.select("user_id", "cohort").unique()
    return {
        "counts": {
            "interactions": interactions.height,
            "users": interactions["user_id"].n_unique(),
            "items": items.height,
            "by_domain": {row["domain"]: row for row in by_domain.sort("domain").iter_rows(named=True)},
        },
        "splits": dict(interactions.group_by("split").len().sort("split").iter_rows()),
        "cohorts": dict(users.group_by("cohort").len().sort("cohort").iter_rows()),
        "coverage": {
            **{name: _share(items, present) for name, present in filled.items()},
            **{name: _share(interactions, present) for name, present in said.items()},
        },
        "image_status": dict(items.group_by("image_status").len().sort("image_status").iter_rows()),
        "cold_items": items.height - trained.len(),  # never seen in training
    }
