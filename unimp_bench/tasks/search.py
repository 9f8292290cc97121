"""Search: a history and a query in, a ranking of the catalogue out. The query comes from the target's category path.

`ai2017` follows Ai, Zhang, Bi & Croft, "Learning a Hierarchical Embedding Model for Personalized Product Search"
(SIGIR 2017, section 5.1); `official_code` is the raw path, as UniMP's released code takes it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import polars as pl

from unimp_bench.errors import ConfigError
from unimp_bench.tasks.histories import Chunk, examples_of, only

_APOSTROPHES = re.compile("['\u2019`\u00b4]")
_WORDS = re.compile(r"[^\W_]+")
_STOP_TEXT = """
a about all also an and any are as at be been but by can do each for from had has have how i if in into is it its
just may more most no nor not of off on only or other our out over own per some such than that the their them then
there these they this those to too under up very via was were what when where which while who will with within
without you your
"""
_STOP_WORDS = frozenset(_STOP_TEXT.split())


def ai2017(path: list[str]) -> str | None:
    """Query of one category path, root first: the words of all levels, lower-cased, without punctuation and stop words.

    A word that repeats stays at its last place. A path of one level gives no query.
    """
    if len(path) < 2:
        return None
    text = _APOSTROPHES.sub("", " ".join(path).lower())
    words = [word for word in _WORDS.findall(text) if word not in _STOP_WORDS]
    last = dict.fromkeys(reversed(words))
    return " ".join(reversed(last)) or None


def official_code(path: list[str]) -> str | None:
    """Query of one category path as the released code makes it: the whole raw path."""
    return " ".join(" ".join(path).split()) or None


QUERY_STYLES: Mapping[str, Callable[[list[str]], str | None]] = {"ai2017": ai2017, "official_code": official_code}


def queries(items: pl.DataFrame, style: str) -> pl.DataFrame:
    """Columns item_id, query (null where the item's categories give none), in the order of `items`.

    Raises:
        ConfigError: unknown style.
    """
    if style not in QUERY_STYLES:
        raise ConfigError(f"unknown query form '{style}'; known: {', '.join(QUERY_STYLES)}")
    # A catalogue has few distinct paths; each is worked out once.
    joined = items.select(
        "item_id", "categories", pl.col("categories").list.join("\x1f", ignore_nulls=True).alias("path")
    )
    distinct = joined.select("path").drop_nulls().unique().sort("path")
    made = [QUERY_STYLES[style](path.split("\x1f") if path else []) for path in distinct["path"].to_list()]
    table = distinct.with_columns(pl.Series("query", made, dtype=pl.String))
    return joined.join(table, on="path", how="left", maintain_order="left").select("item_id", "query")


def build(chunk: Chunk, split: str, length: int) -> pl.DataFrame:
    """One example for each target row whose item has a query; `item_ids` is the row's item."""
    return examples_of(chunk, split, length, needs=["query"], adds=[pl.col("query"), only("item_id")])
