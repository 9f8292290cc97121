"""Pictures by their thumbnails' principal components (Sirovich & Kirby 1987; "eigenfaces", Turk & Pentland 1991).

    p pictures, 768 numbers of a thumbnail of 16 x 16 pixels in RGB, k <= 128 directions

A picture is laid on a white square, brought to 16 x 16 pixels, centred on the mean thumbnail, projected on the leading
right singular vectors and divided by one number, so that rows of the catalogue have a root-mean-square length of 1.
Mean, directions and that number are those of the catalogue without noise. Neither weights nor torch are needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unimp_bench.dataset import Catalogue
from unimp_bench.features.content import by_item, each, picture_ids
from unimp_bench.features.projection import WIDTH, components
from unimp_bench.features.protocol import Modality, Present, Values
from unimp_bench.runners.protocol import Context

SIDE = 16  # pixels
_WHITE = (255, 255, 255)
_BLOCK = 4096  # thumbnails that are widened to 64 bits at a time

Thumbnails = NDArray[np.uint8]


class Thumbnail:
    """Colours and coarse shapes: pixels of a small picture, brought to 128 numbers at most."""

    modality: ClassVar[Modality] = "image"

    def identity(self) -> str:
        """Version and settings."""
        return f"thumbnail 1 side={SIDE} width={WIDTH}"

    def encode(self, view: Catalogue, context: Context) -> tuple[Values, Present]:
        """Features `(items, k)` and which items have one."""
        known, shown = picture_ids(view.clean.items), picture_ids(view.items)
        ids = sorted({*known, *shown})
        small: Thumbnails = np.empty((len(ids), 3 * SIDE * SIDE), dtype=np.uint8)
        each(view, ids, shrunk, small, context.progress)
        row = {name: k for k, name in enumerate(ids)}
        mean, basis = principal(small[[row[name] for name in known]])
        rows = np.concatenate([((block - mean) @ basis).astype(np.float32) for block in _blocks(small)])
        return by_item(view, ids, rows)


def shrunk(pictures: list[Image.Image]) -> Thumbnails:
    """Thumbnails `(pictures, 768)` of RGB pictures of any size."""
    rows = []
    for picture in pictures:
        side = max(picture.size)
        square = Image.new("RGB", (side, side), _WHITE)
        square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        rows.append(np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BILINEAR)).ravel())
    return np.stack(rows)


def principal(small: Thumbnails) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean `(768,)` of thumbnails `(p, 768)` in [0, 1], and directions `(768, k)`, scaled as the module says."""
    mean = np.sum([block.sum(axis=0) for block in _blocks(small)], axis=0) / len(small)
    scatter = np.zeros((small.shape[1], small.shape[1]))
    for block in _blocks(small):
        scatter += (block - mean).T @ (block - mean)
    basis = components(scatter)
    spread = np.sqrt(np.trace(basis.T @ scatter @ basis) / len(small))
    return mean, basis / spread if spread > 0 else basis


def _blocks(small: Thumbnails) -> Iterator[NDArray[np.float64]]:
    """Some thumbnails at a time, values from 0 to 1."""
    for start in range(0, len(small), _BLOCK):
        yield small[start : start + _BLOCK] / 255
