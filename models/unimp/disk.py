"""Files that are whole or not there: written under another name, then renamed, with one line for a full disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from unimp.errors import CheckpointError


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Inside, files are written to a folder.

    Raises:
        CheckpointError: the disk is full or not writable.
    """
    try:
        yield
    except (OSError, SafetensorError) as problem:
        said = str(problem).split("\n")[0]
        raise CheckpointError(f"{folder} cannot be written ({said}); make room and start again") from problem


def by_rename(folder: Path, save: Callable[[Path], object]) -> None:
    """Save a folder under another name and rename it; one that stood there is replaced.

    Raises:
        CheckpointError: the disk is full or not writable.
    """
    draft = folder.with_name(folder.name + ".part")
    with writing(folder):
        shutil.rmtree(draft, ignore_errors=True)
        save(draft)
        shutil.rmtree(folder, ignore_errors=True)
        draft.replace(folder)


def write_text(file: Path, text: str) -> None:
    """Write a text file, by rename: a hard link to the one before keeps what it says.

    Raises:
        CheckpointError: the disk is full or not writable.
    """
    draft = file.with_name(file.name + ".part")
    with writing(file.parent):
        draft.write_text(text)
        draft.replace(file)
