"""Finished runs as frames. Everything here is derived from the run folders and can be rebuilt from them at any time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from unimp_bench import tables
from unimp_bench.errors import IncompleteError
from unimp_bench.places import Home
from unimp_bench.provenance import MANIFEST, Manifest, read_manifest
from unimp_bench.schemas import RESULTS, conform, empty


@dataclass(frozen=True)
class Record:
    """One finished run: its manifest, and its metrics as rows of `schemas.RESULTS` without the run."""

    folder: Path
    manifest: Manifest
    metrics: tuple[dict[str, Any], ...]

    @property
    def request(self) -> dict[str, Any]:
        """What was asked."""
        return dict(self.manifest.request)


def records(home: Home, dataset: str | None = None, task: str | None = None) -> list[Record]:
    """Finished runs, sorted by folder; unfinished ones are left out.

    Raises:
        IncompleteError: a finished run's files cannot be read.
    """
    found = []
    for path in sorted(home.runs.glob(f"{dataset or '*'}/{task or '*'}/*/*/{MANIFEST}")):
        folder = path.parent
        manifest = read_manifest(folder)
        if manifest is None or folder.name.startswith("."):
            continue
        try:
            metrics = json.loads((folder / "metrics.json").read_text())["metrics"]
        except (OSError, ValueError, KeyError):
            raise IncompleteError(f"{folder / 'metrics.json'} cannot be read; run again with --force") from None
        found.append(Record(folder, manifest, tuple(metrics)))
    return found


def unfinished(home: Home, dataset: str | None = None, task: str | None = None) -> list[Path]:
    """Run folders without a manifest, sorted: killed, under way, or somebody else's; no table counts them."""
    folders = home.runs.glob(f"{dataset or '*'}/{task or '*'}/*/*/")
    return sorted(
        path
        for path in folders
        if path.is_dir()
        and not (path / MANIFEST).exists()
        and not any(part.startswith(".") for part in path.relative_to(home.runs).parts)
    )


def frame(runs: list[Record]) -> pl.DataFrame:
    """The runs' metrics in the columns of `schemas.RESULTS`, sorted by its key."""
    rows = [{"run_id": run.manifest.id, **row} for run in runs for row in run.metrics]
    if not rows:
        return empty(RESULTS.columns)
    return conform(pl.DataFrame(rows, infer_schema_length=None), RESULTS.columns).sort(RESULTS.key)


def rebuild(home: Home) -> Path:
    """Write `runs/results.parquet` anew from all run folders."""
    path = home.runs / "results.parquet"
    tables.write(frame(records(home)), path, RESULTS)
    return path
