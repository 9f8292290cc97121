"""Lines of a file, plain or gzip, in blocks of some megabytes: what a dump costs in memory is a few blocks.

Unpacking is done by isal, in a thread of its own where the caller asks for it (`ahead`). A line over 16 MiB stops the
reading before it is held, and a gzip that ends too early is an error, not the end.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from isal import igzip, isal_zlib

from unimp_bench.errors import InputError
from unimp_bench.progress import Progress

T = TypeVar("T")

LINE_LIMIT = 16 << 20  # bytes
_BLOCK = 2 << 20  # bytes unpacked at a time: large enough for both cores, small enough to hold a few
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
BLANK = b" \t\r"
DAMAGED = (EOFError, OSError, zlib.error, cast(type[Exception], isal_zlib.error))


@dataclass(frozen=True)
class Block:
    """`count` whole lines of a file; `data` ends with a line end, `first` is the 0-based number of its first line."""

    first: int
    count: int
    data: bytes

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """0-based numbers and lines that are not blank."""
        for number, line in enumerate(self.data.split(b"\n"), self.first):
            if stripped := line.strip(BLANK):
                yield number, stripped


def _unpacked(raw: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, igzip.IGzipFile(fileobj=raw))  # type: ignore[no-untyped-call]


def open_bytes(path: Path, stack: ExitStack) -> tuple[BinaryIO, BinaryIO]:
    """The raw file and its unpacked stream (the same object unless it begins like a gzip file).

    Raises:
        InputError: there is no such file, it cannot be opened, or it is UTF-16 text.
    """
    try:
        raw = stack.enter_context(path.open("rb"))
    except OSError as error:
        raise InputError(f"cannot open ({error.strerror})", path, "check the folder and the name") from None
    head = raw.read(2)
    raw.seek(0)
    if head in _UTF16:
        raise InputError("UTF-16 text", path, "save it as UTF-8")
    return raw, stack.enter_context(_unpacked(raw)) if head == _GZIP else raw


def damaged(path: Path, error: BaseException, line: int | None = None) -> InputError:
    """What to say about a packed file that cannot be unpacked to its end."""
    what = "truncated gzip" if isinstance(error, EOFError) else f"damaged file ({error})"
    return InputError(what, path, "fetch the file again", line)


def blocks(path: Path, progress: Progress) -> Iterator[Block]:
    """The file's lines in blocks, without the mark that some editors put before UTF-8 text.

    Raises:
        InputError: no such file, a truncated or damaged gzip, or a line over 16 MiB; names the line where it stopped.
    """
    with ExitStack() as stack:
        raw, stream = open_bytes(path, stack)
        progress.start(path.name, path.stat().st_size, "bytes")
        first, done, rest = 0, 0, b""
        while True:
            try:
                chunk = stream.read(_BLOCK)
            except DAMAGED as error:
                raise damaged(path, error, first + 1) from None
            progress.advance(raw.tell() - done)
            done = raw.tell()
            if not chunk:
                break
            if first == 0 and not rest:
                chunk = chunk.removeprefix(_BOM)
            end = chunk.find(b"\n")
            if len(rest) + (len(chunk) if end < 0 else end) > LINE_LIMIT:
                raise InputError(
                    f"line over {LINE_LIMIT >> 20} MiB", path, "fetch the file again or cut that line out", first + 1
                )
            cut = chunk.rfind(b"\n") + 1
            if cut == 0:
                rest += chunk
                continue
            data = rest + chunk[:cut]
            rest = chunk[cut:]
            count = data.count(b"\n")
            yield Block(first, count, data)
            first += count
        if rest.strip(BLANK):
            yield Block(first, 1, rest + b"\n")
        progress.finish()


def ahead(items: Iterator[T], depth: int = 3) -> Iterator[T]:
    """The items, the next `depth` of them prepared in another thread while the caller works on this one."""
    with ThreadPoolExecutor(1) as pool:
        coming = deque(pool.submit(next, items, None) for _ in range(depth))
        while (item := coming.popleft().result()) is not None:
            coming.append(pool.submit(next, items, None))
            yield item
