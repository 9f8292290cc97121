"""A file that is still arriving: `NAME.part` with its first bytes, `NAME.part.json` with what they belong to.

The note is written before the first byte and names the address and the version (ETag or date) of the file, so a part is
only ever continued with bytes of the same file. A finished file takes its name by rename; there is no half of one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from unimp_bench.errors import IncompleteError
from unimp_bench.places import atomic

_MAGIC = {".gz": (b"\x1f\x8b", "gzip file"), ".zip": (b"PK", "zip archive"), ".parquet": (b"PAR1", "Parquet file")}


def looks_like_html(head: bytes) -> bool:
    """Whether a file that begins so is a web page."""
    start = head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith(b"<!doctype html") or (start.startswith(b"<") and (b"<html" in start or b"<head" in start))


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Say in one line that a disk did not take what was written.

    Raises:
        IncompleteError: in place of any OSError.
    """
    try:
        yield
    except OSError as failure:
        raise IncompleteError(
            f"cannot write {path}: {failure.strerror or failure}; make room or choose another folder, then run again"
        ) from None


@contextmanager
def alone(folder: Path, lock: str, doing: str) -> Iterator[None]:
    """Hold the only permission to work in a folder, which is made where it is not there; the system lets go of it.

    Raises:
        IncompleteError: another process holds it, or the folder cannot be made.
    """
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        held = FileLock(folder / lock, timeout=0)
        try:
            held.acquire()
        except Timeout:
            raise IncompleteError(f"another process {doing} {folder}; wait for it") from None
    try:
        yield
    finally:
        held.release()


def flaw(path: Path, name: str, size: int | None, sha256: str | None) -> str | None:
    """What is wrong with a whole file that should be `name`, in words that follow its address; None if nothing is."""
    with path.open("rb") as file:
        head = file.read(512)
    found = path.stat().st_size
    suffix = Path(name).suffix
    if suffix not in (".html", ".htm") and looks_like_html(head):
        return f"answered with a web page in place of {name}"
    if size is not None and found != size:
        return f"sent {found} bytes of {name}, expected {size}"
    if sha256 is not None and (digest := sha256_of(path)) != sha256.lower():
        return f"sent {name} with sha256 {digest}, expected {sha256.lower()}"
    magic, kind = _MAGIC.get(suffix, (b"", ""))
    if not head.startswith(magic):
        return f"sent {name}, which is no {kind}"
    return None


@dataclass(frozen=True)
class Part:
    """The part of one file."""

    target: Path

    @property
    def path(self) -> Path:
        """Where its bytes are."""
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def _note(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part.json")

    @property
    def length(self) -> int:
        """Bytes that are already here."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def version(self, url: str) -> tuple[str | None, str | None] | None:
        """ETag and date of the file that the bytes belong to; None if they are of another address or unknown."""
        try:
            note = json.loads(self._note.read_text())
            return (note["etag"], note["modified"]) if note["url"] == url else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self, url: str, etag: str | None, modified: str | None) -> None:
        """Forget all bytes and note what the next ones belong to."""
        self.discard()
        with writable(self.target.parent), atomic(self._note) as draft:
            draft.write_text(json.dumps({"url": url, "etag": etag, "modified": modified}))

    def opened(self) -> IO[bytes]:
        """The part, open to be continued."""
        return self.path.open("ab")

    def discard(self) -> None:
        """Remove bytes and note, in the order that never leaves bytes under a wrong note."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def finish(self) -> None:
        """Give the whole file its name, flushed to disk."""
        with writable(self.target):
            with self.path.open("rb") as file:
                os.fsync(file.fileno())
            self.path.replace(self.target)
        self.discard()
