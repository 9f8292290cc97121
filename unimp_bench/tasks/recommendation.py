"""Recommendation: a history in, a ranking of the catalogue out. The answer is the next item."""

from __future__ import annotations

import polars as pl

from unimp_bench.tasks.histories import Chunk, examples_of, only


def build(chunk: Chunk, split: str, length: int) -> pl.DataFrame:
    """One example for each target row; `item_ids` is the row's item."""
    return examples_of(chunk, split, length, adds=[only("item_id")])
