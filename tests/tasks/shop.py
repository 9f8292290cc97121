"""A hand-sized shop that the task tests share: literal rows in, canonical frames out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from unimp_bench.schemas import ITEMS, SEALED_INTERACTIONS, conform


def items(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Items by literal rows; what a row leaves out is filled with something plain."""
    full = [
        {
            "item_index": index,
            "domain": "toys",
            "title": f"Title {row['item_id']}",
            "categories": ["Toys", "Games", "Board Games"],
            "image_status": "ok",
            "image_id": f"pic-{row['item_id']}",
            "attributes": [],
            **row,
        }
        for index, row in enumerate(rows)
    ]
    return conform(pl.DataFrame(full, schema_overrides={"price_usd": pl.Float64, "brand": pl.String}), ITEMS.columns)


def interactions(rows: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
    """Interactions by (user, item, split, rating, explanation, cohort), in order; the last three may be left out."""
    positions: dict[str, int] = {}
    full = []
    for user, item, split, *rest in rows:
        rating, explanation, cohort = (*rest, *(None, None, "in_domain")[len(rest) :])
        positions[user] = positions.get(user, -1) + 1
        full.append((user, positions[user], item, split, rating, explanation, cohort))
    columns = {
        name: SEALED_INTERACTIONS.columns[name]
        for name in ("user_id", "position", "item_id", "split", "rating", "explanation", "cohort")
    }
    frame = pl.DataFrame(full, schema=columns, orient="row").with_columns(pl.lit("toys").alias("domain"))
    return conform(frame, SEALED_INTERACTIONS.columns)


def random_shop(users: int = 120, size: int = 60, seed: int = 1) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Items of two domains (`office` is the new one) and interactions labelled as the paper's protocol does."""
    rng = np.random.default_rng(seed)
    catalogue = items(
        [
            {
                "item_id": f"i{k:03d}",
                "domain": "office" if k % 4 == 0 else "toys",
                "categories": ["Root", f"Kind {k % 5}"] if k % 7 else None,
                "brand": f"brand {k % 3}" if k % 2 else None,
                "image_id": None if k % 6 == 5 else f"pic {k % (size - 8)}",
            }
            for k in range(size)
        ]
    )
    rows: list[tuple[Any, ...]] = []
    for user in range(users):
        new_domain, new_user = user % 6 == 0, user % 6 == 1
        cohort = "new_domain" if new_domain else "new_user" if new_user else "in_domain"
        pool = [k for k in range(size) if (k % 4 == 0) == new_domain]
        length = int(rng.integers(5, 13))
        extra = 0 if new_user else min(user % 3, max(length - 7, 0))
        for place, k in enumerate(rng.permutation(pool)[:length].tolist()):
            back = length - 1 - place
            split = "test" if back == 0 else "withheld" if new_user else "valid" if back == 1 else None
            split = split or ("withheld" if back < 2 + extra else "train")
            rating = float(rng.integers(1, 6)) if rng.random() < 0.9 else None
            explanation = f"the part {k} is good" if rng.random() < 0.7 else None
            rows.append((f"u{user:03d}", f"i{k:03d}", split, rating, explanation, cohort))
    return catalogue, interactions(rows)
