"""Is everything on disk still what its manifest says, back to the raw files?

Every file that a manifest names is hashed again: the dataset's, its variants', the raw input, and all runs on the
dataset with the fits that they stand on. Files that no manifest names are reported too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from unimp_bench.dataset import Dataset
from unimp_bench.errors import IncompleteError
from unimp_bench.places import Home
from unimp_bench.progress import Progress, Silent
from unimp_bench.provenance import MANIFEST, Manifest, read_manifest, sha256, sha256_tree

_WORKERS = 4
_DIGITS = 64  # of a SHA-256; a shorter value is the id of a manifest


@dataclass(frozen=True)
class Link:
    """A file (or a folder of raw pictures) that a manifest names, and the hash or manifest id it must have."""

    path: Path
    expected: str
    raw: bool  # an input of the dataset, in the user's hands


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it was: `what` is missing, changed, extra or unfinished."""

    path: Path
    what: str

    def __str__(self) -> str:
        return f"{self.what}: {self.path}"


def links(dataset: Dataset, home: Home | None = None) -> list[Link]:
    """Everything to hash for a dataset; with `home` also its runs and their fits."""
    found = list(_of_folder(dataset.folder, dataset.manifest))
    found += [Link(_placed(name, home), value, True) for name, value in sorted(dataset.manifest.inputs.items())]
    for folder in _variants(dataset):
        manifest = read_manifest(folder)
        if manifest is not None:
            found += _of_folder(folder, manifest)
            found += [Link(dataset.folder / name, value, False) for name, value in sorted(manifest.inputs.items())]
    for folder in _runs(dataset, home):
        found += _of_chain(folder, home)
    return list(dict.fromkeys(found))


def verify(dataset: Dataset, home: Home | None = None, progress: Progress | None = None) -> list[Problem]:
    """Hash everything that the dataset's manifests name, and look for files that none of them does.

    Returns:
        What is missing, changed, extra or unfinished, by path; empty if all is as it was written.
    """
    progress = progress or Silent()
    wanted = links(dataset, home)
    progress.start(f"verify {dataset.name}", sum(size(link.path) for link in wanted), "bytes")

    def judged(link: Link) -> Problem | None:
        problem = _judge(link)
        progress.advance(size(link.path))
        return problem

    with ThreadPoolExecutor(_WORKERS) as pool:  # hashing lets go of the interpreter lock
        problems = [problem for problem in pool.map(judged, wanted) if problem]
    progress.finish()
    problems += [Problem(path, "extra, named by no manifest") for path in _extra(dataset)]
    for folder in _variants(dataset):
        if read_manifest(folder) is None:
            problems.append(Problem(folder, "unfinished variant, without a manifest"))
    return sorted(set(problems), key=lambda problem: (str(problem.path), problem.what))


def size(path: Path) -> int:
    """Bytes of a file, or of all files under a folder; 0 if it is not there."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.is_file() else 0


def _judge(link: Link) -> Problem | None:
    kind = "raw input" if link.raw else "file"
    if not link.path.exists():
        return Problem(link.path, f"{kind} missing")
    try:
        if len(link.expected) != _DIGITS:
            manifest = read_manifest(link.path)
            found = manifest.id if manifest else None
        else:
            found = sha256_tree(link.path) if link.path.is_dir() else sha256(link.path)
    except (OSError, IncompleteError):
        return Problem(link.path, f"{kind} unreadable")
    return None if found == link.expected else Problem(link.path, f"{kind} changed")


def _of_folder(folder: Path, manifest: Manifest) -> Iterator[Link]:
    for name, value in sorted(manifest.outputs.items()):
        yield Link(folder / name, value, False)


def _of_chain(folder: Path, home: Home | None) -> Iterator[Link]:
    """Files of a run or fit, and of the fits that it names; other inputs are hashed where they stand in the home."""
    manifest = read_manifest(folder)
    if manifest is None or home is None:
        return
    yield from _of_folder(folder, manifest)
    for name, value in sorted(manifest.inputs.items()):
        path = home.root / name
        yield Link(path, value, False)
        if name.startswith("fits/") and path.exists():
            yield from _of_chain(path.parent, home)


def _placed(name: str, home: Home | None) -> Path:
    """Where a manifest's path leads: as given, else under the home folder."""
    path = Path(name)
    if home is not None and not path.exists() and (home.root / path).exists():
        return home.root / path
    return path


def _variants(dataset: Dataset) -> list[Path]:
    folder = dataset.folder / "variants"
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in inside if path.is_dir() and not path.name.startswith(".")]


def _runs(dataset: Dataset, home: Home | None) -> list[Path]:
    folder = home.runs / dataset.name if home is not None else Path(os.devnull)
    return sorted(path.parent for path in folder.rglob(MANIFEST)) if folder.is_dir() else []


def _extra(dataset: Dataset) -> list[Path]:
    """Files of the dataset folder that neither its manifest nor a variant's names; hidden files are drafts."""
    named = {dataset.folder / name for name in (*dataset.manifest.outputs, MANIFEST)}
    for folder in _variants(dataset):
        manifest = read_manifest(folder)
        if manifest is not None:
            named |= {folder / name for name in (*manifest.outputs, MANIFEST)}
    here = (path for path in dataset.folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return sorted(path for path in here if path not in named)
