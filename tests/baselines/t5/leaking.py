"""A made shop in which each user buys items of their own: only numbers by appearance tell what comes next."""

from __future__ import annotations

import numpy as np
import polars as pl

from unimp_bench.dataset import Catalogue
from unimp_bench.runners.protocol import TaskData
from unimp_bench.schemas import INTERACTIONS, ITEMS, LABELLED_EXAMPLES, conform

USERS, EACH = 40, 8


def data_at() -> dict[str, TaskData]:
    """Train rows and one validation question a user; ids and titles are drawn and say nothing."""
    names = [f"x{k:04d}" for k in np.random.default_rng(0).permutation(USERS * EACH)]
    rows, asked = [], []
    for user in range(USERS):
        bought = names[user * EACH : (user + 1) * EACH]
        rows += [
            {"user_id": f"u{user:03d}", "position": k, "item_id": item, "domain": "toys", "rating": 3.0}
            for k, item in enumerate(bought[:-1])
        ]
        history = [{"item_id": item, "rating": 3.0, "explanation": None} for item in bought[:-1]]
        asked.append(
            {
                "example_id": f"u{user:03d}:000007",
                "user_id": f"u{user:03d}",
                "position": 7,
                "cohort": "in_domain",
                "history": history,
                "item_ids": bought[-1:],
            }
        )
    ids = sorted(names)
    items = conform(
        pl.DataFrame({"item_id": ids, "item_index": range(len(ids)), "domain": ["toys"] * len(ids)}), ITEMS.columns
    )
    valid = conform(pl.DataFrame(asked), LABELLED_EXAMPLES.columns).lazy()
    train = conform(pl.DataFrame(rows), INTERACTIONS.columns).lazy()
    return {"recommendation": TaskData(valid.head(0), valid, train, Catalogue(items, frozenset(), ()))}
