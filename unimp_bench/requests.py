"""What one build is asked for, and the name that this gives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimp_bench.config import BuildConfig
from unimp_bench.data.explanations import EXTRACTOR
from unimp_bench.data.opening import Places
from unimp_bench.data.sources.base import Source
from unimp_bench.progress import Progress
from unimp_bench.provenance import sha256, sha256_tree
from unimp_bench.schemas import (
    ANSWERS,
    DROPS,
    EXAMPLES,
    IMAGES,
    INTERACTIONS,
    ITEMS,
    LABELLED_EXAMPLES,
    SEALED_INTERACTIONS,
)
from unimp_bench.tasks.spec import TASKS
from unimp_bench.tasks.styles import PROMPTS_VERSION


@dataclass(frozen=True)
class Request:
    """Everything one build was asked for."""

    source: str
    name: str
    places: Places
    config: BuildConfig
    fetch_images: bool = False
    allow_private: bool = False
    keep_rejects: bool = False
    explanations: Path | None = None  # folder of Sentires sentences
    noise: tuple[tuple[str, float], ...] = ()  # (kind, rate) of every variant
    truth: Path | None = None  # the synthetic shop's

    def asked(self, config: BuildConfig, inputs: Mapping[str, str]) -> dict[str, Any]:
        """What names the build: contents of the inputs but not their places, and all versions of what is written."""
        written = (INTERACTIONS, SEALED_INTERACTIONS, ITEMS, IMAGES, EXAMPLES, LABELLED_EXAMPLES, ANSWERS, DROPS)
        return {
            "source": self.source,
            "domains": list(self.places.domains),
            "item_level": self.places.item_level,
            "columns": dict(self.places.columns),
            "config": config.request(),
            "fetch_images": self.fetch_images,
            "keep_rejects": self.keep_rejects,
            "truth": self.truth is not None,
            "inputs": sorted(inputs.values()),
            "tables": {table.name: table.version for table in written},
            "tasks": {spec.name: spec.version for spec in TASKS.values()},
            "prompts": PROMPTS_VERSION,
            "extractor": EXTRACTOR,
        }


def input_hashes(source: Source, request: Request, progress: Progress) -> dict[str, str]:
    """SHA-256 of every raw file; a folder of pictures counts as one input whose name ends in `/`."""
    files = source.inputs()
    hashes = {}
    progress.start("hashing raw files", sum(f.stat().st_size for f in files if f.is_file()), "bytes")
    for file in files:
        hashes[str(file)] = sha256(file)
        progress.advance(file.stat().st_size)
    progress.finish()
    for folder in (_picture_folder(request), request.explanations, request.truth):
        if folder is not None and folder.is_dir():
            hashes[f"{folder}/"] = sha256_tree(folder)
    return hashes


def _picture_folder(request: Request) -> Path | None:
    if request.places.images is not None:
        return request.places.images
    return request.places.raw / "images" if request.places.raw is not None else None
