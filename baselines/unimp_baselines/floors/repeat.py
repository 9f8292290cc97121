"""Repeat the last: whatever was bought, rated, written or seen last, once more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_baselines.common import (
    EVERY_COHORT,
    best_candidates,
    blocks,
    last_index,
    past_items,
)
from unimp_baselines.floors.popularity import LearnsCounts, vector
from unimp_bench.dataset import Catalogue
from unimp_bench.runners.protocol import Context, ScoreBlock


def path_codes(items: pl.DataFrame) -> NDArray[np.int32]:
    """Category prefixes as numbers `(items, levels)`: equal in column d = the first d + 1 levels agree; -1 = none."""
    levels = int(items["categories"].list.len().max() or 0)  # type: ignore[arg-type]
    codes = np.full((items.height, levels), -1, dtype=np.int32)
    for level in range(levels):
        deep = pl.col("categories").list.len() > level
        prefix = pl.when(deep).then(pl.col("categories").list.head(level + 1).list.join("\x1f", ignore_nulls=True))
        rank = items.select(prefix.rank("dense").cast(pl.Int32).fill_null(0)).to_series()
        codes[:, level] = rank.to_numpy() - 1
    return codes


@dataclass
class RepeatLast(LearnsCounts):
    """The last of the history again, in the form that the task allows.

    recommendation, search, selection
        The last item itself was seen and is masked, so: items that share the most levels of its category path, and
        among those the most popular in train. Without a last item, popularity alone.
    preference, explanation
        The last rating or explanation that the user gave; null if there is none in the history.
    image_generation
        The picture of the last item that has one; null if none has.
    """

    tasks: ClassVar[frozenset[str]] = frozenset(
        {"recommendation", "search", "selection", "preference", "explanation", "image_generation"}
    )
    cohorts: ClassVar[frozenset[str]] = EVERY_COHORT
    version: ClassVar[int] = 1
    reads_truth: ClassVar[bool] = False

    def predict(
        self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context
    ) -> Iterator[pl.DataFrame | ScoreBlock]:
        """The last, in the form of the task."""
        if task in ("preference", "explanation"):
            name = {"preference": "rating", "explanation": "explanation"}[task]
            last = pl.col("history").list.eval(pl.element().struct.field(name)).list.drop_nulls().list.last()
            yield examples.select("example_id", last.alias({"preference": "rating", "explanation": "text"}[task]))
        elif task == "image_generation":
            yield _last_pictures(examples, view)
        else:
            yield from self._alike(task, examples, view)

    def _alike(self, task: str, examples: pl.DataFrame, view: Catalogue) -> Iterator[pl.DataFrame | ScoreBlock]:
        codes = path_codes(view.items)
        popular = vector(self._bought, view)
        popular = popular / (popular.max(initial=0) + 1)  # below 1: levels come first
        for block in blocks(examples, view.items.height):
            last = last_index(block, view)
            scores = np.tile(popular, (block.height, 1))
            for level in range(codes.shape[1]):
                of_last = np.where(last >= 0, codes[last, level], -1)[:, None]  # (examples, 1)
                scores += (codes[None, :, level] == of_last) & (of_last >= 0)
            if task == "selection":
                yield best_candidates(block, _of_candidates(block, scores, view), self._positives)
            else:
                yield ScoreBlock(block["example_id"].to_list(), scores)


def _of_candidates(block: pl.DataFrame, scores: NDArray[np.float32], view: Catalogue) -> pl.DataFrame:
    """Scores of the candidates only, as columns (example_id, item_id, strength)."""
    long = block.with_row_index("row").select("row", "example_id", item_id="candidates").explode("item_id")
    index = long.join(view.items.select("item_id", "item_index"), on="item_id", how="left", maintain_order="left")
    strength = scores[long["row"].to_numpy(), index["item_index"].to_numpy()]
    return long.select("example_id", "item_id", pl.Series("strength", strength))


def _last_pictures(examples: pl.DataFrame, view: Catalogue) -> pl.DataFrame:
    image_of = dict(view.items.select("item_id", "image_id").drop_nulls().iter_rows())
    last = [
        next((image_of[item] for item in reversed(items or []) if item in image_of), None)
        for items in past_items(examples).to_list()
    ]
    pictures = view.pictures(image for image in last if image is not None)
    images = [{"bytes": pictures[image], "path": None} if image is not None else None for image in last]
    kind = pl.Struct({"bytes": pl.Binary, "path": pl.String})
    return pl.DataFrame({"example_id": examples["example_id"], "image": pl.Series(images, dtype=kind)})
