"""Texts that lost words, for UniSRec's second augmentation: the encoder reads each item once more, with gaps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from unimp_bench import keyed
from unimp_bench.dataset import Catalogue
from unimp_bench.features.content import texts


def with_gaps(view: Catalogue, share: float) -> Catalogue:
    """The catalogue with about `share` of each item's words left out; what is left of them stands in the titles.

    Which words go hangs on the item's id and the word's place, so an equal catalogue has equal gaps at every seed.
    """
    words = pl.Series(texts(view.items)).str.split(" ")
    lengths = words.list.len().to_numpy()
    starts = np.cumsum(lengths) - lengths
    places = np.arange(lengths.sum()) - np.repeat(starts, lengths)
    items = np.repeat(keyed.string_keys(view.items["item_id"], "unisrec", "word drop"), lengths)
    kept = keyed.uniform(keyed.mix(items, places.astype(np.uint64))) >= share
    long = pl.DataFrame({"row": np.repeat(np.arange(len(lengths)), lengths), "word": words.explode()}).filter(kept)
    left = long.group_by("row").agg(pl.col("word").str.join(" ")).sort("row")
    rows = pl.DataFrame({"row": np.arange(len(lengths))})
    titles = rows.join(left, on="row", how="left", maintain_order="left")["word"]
    nothing = [
        pl.lit(None, dtype=view.items.schema[name]).alias(name) for name in ("brand", "categories", "attributes")
    ]
    return replace(view, items=view.items.with_columns(titles.alias("title"), *nothing))
