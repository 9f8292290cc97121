"""A runner whose quality on validation is one of its parameters, for tests of budgets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl

from tests.fakes import EVERYONE
from unimp_bench.dataset import Catalogue
from unimp_bench.errors import ConfigError
from unimp_bench.runners.protocol import Context, ScoreBlock, Space, TaskData


@dataclass
class Searched:
    """Remembers the answers to the share `skill` of all validation questions; the others it gets wrong.

    Every fit is a line of `notes`. While `fuse` exists its third fit dies; with `doomed` it cannot learn.
    """

    skill: float = 0.25
    luck: int = 0
    doomed: bool = False
    megabytes: float = 0.0  # that another process is said to have had
    notes: Path = Path("notes")
    fuse: Path = Path("fuse")

    tasks: ClassVar[frozenset[str]] = frozenset({"recommendation", "preference"})
    cohorts: ClassVar[frozenset[str]] = EVERYONE
    version: ClassVar[int] = 1
    reads_truth: ClassVar[bool] = False
    joint: ClassVar[bool] = True
    search: ClassVar[Space] = {"skill": (0.0, 0.5, 1.0), "luck": (0, 1)}

    _known: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def fit(self, data: Mapping[str, TaskData], context: Context) -> None:
        self._note("fit", context)
        if self.doomed:
            raise ConfigError("searched: the loss is nan")
        context.worked_elsewhere(self.megabytes)
        for task, given in data.items():
            valid = given.valid.collect().sort("example_id")
            right = valid["item_ids"].list.first() if task == "recommendation" else valid["rating"]
            count = round(self.skill * valid.height)
            self._known[task] = dict(zip(valid["example_id"][:count].to_list(), right[:count].to_list(), strict=True))

    def adapt(self, data: Mapping[str, TaskData], context: Context) -> None:
        self._note("adapt", context)

    def predict(
        self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context
    ) -> Iterator[pl.DataFrame | ScoreBlock]:
        assert not {"item_ids", "rating", "text"} & set(examples.columns)
        context.worked_elsewhere(self.megabytes / 2)
        ids, known = examples["example_id"].to_list(), self._known[task]
        if task == "preference":
            rating = [known.get(one, 3.0) for one in ids]
            yield pl.DataFrame({"example_id": ids, "rating": rating}, schema_overrides={"rating": pl.Float32})
            return
        scores = np.zeros((len(ids), view.items.height), dtype=np.float32)
        for row, one in enumerate(ids):
            if one in known:
                scores[row, view.index[known[one]]] = 1.0
        yield ScoreBlock(ids, scores)

    def save(self, folder: Path) -> None:
        (folder / "known.json").write_text(json.dumps(self._known))

    def load(self, folder: Path) -> None:
        self._known = json.loads((folder / "known.json").read_text())

    def _note(self, what: str, context: Context) -> None:
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        if len(lines) == 2 and self.fuse.exists():
            raise RuntimeError("the fuse blew")
        said = {"what": what, "skill": self.skill, "luck": self.luck, "max_seconds": context.max_seconds}
        self.notes.write_text("\n".join([*lines, json.dumps(said)]))


@dataclass
class Reckless(Searched):
    """Some of its values cannot be learned with."""

    search: ClassVar[Space] = {"doomed": (True, False), "skill": (1.0,)}


@dataclass
class Picky(Searched):
    """Some of its values make no sense."""

    search: ClassVar[Space] = {"luck": (-1, 1, 2)}

    def __post_init__(self) -> None:
        if self.luck < 0:
            raise ConfigError("picky: luck below 0")


@dataclass
class Slow(Searched):
    """Learns for as long as it likes."""

    budgeted: ClassVar[bool] = False


@dataclass
class Broken(Searched):
    """Fails with something that nobody foresaw."""

    search: ClassVar[Space] = {}

    def fit(self, data: Mapping[str, TaskData], context: Context) -> None:
        raise RuntimeError("first line\nsecond line")
