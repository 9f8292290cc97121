"""A runner that answers every task from what it is shown, for tests of probes, questions and pre-training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
from PIL import Image

from tests.fakes import Base
from unimp_bench.dataset import Catalogue
from unimp_bench.runners.protocol import Context, ScoreBlock, TaskData
from unimp_bench.schemas import IMAGE
from unimp_bench.tasks.spec import TASKS


@dataclass
class Looker(Base):
    """Answers from the history that it is shown alone, so that another one gives other answers.

    Lists: items near the last one shown come first. Rating: the mean of the ratings shown. Text: who was shown.
    """

    note: str = "fitted"
    tasks: ClassVar[frozenset[str]] = frozenset(TASKS)
    joint: ClassVar[bool] = True

    def fit(self, data: Mapping[str, TaskData], context: Context) -> None:
        self.learned = self.note

    def save(self, folder: Path) -> None:
        (folder / "learned").write_text(self.learned)

    def load(self, folder: Path) -> None:
        self.learned = (folder / "learned").read_text()

    def predict(
        self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context
    ) -> Iterator[pl.DataFrame | ScoreBlock]:
        pasts = examples["history"].to_list()
        if task in ("recommendation", "search"):
            last = np.array([view.index[past[-1]["item_id"]] for past in pasts])
            scores = -np.abs(np.arange(view.items.height)[None] - last[:, None])
            yield ScoreBlock(examples["example_id"].to_list(), scores.astype(np.float32))
            return
        ids = examples.select("example_id")
        if task == "preference":
            means = [float(np.mean([entry["rating"] for entry in past])) for past in pasts]
            yield ids.with_columns(pl.Series("rating", means, dtype=pl.Float32))
        elif task == "explanation":
            texts = [
                f"{self.learned} {target} after {len(past)}"
                for target, past in zip(examples["target_item_id"], pasts, strict=True)
            ]
            yield ids.with_columns(pl.Series("text", texts))
        elif task == "selection":
            yield ids.with_columns(examples["candidates"].list.head(1).alias("item_ids"))
        else:
            file = BytesIO()
            Image.new("RGB", (16, 16), (1, 2, 250)).save(file, "PNG")
            drawn = {"bytes": file.getvalue(), "path": None}
            yield ids.with_columns(pl.Series("image", [drawn] * ids.height, dtype=IMAGE))


@dataclass
class Learner(Looker):
    """The same, with a copy of its own for held-out domains."""

    def adapt(self, data: Mapping[str, TaskData], context: Context) -> None:
        self.learned = "adapted"


@dataclass
class OnlyLists(Looker):
    """Recommends and does nothing else, for users of known domains."""

    tasks: ClassVar[frozenset[str]] = frozenset({"recommendation"})
    cohorts: ClassVar[frozenset[str]] = frozenset({"in_domain", "new_user"})


@dataclass
class Shared(Looker):
    """Pre-trains in two steps; while `fuse` exists it dies after the first."""

    fuse: Path = Path("fuse")
    width: int = 4
    pretrained: Path | None = None

    def pretrain(self, data: Mapping[str, TaskData], folder: Path, context: Context) -> None:
        first = folder / "first"
        first.write_text(first.read_text() + "again" if first.exists() else "once")
        context.record("tower", 0, loss=1.0)
        (context.scratch / "left").touch()
        if self.fuse.exists():
            raise RuntimeError("the fuse blew")
        rows = data["search"].train.select(pl.len()).collect().item()
        (folder / "parts").write_text(f"{sorted(data)} {rows} {self.width}")

    def fit(self, data: Mapping[str, TaskData], context: Context) -> None:
        assert self.pretrained is not None
        self.learned = (self.pretrained / "parts").read_text()
