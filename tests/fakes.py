"""Runners for tests, honest and hostile, and a way to register them for as long as a test lasts."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
import pytest

from unimp_bench import keyed
from unimp_bench.dataset import Catalogue
from unimp_bench.features import registry as encoder_names
from unimp_bench.runners import registry
from unimp_bench.runners.protocol import Context, ScoreBlock, TaskData

EVERYONE = frozenset({"in_domain", "new_user", "new_domain"})


def register(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    """Let the registry know these runners ("module:Class" by name) beside the real ones."""
    fake = [EntryPoint(name, value, registry.GROUP) for name, value in values.items()]
    _replace(monkeypatch, registry.GROUP, [*registry.entry_points(group=registry.GROUP), *fake])


def encoders(monkeypatch: pytest.MonkeyPatch, points: Sequence[EntryPoint]) -> None:
    """Let these be all registered encoders for as long as a test lasts; runners stay what they are."""
    _replace(monkeypatch, encoder_names.GROUP, points)


def _replace(monkeypatch: pytest.MonkeyPatch, replaced: str, points: Sequence[EntryPoint]) -> None:
    real = registry.entry_points
    monkeypatch.setattr(
        registry, "entry_points", lambda group: EntryPoints(points) if group == replaced else real(group=group)
    )


@dataclass
class Base:
    """Learns nothing, answers nothing yet."""

    tasks: ClassVar[frozenset[str]] = frozenset({"recommendation"})
    cohorts: ClassVar[frozenset[str]] = EVERYONE
    version: ClassVar[int] = 1
    reads_truth: ClassVar[bool] = False

    def fit(self, data: Mapping[str, TaskData], context: Context) -> None: ...

    def save(self, folder: Path) -> None: ...

    def load(self, folder: Path) -> None: ...


@dataclass
class Fragile(Base):
    """Scores by a hash of (example, item), seven examples a part; while `fuse` exists it dies in its second part."""

    fuse: Path = Path("fuse")
    kill: bool = False

    examples_a_part: ClassVar[int] = 7
    _parts: int = field(default=0, init=False)

    def predict(self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context) -> Iterator[ScoreBlock]:
        self._parts += 1
        for block in examples.iter_slices(4):
            if self._parts == 2 and self.fuse.exists():
                if self.kill:
                    os.kill(os.getpid(), signal.SIGKILL)
                raise RuntimeError("the fuse blew")
            keys = keyed.mix(
                keyed.string_keys(block["example_id"], "f")[:, None],
                np.arange(view.items.height, dtype=np.uint64)[None],
            )
            yield ScoreBlock(block["example_id"].to_list(), keyed.uniform(keys).astype(np.float32))


@dataclass
class Hostile(Base):
    """Breaks one promise a time, for its last example."""

    sin: str = "none"
    tasks: ClassVar[frozenset[str]] = frozenset(
        {"recommendation", "selection", "preference", "explanation", "image_generation"}
    )

    def predict(self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context) -> Iterator[Any]:
        yield from getattr(self, task)(examples, view)

    def recommendation(self, examples: pl.DataFrame, view: Catalogue) -> Iterator[Any]:
        office = view.items["domain"] == "office"
        two = {
            True: view.items.filter(office)["item_id"].to_list(),
            False: view.items.filter(~office)["item_id"].to_list(),
        }
        lists = [two[cohort == "new_domain"] for cohort in examples["cohort"].to_list()]
        scores = [[float(-k) for k in range(len(items))] for items in lists]
        frame = pl.DataFrame({"example_id": examples["example_id"], "item_ids": lists, "scores": scores})
        rest, last = frame[:-1], frame[-1:]
        changed: dict[str, dict[str, list[Any]]] = {
            "unknown": {"item_ids": [["nothing"]], "scores": [[1.0]]},
            "twice": {"item_ids": [["i01", "i01"]], "scores": [[1.0, 1.0]]},
            "null": {"item_ids": [["i01", None]], "scores": [[1.0, 1.0]]},
            "nan": {"item_ids": [["i01", "i02"]], "scores": [[1.0, float("nan")]]},
            "lengths": {"item_ids": [["i01", "i02"]], "scores": [[1.0]]},
            "rising": {"item_ids": [["i16", "i17", "i18", "i19"]], "scores": [[1.0, 2.0, 3.0, 4.0]]},
            "type": {"item_ids": [7], "scores": [[1.0]]},
        }
        if self.sin in changed:
            yield rest
            yield last.with_columns(pl.Series(name, values) for name, values in changed[self.sin].items())
        elif self.sin == "missing":
            yield rest
        elif self.sin == "again":
            yield from (frame, last)
        elif self.sin == "stranger":
            yield frame.with_columns(example_id=pl.concat_str("example_id", pl.lit("x")))
        elif self.sin == "column":
            yield frame.drop("item_ids")
        elif self.sin == "extra":
            yield frame.with_columns(secret=1)
        elif self.sin == "thing":
            yield {"example_id": []}
        elif self.sin == "nothing":
            return
        elif self.sin == "shape":
            yield ScoreBlock(examples["example_id"].to_list(), np.zeros((examples.height, 3), dtype=np.float32))
        else:
            yield frame

    def selection(self, examples: pl.DataFrame, view: Catalogue) -> Iterator[Any]:
        if self.sin == "block":
            yield ScoreBlock(examples["example_id"].to_list(), np.zeros((examples.height, 20), dtype=np.float32))
        yield examples.select("example_id", item_ids=pl.lit(["nothing"]))

    def preference(self, examples: pl.DataFrame, view: Catalogue) -> Iterator[Any]:
        yield examples.select("example_id", rating=pl.lit({"nan": float("nan"), "six": 6.0}[self.sin]))

    def explanation(self, examples: pl.DataFrame, view: Catalogue) -> Iterator[Any]:
        yield examples.select("example_id", text=pl.lit("x" * 10_000_000))

    def image_generation(self, examples: pl.DataFrame, view: Catalogue) -> Iterator[Any]:
        picture = {"html": b"<html>not a picture</html>", "empty": b""}[self.sin]
        images = pl.Series([{"bytes": picture, "path": None}] * examples.height)
        yield pl.DataFrame({"example_id": examples["example_id"], "image": images})


@dataclass
class Spy(Base):
    """Writes down what it is given, under `notes`; answers in_domain examples only, by a constant."""

    notes: Path = Path("notes")
    tasks: ClassVar[frozenset[str]] = frozenset({"recommendation", "search"})
    cohorts: ClassVar[frozenset[str]] = frozenset({"in_domain", "new_domain"})
    joint: ClassVar[bool] = True
    device: ClassVar[str] = "abacus"

    def _note(self, name: str, frame: pl.DataFrame) -> None:
        self.notes.mkdir(exist_ok=True)
        frame.write_parquet(self.notes / f"{len(list(self.notes.iterdir())):02d}-{name}.parquet")

    def fit(self, data: Mapping[str, TaskData], context: Context) -> None:
        for task, given in data.items():
            self._note(f"fit-{task}", given.train.collect())
            self._note(f"fit-{task}-interactions", given.interactions.collect())

    def adapt(self, data: Mapping[str, TaskData], context: Context) -> None:
        for task, given in data.items():
            self._note(f"adapt-{task}", given.train.collect())

    def predict(self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context) -> Iterator[ScoreBlock]:
        assert context.truth is None
        self._note(f"predict-{task}", examples)
        yield ScoreBlock(
            examples["example_id"].to_list(), np.zeros((examples.height, view.items.height), dtype=np.float32)
        )


@dataclass
class Parameters(Base):
    """One parameter of every kind."""

    whole: int = 1
    real: float = 0.5
    flag: bool = False
    word: str = "a"
    maybe: int | None = None
    choice: Literal["x", "y"] = "x"
    many: tuple[int, ...] = ()
    strange: dict[str, int] = field(default_factory=dict)
    _hidden: int = 0
    learned: int = field(default=0, init=False)

    def predict(self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context) -> Iterator[pl.DataFrame]:
        yield examples.select("example_id", item_ids=pl.lit(None))


@dataclass
class Truthful(Base):
    """Says that it reads the truth."""

    reads_truth: ClassVar[bool] = True

    def predict(self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context) -> Iterator[pl.DataFrame]:
        yield examples.select("example_id", item_ids=pl.lit(None))


class NoRunner:
    """Not a dataclass and without methods."""


@dataclass
class Trained(Base):
    """Records a curve of two stages while it "learns"; while `fuse` exists it dies in the second, with a checkpoint."""

    fuse: Path = Path("fuse")
    steps: int = 4
    tasks: ClassVar[frozenset[str]] = frozenset({"recommendation", "search"})

    def fit(self, data: Mapping[str, TaskData], context: Context) -> None:
        checkpoint = context.scratch / "step"
        first = int(checkpoint.read_text()) if checkpoint.exists() else 0
        if first == 0:
            context.record("pretrain", 1, loss=float("nan"))
        for step in range(first, self.steps):
            context.record("fit", step, loss=np.float32(2.0 / (step + 1)), recall=0.1 * step)  # type: ignore[arg-type]
            if step == 1:
                checkpoint.write_text(str(step))  # the step itself is repeated
            if step == 2 and self.fuse.exists():
                raise RuntimeError("the fuse blew")

    def predict(self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context) -> Iterator[pl.DataFrame]:
        context.record("predict", 0, loss=1.0)  # goes nowhere
        yield examples.select("example_id", item_ids=pl.lit(None))
