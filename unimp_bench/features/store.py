"""Features on disk: one safetensors file a digest, whole or not at all.

    <folder>/<digest>.safetensors     values `(items, width)` float32, present `(items,)` bool; encoder and identity in
                                      the header's metadata

The format says its own length, so a file that was cut short is known as such and made again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from unimp_bench.features.protocol import Present, Values
from unimp_bench.places import atomic
from unimp_bench.progress import Progress

_VERSION = "unimp_bench.features 1"


class DamagedError(Exception):
    """A file that is not what its name says; never shown, since it is made again."""


def path(folder: Path, digest: str) -> Path:
    """Where features of a digest stand."""
    return folder / f"{digest}.safetensors"


def write(folder: Path, digest: str, values: Values, present: Present, **notes: str) -> None:
    """Keep features; the file appears when it is whole."""
    # Bytes first: safetensors reports a full disk as an error of its own, Python as the one that is known everywhere.
    data = save({"values": values, "present": present}, {"format": _VERSION, "digest": digest, **notes})
    with atomic(path(folder, digest)) as draft:
        draft.write_bytes(data)


def read(folder: Path, digest: str, items: int) -> tuple[Values, Present] | None:
    """Features of a digest, None where there are none.

    Raises:
        DamagedError: the file is cut short, or something else than its name says.
    """
    file = path(folder, digest)
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="numpy") as kept:
            said = kept.metadata() or {}
            values, present = kept.get_tensor("values"), kept.get_tensor("present")
    except SafetensorError as error:
        raise DamagedError(str(error).splitlines()[0]) from None
    kinds = (values.dtype, present.dtype, values.ndim, len(values), present.shape)
    if kinds != (np.float32, np.bool_, 2, items, (items,)) or (said.get("format"), said.get("digest")) != (
        _VERSION,
        digest,
    ):
        raise DamagedError("of another shape or origin")
    return values, present


@contextmanager
def alone(folder: Path, name: str, progress: Progress) -> Iterator[None]:
    """Hold the only permission to make something in a folder; who comes second waits, then finds it there."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f".{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress.say(f"another process is making these features in {folder}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
