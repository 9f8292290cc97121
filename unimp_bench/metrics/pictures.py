"""Descriptors of the pictures that image metrics compare: what was generated, and what the catalogue shows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from unimp_bench.dataset import Catalogue
from unimp_bench.descriptor import WIDTH, decode, describe, describe_all
from unimp_bench.errors import IncompleteError, PredictionError

_PICTURES = 4096  # encoded pictures held at a time
_GREY = (128, 128, 128)

Descriptors = NDArray[np.float32]


def grey() -> Image.Image:
    """What an unanswered example counts as."""
    return Image.new("RGB", (64, 64), _GREY)


def opened(example: str, data: bytes) -> Image.Image:
    """The picture that an example was answered with.

    Raises:
        PredictionError: it is none.
    """
    try:
        return decode(data)
    except ValueError as problem:
        raise PredictionError(f"answer to example {example} is {problem}; write PNG or JPEG bytes") from None


def generated(pairs: pl.DataFrame) -> Descriptors:
    """Descriptors `(examples, 64)` of the answers, mid-grey where there is none.

    Raises:
        PredictionError: an answer is no picture.
    """
    rows = np.tile(describe(grey()), (pairs.height, 1))
    known: dict[bytes, Descriptors] = {}  # some systems answer everyone with the same picture
    for row, (example, data) in enumerate(pairs.select("example_id", "prediction").iter_rows()):
        if data is None:
            continue
        digest = sha256(data).digest()
        if digest not in known:
            known[digest] = describe(opened(example, data))
        rows[row] = known[digest]
    return rows


@dataclass
class Shown:
    """Descriptors of items' pictures, each picture described once."""

    view: Catalogue
    _known: dict[str, Descriptors] = field(default_factory=dict)

    def of(self, item_ids: Iterable[str]) -> dict[str, Descriptors]:
        """Descriptor `(64,)` by item id; items without a picture are left out."""
        asked = list(dict.fromkeys(item_ids))
        frame = self.view.items.filter(pl.col("item_id").is_in(asked)).select("item_id", "image_id").drop_nulls()
        pictures = dict(frame.iter_rows())
        ids = sorted(set(pictures.values()) - set(self._known))
        for start in range(0, len(ids), _PICTURES):
            part = self.view.pictures(ids[start : start + _PICTURES])
            self._known.update(zip(part, describe_all(part.values()), strict=True))
        found = {item: self._known.get(pictures[item]) for item in asked if item in pictures}
        return {item: descriptor for item, descriptor in found.items() if descriptor is not None}

    def targets(self, item_ids: list[str]) -> Descriptors:
        """Descriptors `(examples, 64)` of the target items.

        Raises:
            IncompleteError: a target has no picture.
        """
        found = self.of(item_ids)
        lacking = [item for item in item_ids if item not in found]
        if lacking:
            raise IncompleteError(f"target item {lacking[0]} has no picture to compare with; build the dataset again")
        return np.array([found[item] for item in item_ids], dtype=np.float32).reshape(-1, WIDTH)
