"""Pictures of items as MRG looks at them: thumbnails for a map of regions, or one vector by a named encoder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from unimp_baselines.mrg_net import SIDE
from unimp_bench.dataset import Catalogue
from unimp_bench.features.content import each, picture_ids
from unimp_bench.features.making import SHUFFLED
from unimp_bench.keyed import string_keys
from unimp_bench.progress import Progress

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Pictures:
    """Thumbnails `(pictures, 3, 64, 64)` or vectors `(pictures, width)`, and the row of each item's `(items,)`, or -1.

    Many items may show one picture, so thumbnails stand here once. `digest` is that of an encoder's features.
    """

    values: NDArray[np.generic]
    rows: NDArray[np.int64]
    digest: str | None = None

    @property
    def width(self) -> int:
        """Numbers of a vector; 0 for thumbnails."""
        return 0 if self.values.ndim > 2 else self.values.shape[1]

    def of(self, places: NDArray[np.int64]) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Pictures of items by `item_index` (-1: an unknown one), and which are there; others' have no meaning."""
        rows = np.where(places >= 0, self.rows[places], -1)
        return self.values[rows], rows >= 0


def thumbnails(view: Catalogue, progress: Progress, shuffle: int | None) -> Pictures:
    """Pictures in the middle of a white square, scaled to 64 x 64 pixels.

    Args:
        view: the items.
        progress: told of the pictures.
        shuffle: a seed by which items get each other's pictures, as features `@shuffled` do; None: their own.
    """
    ids = picture_ids(view.items)
    values = np.empty((len(ids), 3, SIDE, SIDE), dtype=np.uint8)
    each(view, ids, scaled, values, progress)
    place = {name: row for row, name in enumerate(ids)}
    rows = np.array([place.get(name, -1) for name in view.items["image_id"].to_list()], dtype=np.int64)
    if shuffle is not None:
        ring = np.flatnonzero(rows >= 0)
        ring = ring[np.argsort(string_keys(view.items["item_id"].gather(ring), SHUFFLED, shuffle), kind="stable")]
        rows[ring] = rows[np.roll(ring, -1)]
    return Pictures(values, rows)


def scaled(pictures: list[Image.Image]) -> Pixels:
    """Thumbnails `(pictures, 3, 64, 64)` of RGB pictures of any size."""
    white, filter_ = (255, 255, 255), Image.Resampling.BILINEAR
    squares = [ImageOps.pad(picture, (SIDE, SIDE), filter_, color=white) for picture in pictures]
    return np.stack([np.asarray(square) for square in squares]).transpose(0, 3, 1, 2)
