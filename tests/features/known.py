"""Encoders for tests: the real ones under their names, and fakes, honest and hostile."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
import pytest

from tests.fakes import encoders
from unimp_bench.dataset import Catalogue
from unimp_bench.features import registry
from unimp_bench.features.protocol import Modality, Present, Values
from unimp_bench.runners.protocol import Context
from unimp_bench.schemas import ITEMS, conform

REAL = {
    "clip:": "unimp_bench.features.clip:Clip",
    "sentence:": "unimp_bench.features.sentence:Sentence",
    "tfidf_svd": "unimp_bench.features.tfidf:TfidfSvd",
    "thumbnail": "unimp_bench.features.thumbnail:Thumbnail",
    "unimp_tower": "unimp.encoder:Tower",
    "unimp_tower:": "unimp.encoder:Tower",
}


def register(monkeypatch: pytest.MonkeyPatch, **fakes: str) -> None:
    """Let the registry know the real encoders and these fakes ("module:Class" by name) for as long as a test lasts."""
    points = [EntryPoint(name, value, registry.GROUP) for name, value in {**REAL, **fakes}.items()]
    encoders(monkeypatch, points)


def catalogue(titles: Sequence[str | None], **columns: Sequence[object]) -> Catalogue:
    """Items i0, i1, ... of these titles and nothing else, unless other columns say so."""
    count = len(titles)
    frame = pl.DataFrame(
        {
            "item_id": [f"i{k}" for k in range(count)],
            "item_index": list(range(count)),
            "domain": ["toys"] * count,
            "title": pl.Series(titles, dtype=pl.String),
            **columns,
        }
    )
    return Catalogue(conform(frame, ITEMS.columns), frozenset(), ())


class Lengths:
    """The length of a title; writes down in `log` of the features folder each time it works."""

    modality: ClassVar[Modality] = "text"
    version: ClassVar[str] = "lengths 1"

    def identity(self) -> str:
        return self.version

    def encode(self, view: Catalogue, context: Context) -> tuple[Values, Present]:
        assert context.features is not None
        assert (context.truth, context.curve, context.seed) == (None, None, 0)
        with (context.features / "log").open("a") as log:
            log.write("worked\n")
        titles = view.items["title"].to_list()
        values = np.array([[len(title or ""), 1.0] for title in titles], dtype=np.float32)
        return values, np.array([title is not None for title in titles])


class Pictured(Lengths):
    """The same, called a picture encoder."""

    modality: ClassVar[Modality] = "image"
    version: ClassVar[str] = "pictured 1"


class ForeignError(Exception):
    """Of a package that knows nothing of the toolkit."""


class Hostile:
    """Breaks one promise, that of its argument."""

    modality: ClassVar[Modality] = "text"
    errors: ClassVar[tuple[type[Exception], ...]] = (ForeignError,)

    def __init__(self, sin: str) -> None:
        self.sin = sin

    def identity(self) -> str:
        return self.sin

    def encode(self, view: Catalogue, context: Context) -> tuple[Values, Present]:
        count = view.items.height
        if self.sin == "foreign":
            raise ForeignError("the camera is off; switch it on")
        if self.sin == "package":
            import no_such_package  # type: ignore[import-not-found]  # noqa: F401
        values = np.ones((count + (self.sin == "rows"), 0 if self.sin == "width" else 2), dtype=np.float32)
        if self.sin == "nan":
            values[0, 0] = np.nan
        return values, np.ones(count, dtype=bool)


def worked(folder: Path) -> int:
    """How often `Lengths` worked."""
    return len((folder / "log").read_text().splitlines()) if (folder / "log").exists() else 0
