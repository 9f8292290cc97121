"""Image generation: a history and a search query in, a picture out. The answer is the picture of the target item."""

from __future__ import annotations

import polars as pl

from unimp_bench.tasks.histories import Chunk, examples_of, only


def build(chunk: Chunk, split: str, length: int) -> pl.DataFrame:
    """One example for each target row whose item has both a query and a picture; `item_ids` names that item."""
    return examples_of(chunk, split, length, needs=["query", "image_id"], adds=[pl.col("query"), only("item_id")])
