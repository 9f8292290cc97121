"""Every table that unimp-bench writes: its name, version, key and columns.

Units: times in UTC milliseconds, prices in USD, ratings 1-5.
This file says what a column *is*; `tables.py` is the only place that reads and writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

HISTORY = pl.List(pl.Struct({"item_id": pl.String, "rating": pl.Float32, "explanation": pl.String}))
ATTRIBUTES = pl.List(pl.Struct({"name": pl.String, "value": pl.String}))
IMAGE = pl.Struct({"bytes": pl.Binary, "path": pl.String})  # the Hugging Face `Image` storage type
STRINGS = pl.List(pl.String)
FLOATS = pl.List(pl.Float32)

SPLITS = ("train", "valid", "test", "withheld")
COHORTS = ("in_domain", "new_user", "new_domain")
IMAGE_STATUSES = (
    "ok",
    "missing_url",  # the item names no picture
    "missing_file",  # a local folder was given and does not hold it
    "not_fetched",  # pictures were not asked for
    "http_404",
    "http_error",  # any other refusal of the server, or no answer after all retries
    "refused_address",  # private or loopback address without --allow-private
    "not_an_image",
    "placeholder",
    "too_large",
)


@dataclass(frozen=True)
class Table:
    """One kind of Parquet file.

    `key` columns are unique together and the file is sorted by them, ascending.
    """

    name: str
    version: int
    key: tuple[str, ...]
    columns: Mapping[str, pl.DataType | type[pl.DataType]]


INTERACTIONS = Table(
    "interactions",
    2,  # without the rows' places in the raw file: the gaps among them told how many rows were held out of whom
    ("user_id", "position"),
    {
        "user_id": pl.String,
        "position": pl.Int32,  # 0-based rank in the user's whole history
        "item_id": pl.String,
        "domain": pl.String,
        "timestamp": pl.Int64,
        "rating": pl.Float32,
        "review_title": pl.String,
        "review_text": pl.String,
        "explanation": pl.String,
    },
)
SEALED_INTERACTIONS = Table(
    "sealed_interactions",
    1,
    INTERACTIONS.key,
    {
        **INTERACTIONS.columns,
        "source_row": pl.Int64,  # 0-based row of the domain's raw file
        "split": pl.String,
        "cohort": pl.String,
    },
)
ITEMS = Table(
    "items",
    1,
    ("item_id",),
    {
        "item_id": pl.String,
        "item_index": pl.Int32,  # rank of a fixed-key hash of the id
        "domain": pl.String,
        "title": pl.String,
        "brand": pl.String,
        "categories": STRINGS,  # one path, root first
        "price_usd": pl.Float64,
        "description": pl.String,
        "attributes": ATTRIBUTES,
        "image_status": pl.String,
        "image_id": pl.String,
    },
)
IMAGES = Table(
    "images", 1, ("image_id",), {"image_id": pl.String, "image": IMAGE, "width": pl.Int32, "height": pl.Int32}
)
ANSWER_COLUMNS: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "item_ids": STRINGS,
    "rating": pl.Float32,
    "text": pl.String,
    "response": pl.String,
}
EXAMPLES = Table(
    "examples",
    1,
    ("example_id",),
    {
        "example_id": pl.String,  # "<user_id>:<position, six digits>"
        "user_id": pl.String,
        "position": pl.Int32,
        "cohort": pl.String,
        "history": HISTORY,  # oldest first
        "query": pl.String,
        "target_item_id": pl.String,
        "candidates": STRINGS,
        "instruction": pl.String,
        "image_item_ids": STRINGS,  # one entry for every `<image>` in `instruction`
    },
)
LABELLED_EXAMPLES = Table("labelled_examples", 1, EXAMPLES.key, {**EXAMPLES.columns, **ANSWER_COLUMNS})
ANSWERS = Table("answers", 1, EXAMPLES.key, {"example_id": pl.String, **ANSWER_COLUMNS})

PREDICTIONS: Mapping[str, Table] = {
    "ranking": Table(
        "predictions_ranking", 1, EXAMPLES.key, {"example_id": pl.String, "item_ids": STRINGS, "scores": FLOATS}
    ),
    "selection": Table(
        "predictions_selection", 1, EXAMPLES.key, {"example_id": pl.String, "item_ids": STRINGS, "scores": FLOATS}
    ),
    "rating": Table("predictions_rating", 1, EXAMPLES.key, {"example_id": pl.String, "rating": pl.Float32}),
    "text": Table("predictions_text", 1, EXAMPLES.key, {"example_id": pl.String, "text": pl.String}),
    "image": Table("predictions_image", 1, EXAMPLES.key, {"example_id": pl.String, "image": IMAGE}),
}
SCORES = Table(
    "scores",
    1,
    ("example_id", "metric"),
    {"example_id": pl.String, "metric": pl.String, "cohort": pl.String, "value": pl.Float64},
)
RESULTS = Table(
    "results",
    1,
    ("run_id", "metric", "slice"),
    {
        "run_id": pl.String,
        "metric": pl.String,
        "slice": pl.String,  # a cohort
        "value": pl.Float64,
        "low": pl.Float64,  # 95 % bootstrap interval
        "high": pl.Float64,
        "n": pl.Int64,
        "unanswered": pl.Int64,
    },
)
DROPS = Table(
    "drops",
    1,
    ("stage", "domain", "reason"),
    {"stage": pl.String, "domain": pl.String, "reason": pl.String, "rows": pl.Int64},
)

# Frames between the source adapters and the pipeline. They are never files of a dataset.
RAW_ROWS: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "user_id": pl.String,
    "item_id": pl.String,
    "domain": pl.String,
    "timestamp": pl.Int64,  # null where the source has no times
    "rating": pl.Float32,  # null where the source has no ratings
    "sequence": pl.Int64,  # the order that the source itself gives a user's rows; null where it gives none
    "source_row": pl.Int64,
}
RAW_TEXTS: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "domain": pl.String,
    "source_row": pl.Int64,
    "review_title": pl.String,
    "review_text": pl.String,
}
RAW_ITEMS: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "item_id": pl.String,
    "domain": pl.String,
    "title": pl.String,
    "brand": pl.String,
    "categories": STRINGS,
    "price_usd": pl.Float64,
    "description": pl.String,
    "attributes": ATTRIBUTES,
    "image_urls": STRINGS,  # best first; empty list where the source names none
}


def empty(columns: Mapping[str, pl.DataType | type[pl.DataType]]) -> pl.DataFrame:
    """A frame of no rows with just these columns."""
    return pl.DataFrame(schema=dict(columns))


def conform(frame: pl.DataFrame, columns: Mapping[str, pl.DataType | type[pl.DataType]]) -> pl.DataFrame:
    """The frame with exactly these columns, in this order; absent ones become null, others are left out."""
    return frame.select(
        pl.col(name).cast(kind) if name in frame.columns else pl.lit(None, dtype=kind).alias(name)
        for name, kind in columns.items()
    )
