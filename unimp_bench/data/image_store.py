"""What has become of every picture so far, kept so that a build that was killed goes on where it stopped.

Two files that only ever grow: the pictures one after another, and a journal with one line a result, written after its
picture. A kill between or within two writes leaves bytes that nobody points to, or a torn line that is passed over.
Item ids and addresses are only ever text in the journal, never names of files. Results of another recipe (another
Pillow, another size) have other files.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from io import FileIO
from pathlib import Path
from threading import Lock

import orjson

from unimp_bench.data.parts import alone, writable
from unimp_bench.data.pictures import RECIPE, Outcome, Picture
from unimp_bench.errors import IncompleteError


@dataclass(frozen=True)
class Found:
    """What is known of one source of a picture; `image_id` is null unless the status is `ok`."""

    status: str
    image_id: str | None = None


@dataclass(frozen=True)
class _Place:
    """Where a picture lies among the others, in bytes, and its size, in pixels."""

    offset: int
    length: int
    width: int
    height: int


class ImageStore:
    """Results by key (an address, or `sha256:` of a local file) and pictures by image_id; for many threads."""

    def __init__(self, work: Path) -> None:
        recipe = sha256(RECIPE.encode()).hexdigest()[:12]
        self._pack_path, self._journal_path = work / f"pictures-{recipe}.bin", work / f"journal-{recipe}.jsonl"
        self._found: dict[str, Found] = {}
        self._places: dict[str, _Place] = {}
        self._turn = Lock()
        self._load()

    def _load(self) -> None:
        """Read the journal; lines that are torn, or whose picture is not there in full, do not count."""
        if not self._journal_path.is_file():
            return
        end = self._pack_path.stat().st_size if self._pack_path.is_file() else 0
        for line in self._journal_path.read_bytes().split(b"\n"):
            try:
                key, status, image_id, offset, length, width, height = orjson.loads(line)
            except (ValueError, TypeError):
                continue
            if status == "ok":
                if offset + length > end:
                    continue
                # The last line counts: an older place may have been lost and filled with something else since.
                self._places[image_id] = _Place(offset, length, width, height)
            self._found[key] = Found(status, image_id)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the only permission to add results.

        Raises:
            IncompleteError: another process holds it, or the disk does not take what is added.
        """
        with (
            alone(self._journal_path.parent, ".lock", "gathers pictures into"),
            FileIO(self._pack_path, "ab") as self._pack,
            FileIO(self._journal_path, "ab") as self._journal,
        ):
            self._add(self._journal, b"\n")  # ends a line that a kill may have torn
            yield

    def _add(self, file: FileIO, data: bytes) -> None:
        """Append without a buffer: what was added survives a kill of this process."""
        with writable(Path(str(file.name))):
            if file.write(data) != len(data):
                raise OSError("no room")

    def get(self, key: str) -> Found | None:
        """What is known of that source."""
        return self._found.get(key)

    def put(self, key: str, outcome: Outcome) -> Found:
        """Keep a result for good."""
        picture = outcome.picture
        with self._turn:
            if picture is None:
                line = [key, outcome.status, None, 0, 0, 0, 0]
            else:
                place = self._places.get(picture.image_id) or self._append(picture)
                line = [key, "ok", picture.image_id, place.offset, place.length, place.width, place.height]
            self._add(self._journal, orjson.dumps(line) + b"\n")
            found = Found(outcome.status, picture.image_id if picture else None)
            self._found[key] = found
            return found

    def _append(self, picture: Picture) -> _Place:
        offset = self._pack.seek(0, 2)
        self._add(self._pack, picture.data)
        place = _Place(offset, len(picture.data), picture.width, picture.height)
        self._places[picture.image_id] = place
        return place

    def read(self, image_ids: list[str]) -> Iterator[Picture]:
        """The pictures of these ids, in this order.

        Raises:
            IncompleteError: one is not there, or is not what was written.
        """
        if not image_ids:
            return
        if not self._pack_path.is_file():
            raise IncompleteError(f"{self._pack_path} is missing; gather the pictures again")
        with self._pack_path.open("rb") as pack:
            for image_id in image_ids:
                place = self._places.get(image_id)
                if place is None:
                    raise IncompleteError(f"picture {image_id} is not in {self._pack_path}; gather the pictures again")
                pack.seek(place.offset)
                data = pack.read(place.length)
                if sha256(data).hexdigest() != image_id:
                    raise IncompleteError(
                        f"{self._pack_path} was damaged (picture {image_id}); remove {self._pack_path.parent} "
                        "and gather the pictures again"
                    )
                yield Picture(image_id, data, place.width, place.height)
