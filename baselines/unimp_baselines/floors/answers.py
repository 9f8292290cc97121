"""Floors for the tasks with one free answer: a mean rating, a frequent sentence, a mean picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
from PIL import Image

from unimp_baselines.common import EVERY_COHORT, read_state, write_state
from unimp_bench import keyed
from unimp_bench.dataset import Catalogue
from unimp_bench.errors import ConfigError
from unimp_bench.runners.protocol import Context, TaskData


def _mean_rating(data: Mapping[str, TaskData]) -> float | None:
    mean = next(iter(data.values())).interactions.select(pl.col("rating").cast(pl.Float64).mean()).collect().item()
    return None if mean is None else float(mean)


@dataclass
class MeanRating:
    """The mean of all train ratings, for everybody and everything; of a held-out domain's ratings after `adapt`."""

    tasks: ClassVar[frozenset[str]] = frozenset({"preference"})
    cohorts: ClassVar[frozenset[str]] = EVERY_COHORT
    version: ClassVar[int] = 1
    reads_truth: ClassVar[bool] = False

    _mean: float | None = field(default=None, init=False, repr=False)

    def fit(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Take the mean."""
        self._mean = _mean_rating(data)

    def adapt(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Take the held-out domain's mean, if it has ratings."""
        mean = _mean_rating(data)
        self._mean = self._mean if mean is None else mean

    def save(self, folder: Path) -> None:
        """Write the mean."""
        write_state(folder, {"mean": self._mean})

    def load(self, folder: Path) -> None:
        """Read the mean."""
        self._mean = read_state(folder)["mean"]

    def predict(self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context) -> Iterator[pl.DataFrame]:
        """The mean."""
        yield examples.select("example_id", pl.lit(self._mean, dtype=pl.Float32).alias("rating"))


@dataclass
class UserMean:
    """The mean of the ratings in the user's history; the mean of all train ratings where the history has none."""

    tasks: ClassVar[frozenset[str]] = frozenset({"preference"})
    cohorts: ClassVar[frozenset[str]] = EVERY_COHORT
    version: ClassVar[int] = 1
    reads_truth: ClassVar[bool] = False

    _overall: MeanRating = field(default_factory=MeanRating, init=False, repr=False)

    def fit(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Take the mean of all, for users without one."""
        self._overall.fit(data, context)

    def adapt(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Take the held-out domain's mean."""
        self._overall.adapt(data, context)

    def save(self, folder: Path) -> None:
        """Write the mean."""
        self._overall.save(folder)

    def load(self, folder: Path) -> None:
        """Read the mean."""
        self._overall.load(folder)

    def predict(self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context) -> Iterator[pl.DataFrame]:
        """The user's mean."""
        overall = next(self._overall.predict(task, examples, view, context))["rating"]
        own = pl.col("history").list.eval(pl.element().struct.field("rating")).list.mean().cast(pl.Float32)
        yield examples.select("example_id", own.fill_null(overall).alias("rating"))


@dataclass
class FrequentExplanation:
    """The train explanation that was written most often; of equally frequent ones the first in the alphabet."""

    tasks: ClassVar[frozenset[str]] = frozenset({"explanation"})
    cohorts: ClassVar[frozenset[str]] = EVERY_COHORT
    version: ClassVar[int] = 1
    reads_truth: ClassVar[bool] = False

    _text: str | None = field(default=None, init=False, repr=False)

    def fit(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Count explanations."""
        texts = data["explanation"].train.select("text").drop_nulls().group_by("text").len()
        first = texts.sort("len", "text", descending=[True, False]).head(1).collect()
        self._text = first["text"][0] if first.height else self._text

    def adapt(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Count the held-out domain's explanations instead, if it has any."""
        self.fit(data, context)

    def save(self, folder: Path) -> None:
        """Write the sentence."""
        write_state(folder, {"text": self._text})

    def load(self, folder: Path) -> None:
        """Read the sentence."""
        self._text = read_state(folder)["text"]

    def predict(self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context) -> Iterator[pl.DataFrame]:
        """The sentence."""
        yield examples.select("example_id", pl.lit(self._text, dtype=pl.String).alias("text"))


@dataclass
class MeanImage:
    """The mean of train targets' pictures, as one JPEG for everybody.

    `sample` target items are drawn by the seed; their pictures are scaled to `side` x `side` before averaging.
    """

    sample: int = 256
    side: int = 128

    tasks: ClassVar[frozenset[str]] = frozenset({"image_generation"})
    cohorts: ClassVar[frozenset[str]] = EVERY_COHORT
    version: ClassVar[int] = 1
    reads_truth: ClassVar[bool] = False

    _jpeg: bytes | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse sizes that make no picture."""
        if self.sample < 1 or not 1 <= self.side <= 1024:
            raise ConfigError(f"mean_image: sample={self.sample}, side={self.side}; sample > 0, side from 1 to 1024")

    def fit(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Average."""
        task = data["image_generation"]
        targets = task.train.select(pl.col("item_ids").list.first().alias("item_id")).drop_nulls().unique().collect()
        pictured = task.catalogue.items.select("item_id", "image_id").drop_nulls()
        found = targets.join(pictured, on="item_id").sort("item_id")
        if found.height == 0:
            return
        draws = keyed.string_keys(found["item_id"], "mean_image", context.seed)
        drawn = found["image_id"].gather(np.argsort(draws, kind="stable")[: self.sample])
        pictures = task.catalogue.pictures(drawn.to_list())
        total = np.zeros((self.side, self.side, 3))
        for image_id in drawn.to_list():
            with Image.open(io.BytesIO(pictures[image_id])) as image:
                total += np.asarray(image.convert("RGB").resize((self.side, self.side), Image.Resampling.BILINEAR))
        file = io.BytesIO()
        Image.fromarray(np.rint(total / len(drawn)).astype(np.uint8)).save(file, "JPEG", quality=90)
        self._jpeg = file.getvalue()

    def adapt(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Average the held-out domain's pictures instead, if it has any."""
        self.fit(data, context)

    def save(self, folder: Path) -> None:
        """Write the picture."""
        write_state(folder, {"jpeg": None if self._jpeg is None else base64.b64encode(self._jpeg).decode()})

    def load(self, folder: Path) -> None:
        """Read the picture."""
        text = read_state(folder)["jpeg"]
        self._jpeg = None if text is None else base64.b64decode(text)

    def predict(self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context) -> Iterator[pl.DataFrame]:
        """The picture."""
        kind = pl.Struct({"bytes": pl.Binary, "path": pl.String})
        picture = None if self._jpeg is None else {"bytes": self._jpeg, "path": None}
        images = pl.Series([picture] * examples.height, dtype=kind)
        yield pl.DataFrame({"example_id": examples["example_id"], "image": images})
