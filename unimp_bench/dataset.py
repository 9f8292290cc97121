"""A built dataset as others see it: what is visible to runners, and what only scoring may open."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_bench import tables
from unimp_bench.errors import IncompleteError, UnknownNameError
from unimp_bench.places import Home
from unimp_bench.provenance import Manifest, digest, read_manifest
from unimp_bench.schemas import (
    ANSWERS,
    EXAMPLES,
    IMAGES,
    INTERACTIONS,
    ITEMS,
    LABELLED_EXAMPLES,
    SEALED_INTERACTIONS,
)

CLEAN = "clean"  # the variant without noise


@dataclass(frozen=True)
class Catalogue:
    """The items of one variant, with their pictures.

    `items` has the columns of `schemas.ITEMS` and is sorted by `item_index`, so row i is the item of index i.
    `text_fields` are label and source of every field of an item's text, as the dataset's prompts write it.
    `origin` is the file of the items without noise, whatever `items` are; None where there are no others.
    """

    items: pl.DataFrame
    new_domains: frozenset[str]
    images: tuple[Path, ...]
    text_fields: tuple[tuple[str, str], ...] = ()
    origin: Path | None = None

    def members(self, cohort: str) -> NDArray[np.bool_]:
        """Which items `(items,)` are ranked for a cohort: the held-out domains' for new_domain, else all others."""
        held_out = self.items["domain"].is_in(list(self.new_domains)).to_numpy()
        return held_out if cohort == "new_domain" else ~held_out

    def pictures(self, image_ids: Iterable[str]) -> dict[str, bytes]:
        """Encoded pictures by image id; ids without a picture are left out."""
        wanted = sorted(set(image_ids))
        found: dict[str, bytes] = {}
        for file in self.images if wanted else ():
            part = tables.scan(file, IMAGES).filter(pl.col("image_id").is_in(wanted))
            found.update(part.select("image_id", pl.col("image").struct.field("bytes")).collect().iter_rows())
        return found

    @cached_property
    def index(self) -> dict[str, int]:
        """Item id to `item_index`."""
        return {item: i for i, item in enumerate(self.items["item_id"].to_list())}

    @cached_property
    def clean(self) -> Catalogue:
        """The catalogue without noise: what a fit was shown, and what item features are made by under any noise."""
        return self if self.origin is None else replace(self, items=_items(self.origin), origin=None)


@dataclass(frozen=True)
class Dataset:
    """A built dataset folder whose manifest is there."""

    name: str
    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, home: Home, name: str) -> Dataset:
        """Open a built dataset.

        Raises:
            UnknownNameError: there is no such dataset.
            IncompleteError: its build never finished.
        """
        folder = home.dataset(name)
        if not folder.is_dir():
            raise UnknownNameError("dataset", name, names(home))
        manifest = read_manifest(folder)
        if manifest is None:
            raise IncompleteError(f"{folder} was never finished; run the same `unimp-bench build` again")
        return cls(name, folder, manifest)

    @property
    def split_hash(self) -> str:
        """Names the split: results of different split hashes are never compared."""
        return str(self.manifest.facts["split_hash"])

    @property
    def data_hash(self) -> str:
        """Names the contents of all visible and sealed files; a rebuild that changes a byte has another one."""
        files = self.manifest.outputs.items()
        return digest({name: value for name, value in files if name.startswith(("visible/", "sealed/"))})

    @property
    def new_domains(self) -> frozenset[str]:
        """Domains that were held out as a whole."""
        return frozenset(self.manifest.facts["new_domains"])

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """Task name to its facts (`version`, `prompts`, rows a split), for tasks that this dataset yields."""
        return dict(self.manifest.facts["tasks"])

    def variants(self) -> list[str]:
        """Names of the noise variants at hand, `clean` first."""
        folder = self.folder / "variants"
        return [CLEAN, *_whole(folder)]

    def catalogue(self, variant: str = CLEAN) -> Catalogue:
        """Items and pictures of a variant; item_index is the same in all.

        Raises:
            UnknownNameError: there is no such variant.
        """
        if variant not in self.variants():
            raise UnknownNameError("variant", variant, self.variants())
        folder = self.folder / ("visible" if variant == CLEAN else f"variants/{variant}")
        pictures = tuple(sorted((self.folder / "visible").glob("images-*.parquet")))
        fields = tuple((str(label), str(source)) for label, source in self.manifest.facts.get("item_text", ()))
        origin = self.folder / "visible/items.parquet"
        return Catalogue(_items(folder / "items.parquet"), self.new_domains, pictures, fields, origin)

    def interactions(self) -> pl.LazyFrame:
        """Train interactions; those of new domains among them (they are for `adapt` alone)."""
        return tables.scan(self.folder / "visible/interactions.parquet", INTERACTIONS)

    def examples_file(self, task: str, split: str) -> Path:
        """Path of a task's examples of a split."""
        return self.folder / "visible/tasks" / task / f"{split}.examples.parquet"

    def examples(self, task: str, split: str) -> pl.LazyFrame:
        """A task's examples; train and valid ones carry their answers."""
        return tables.scan(self.examples_file(task, split), EXAMPLES if split == "test" else LABELLED_EXAMPLES)

    # Sealed: for scoring, auditing and the synthetic oracle only.

    def sealed_answers(self, task: str) -> pl.DataFrame:
        """The test answers of a task."""
        return tables.read(self.folder / "sealed/tasks" / task / "test.answers.parquet", ANSWERS)

    def sealed_interactions(self) -> pl.LazyFrame:
        """All interactions with split and cohort."""
        return tables.scan(self.folder / "sealed/interactions.parquet", SEALED_INTERACTIONS)

    @property
    def truth(self) -> Path | None:
        """Folder of the synthetic shop's truth, where there is one."""
        folder = self.folder / "sealed" / "truth"
        return folder if folder.is_dir() else None


def _items(file: Path) -> pl.DataFrame:
    """The items of a file, in `item_index` order."""
    return tables.read(file, ITEMS).sort("item_index")


def names(home: Home) -> list[str]:
    """Names of the built datasets."""
    return _whole(home.root / "data")


def _whole(folder: Path) -> list[str]:
    """Names of the finished folders in a folder; hidden ones are on their way out."""
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path.name for path in inside if not path.name.startswith(".") and read_manifest(path)]
