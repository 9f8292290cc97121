"""Pixels of pictures by place, and what is measured of them or made from them.

n pictures, s pixels a side
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unimp.errors import UnimpError
from unimp.pictures import Pixels, read_pictures

_DECODED_BYTES = 1 << 30  # pictures that fit are decoded once, others whenever they are drawn


class Source:
    """Pixels `(rows, s, s, 3)` of pictures by place, whether they come encoded or not."""

    def __init__(self, pictures: Sequence[bytes] | Pixels, size: int, *, keep: bool = True) -> None:
        self.pictures, self.size = pictures, size
        if isinstance(pictures, np.ndarray):
            if pictures.dtype != np.uint8 or pictures.shape[1:] != (size, size, 3):
                wanted = f"uint8 (n, {size}, {size}, 3)"
                raise UnimpError(f"pixels are {pictures.dtype} {pictures.shape}; the image tokenizer takes {wanted}")
        elif keep and len(pictures) * size * size * 3 <= _DECODED_BYTES:
            self.pictures = read_pictures(pictures, size)

    def __call__(self, rows: NDArray[np.intp]) -> Pixels:
        """Pixels `(rows, s, s, 3)`; errors as in `read_pictures`."""
        if isinstance(self.pictures, np.ndarray):
            return self.pictures[rows]
        return read_pictures([self.pictures[row] for row in rows], self.size, [f"number {row}" for row in rows])

    def digest(self) -> str:
        """Sha256 over all pictures, in order."""
        found = hashlib.sha256()
        for picture in self.pictures:
            found.update(picture.tobytes() if isinstance(picture, np.ndarray) else picture)
        return found.hexdigest()


def psnr(made: Pixels, due: Pixels) -> float:
    """Peak signal-to-noise ratio of pixels of one shape in decibels: 10 log10(255^2 / mean squared error)."""
    error = float(np.mean((made.astype(np.float64) - due.astype(np.float64)) ** 2))
    return float(10 * np.log10(255**2 / max(error, 1e-10)))


def png(picture: Image.Image) -> bytes:
    """A picture as a PNG file."""
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
