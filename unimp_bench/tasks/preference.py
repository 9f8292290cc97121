"""Preference: a history and an item in, the rating that the user gave to it out (1-5)."""

from __future__ import annotations

import polars as pl

from unimp_bench.tasks.histories import Chunk, examples_of


def build(chunk: Chunk, split: str, length: int, *, joint: bool = False) -> pl.DataFrame:
    """One example for each target row with a rating.

    With `joint` the answer also carries the explanation where there is one, as the released code asks for both at once.
    """
    adds = [pl.col("item_id").alias("target_item_id"), pl.col("rating")]
    if joint:
        adds.append(pl.col("explanation").alias("text"))
    return examples_of(chunk, split, length, needs=["rating"], adds=adds)
