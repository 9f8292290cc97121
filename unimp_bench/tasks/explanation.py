"""Explanation: a history and an item in, the sentence by which the user explained their opinion out."""

from __future__ import annotations

import polars as pl

from unimp_bench.tasks.histories import Chunk, examples_of


def build(chunk: Chunk, split: str, length: int, *, joint: bool = False) -> pl.DataFrame:
    """One example for each target row with an explanation.

    With `joint` the answer also carries the rating where there is one, as the released code asks for both at once.
    """
    adds = [pl.col("item_id").alias("target_item_id"), pl.col("explanation").alias("text")]
    if joint:
        adds.append(pl.col("rating"))
    return examples_of(chunk, split, length, needs=["explanation"], adds=adds)
