"""The small shop with runs on it, and with titles and sentences that would like to be markup."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tests.fakes import register
from tests.shop import add_variant, home_at
from unimp_bench import execute, tables
from unimp_bench.dataset import Dataset
from unimp_bench.places import Home
from unimp_bench.schemas import EXAMPLES, ITEMS

SCRIPT = "</script><script>window.injected = 1</script>"
HANDLER = '<img src=x onerror="window.injected = 2">'
PLACEHOLDER = "{{script}} \u2028 & <!-- "

_RUNS = {
    "search": ("random", "popularity", "bm25"),
    "preference": ("mean_rating", "user_mean"),
    "explanation": ("repeat_last",),
    "selection": ("all_candidates", "random"),
    "image_generation": ("repeat_last", "mean_image"),
}


def hostile(path: Path) -> Home:
    """A home with one dataset, six variants of markup in it, and runs on five tasks and one noise variant."""
    home = home_at(path)
    data = Dataset.open(home, "shop")
    file = data.folder / "visible/items.parquet"
    titles = pl.Series([SCRIPT, HANDLER, PLACEHOLDER] * 6 + ["\u202emirrored", "x" * 5_000])
    tables.write(tables.read(file, ITEMS).with_columns(title=titles, brand=pl.lit(SCRIPT)), file, ITEMS)
    for task in ("search", "explanation"):
        file = data.examples_file(task, "test")
        sentences = pl.col("history").list.eval(
            pl.struct(
                pl.element().struct.field("item_id"),
                pl.element().struct.field("rating"),
                pl.lit(HANDLER).alias("explanation"),
            )
        )
        tables.write(tables.read(file, EXAMPLES).with_columns(history=sentences), file, EXAMPLES)
    add_variant(data)
    for task, runners in _RUNS.items():
        for runner in runners:
            execute.run(home, "shop", task, runner)
    execute.run(home, "shop", "search", "bm25", variant="NT-0.2")
    execute.run(home, "shop", "search", "bm25", parameters={"k1": "1.2"}, seed=2)
    execute.run(home, "shop", "search", "constant", limit=3)
    with pytest.MonkeyPatch.context() as patch:
        register(patch, trained="tests.fakes:Trained")
        for seed in (0, 1):
            execute.run(home, "shop", "recommendation", "trained", seed=seed)
        execute.run(home, "shop", "recommendation", "trained", parameters={"steps": "260"})
        execute.run(home, "shop", "recommendation", "random")
    return home
