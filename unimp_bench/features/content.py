"""What of a catalogue an encoder reads: each item's text, and pictures, a few at a time.

Prices are left out of the text: as a word, a price tells no more than that two items cost the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from unimp_bench import tables
from unimp_bench.dataset import Catalogue
from unimp_bench.descriptor import decode
from unimp_bench.errors import IncompleteError
from unimp_bench.features.protocol import Modality, Present, Values
from unimp_bench.progress import Progress
from unimp_bench.schemas import IMAGES

_TEXT_VERSION = 1  # raised when `texts` says something else of an item
_ROWS = 256  # encoded pictures in memory at a time
PICTURES = 32  # decoded ones

Made = NDArray[np.generic]


def texts(items: pl.DataFrame) -> list[str]:
    """Text of each item: title, brand, category path and attributes' values, "" where it has none of them."""
    path = pl.col("categories").list.join(" ", ignore_nulls=True)
    values = pl.col("attributes").list.eval(pl.element().struct.field("value")).list.join(" ", ignore_nulls=True)
    whole = pl.concat_str("title", "brand", path, values, separator=" ", ignore_nulls=True).fill_null("")
    return items.select(whole.str.replace_all(r"\s+", " ").str.strip_chars()).to_series().to_list()


def fingerprint(view: Catalogue, *modalities: Modality) -> str:
    """SHA-256 of what items say and show, in order; pictures count by `image_id`, the SHA-256 of their bytes."""
    columns = [view.items["item_id"].to_list()]
    if "text" in modalities:
        columns.append(texts(view.items))
    if "image" in modalities:
        columns.append(view.items["image_id"].fill_null("").to_list())
    digest = hashlib.sha256(f"{_TEXT_VERSION} {' '.join(modalities)}\n".encode())
    for row in zip(*columns, strict=True):
        digest.update("\0".join(row).encode("utf-8", "surrogatepass"))
        digest.update(b"\n")
    return digest.hexdigest()


def picture_ids(items: pl.DataFrame) -> list[str]:
    """Different pictures that items show, sorted."""
    return items["image_id"].drop_nulls().unique().sort().to_list()


def opened(view: Catalogue, ids: Sequence[str]) -> Iterator[tuple[list[str], list[Image.Image]]]:
    """Pictures by id, decoded in RGB, some dozens at a time; files are read once, in their own order.

    Raises:
        IncompleteError: a picture is not there or cannot be read.
    """
    wanted = set(ids)
    for file in view.images:
        for batch in tables.batches(file, IMAGES, rows=_ROWS):
            here = batch.filter(pl.col("image_id").is_in(list(wanted)))
            wanted.difference_update(here["image_id"])
            for part in here.iter_slices(PICTURES):
                names = part["image_id"].to_list()
                files = part["image"].struct.field("bytes").to_list()
                yield names, [_decoded(name, data) for name, data in zip(names, files, strict=True)]
    if wanted:
        raise IncompleteError(f"picture {min(wanted)} is named by an item but not there; build the dataset again")


def _decoded(name: str, data: bytes) -> Image.Image:
    try:
        return decode(data)
    except ValueError as problem:
        raise IncompleteError(f"picture {name}: {problem}; build the dataset again") from None


def each(
    view: Catalogue, ids: Sequence[str], look: Callable[[list[Image.Image]], Made], out: Made, progress: Progress
) -> None:
    """Fill `out` `(ids, width)` with what `look` makes of some pictures at a time, `(pictures, width)`."""
    place = {name: row for row, name in enumerate(ids)}
    progress.start("pictures", len(ids), "pictures")
    for names, pictures in opened(view, ids):
        out[[place[name] for name in names]] = look(pictures)
        progress.advance(len(names))
    progress.finish()


def by_item(view: Catalogue, ids: Sequence[str], rows: Values) -> tuple[Values, Present]:
    """Rows `(ids, width)` of pictures as features `(items, width)`, and which items show a picture `(items,)`."""
    place = {name: row for row, name in enumerate(ids)}
    at = np.array([place[name] if name is not None else -1 for name in view.items["image_id"].to_list()], dtype=np.intp)
    present: Present = at >= 0
    values = np.zeros((len(at), rows.shape[1]), dtype=np.float32)
    values[present] = rows[at[present]]
    return values, present
