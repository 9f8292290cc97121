"""Where everything stands under one home folder, and how files appear there: whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from unimp_bench.errors import ConfigError, IncompleteError


def safe_name(name: str, kind: str = "name") -> str:
    """The name, if it can be one folder: letters, digits, `.`, `_`, `-`; never a path or hidden."""
    if not name or name.startswith(".") or not all(c.isalnum() or c in "._-" for c in name) or not name.isascii():
        raise ConfigError(f"{kind} '{name}' cannot name a folder; use letters, digits, '.', '_' and '-'")
    return name


@dataclass(frozen=True)
class Home:
    """The folder that holds `data/`, `fits/`, `runs/` and `features/`."""

    root: Path

    def dataset(self, name: str) -> Path:
        """Folder of a built dataset."""
        return self.root / "data" / safe_name(name, "dataset")

    def building(self, name: str, build_id: str) -> Path:
        """Folder where that build works until it is whole."""
        return self.root / "data" / ".building" / f"{safe_name(name, 'dataset')}-{build_id}"

    def raw(self, name: str) -> Path:
        """Folder of raw dumps that we generated or downloaded."""
        return self.root / "raw" / safe_name(name, "raw folder")

    def run(self, dataset: str, task: str, runner: str, run_id: str) -> Path:
        """Folder of one run."""
        return self.root / "runs" / dataset / task / safe_name(runner.replace(":", "-"), "runner") / run_id

    @property
    def runs(self) -> Path:
        """Folder of all runs."""
        return self.root / "runs"

    @property
    def models(self) -> Path:
        """Folder of models that some metrics need: `bertscore/`, `clip/`, `wordnet/`, or their names; see `hub`."""
        return self.root / "models"

    @property
    def features(self) -> Path:
        """Folder of item features, which all datasets and runs share; see `features`."""
        return self.root / "features"

    def fit(self, fit_id: str) -> Path:
        """Folder of one fitted runner; several tasks may share it."""
        return self.root / "fits" / fit_id

    @contextmanager
    def locked(self, kind: str, name: str) -> Iterator[None]:
        """Hold the only permission to write that thing; the system lets go of it if the process dies.

        Raises:
            IncompleteError: another process holds it.
        """
        folder = self.root / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{kind}-{safe_name(name, kind)}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise IncompleteError(
                f"another process is writing {kind} '{name}' in {self.root}; wait for it, or choose another name"
            ) from None
        try:
            yield
        finally:
            lock.release()


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A sibling path to write to; it takes the name `path`, flushed to disk, only when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what killed writers left in a folder that nobody else writes now: drafts, and folders half removed."""
    for draft in folder.rglob(".*.draft"):
        draft.unlink()
    for doomed in folder.glob(".*.doomed"):
        shutil.rmtree(doomed)


def clear(home: Home, name: str) -> None:
    """Remove what killed or superseded builds of a dataset left, once it is whole; only the holder of its lock may."""
    data = home.root / "data"
    doomed = re.compile(rf"\.{re.escape(name)}(-[0-9a-f]{{16}})?\.\d+\.doomed")
    work = re.compile(rf"{re.escape(name)}-[0-9a-f]{{16}}")
    for folder in (data, data / ".building"):
        for path in folder.iterdir() if folder.is_dir() else ():
            if doomed.fullmatch(path.name) or (folder is not data and work.fullmatch(path.name)):
                shutil.rmtree(path)


def remove(folder: Path) -> None:
    """Remove a folder so that no other process ever sees half of it: it first loses its name."""
    if not folder.exists():
        return
    doomed = folder.with_name(f".{folder.name}.{os.getpid()}.doomed")
    folder.rename(doomed)
    shutil.rmtree(doomed)
