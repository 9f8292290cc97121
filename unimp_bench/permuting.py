"""The same selections asked again with their candidates in another order: what `order_sensitivity` is measured on.

Who is asked again and how candidates then stand are keyed hashes of the ids, equal for all runners and seeds.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from unimp_bench.keyed import mix, string_keys

MOST = 500  # examples that are asked again: an interval of about +-0.04 at worst, at a small part of a run's cost
_SALT = "another order"


def sample(examples: pl.DataFrame, most: int = MOST) -> pl.DataFrame:
    """At most so many of the examples, in their order: those of the smallest keyed hashes."""
    if examples.height <= most:
        return examples
    first = np.argsort(string_keys(examples["example_id"], _SALT), kind="stable")[:most]
    return examples[np.sort(first)]


def permuted(examples: pl.DataFrame) -> pl.DataFrame:
    """The examples with `candidates` in another order; what was rendered from the old one must be rendered anew.

    The order is a keyed hash of example and item. Where that is the order it had already, as is likely with two or
    three candidates, it is turned round, so that every list of two or more changes.
    """
    long = examples.select("example_id", item_id="candidates", at=pl.int_ranges(pl.col("candidates").list.len()))
    long = long.filter(pl.col("item_id").list.len() > 0).explode("item_id", "at")
    keys = mix(string_keys(long["example_id"], _SALT), string_keys(long["item_id"], _SALT))
    turned = pl.when((pl.col("at").diff().drop_nulls() > 0).all()).then(pl.col("item_id").reverse())
    lists = (
        long.with_columns(pl.Series("key", keys))
        .sort("example_id", "key")
        .group_by("example_id")
        .agg(turned.otherwise("item_id").alias("candidates"))
    )
    whole = examples.drop("candidates").join(lists, on="example_id", how="left", maintain_order="left")
    return whole.select(examples.columns)
