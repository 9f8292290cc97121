"""The built-in picture descriptor "colour-edge-64", version 1: 64 numbers that need no weights and no network.

It serves image metrics (distance between generated and real pictures) and item features alike, so it is part of the
foundation. How a picture becomes numbers, exactly:

1. decoded by Pillow, transparency laid on white, converted to RGB, set in the middle of a white square;
2. resized to 64 x 64 by Pillow's bilinear filter (which averages when it shrinks), values divided by 255;
3. numbers 0-47: mean colour of each of 4 x 4 cells (row by row; R, G, B), stretched from [0, 1] to [-1, 1];
4. numbers 48-63: strength of edges in each of 2 x 2 quarters (row by row) in four directions (edges whose gradient
   points along 0, 45, 90, 135 degrees). With brightness Y = 0.299 R + 0.587 G + 0.114 B, central differences gx, gy
   (single-sided at the border) and m = sqrt(gx^2 + gy^2), a pixel at gradient angle t adds m max(0, cos 2t),
   m max(0, sin 2t), m max(0, -cos 2t), m max(0, -sin 2t); the number is 2 sqrt(mean over the quarter's pixels).

The root lifts edges, which cover few pixels, to the size of the colours. A changed definition is a new version.
"""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

NAME, VERSION, WIDTH = "colour-edge-64", 1, 64
_SIDE = 64  # pixels
_MOST_PIXELS = 64_000_000  # a larger picture is taken for a decompression bomb
_WHITE = (255, 255, 255)
_TRANSPARENT_MODES = ("RGBA", "LA", "PA")


def decode(data: bytes) -> Image.Image:
    """The picture in RGB, transparency laid on white.

    Raises:
        ValueError: the bytes are no picture that Pillow can read, or one of more than 64 million pixels.
    """
    try:
        with Image.open(BytesIO(data)) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                raise ValueError(f"picture of {picture.width} x {picture.height} pixels")
            if picture.mode in _TRANSPARENT_MODES or "transparency" in picture.info:
                layer = picture.convert("RGBA")
                return Image.alpha_composite(Image.new("RGBA", layer.size, (*_WHITE, 255)), layer).convert("RGB")
            return picture.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as problem:
        raise ValueError(f"not a picture that can be read ({type(problem).__name__})") from None


def _pixels(picture: Image.Image) -> NDArray[np.float64]:
    """Colours `(64, 64, 3)` in [0, 1]."""
    width, height = picture.size
    if width != height:
        side = max(width, height)
        square = Image.new("RGB", (side, side), _WHITE)
        square.paste(picture, ((side - width) // 2, (side - height) // 2))
        picture = square
    return np.asarray(picture.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR), dtype=np.float64) / 255


def _cells(values: NDArray[np.float64], a_side: int) -> NDArray[np.float64]:
    """Means `(a_side * a_side, channels)` over square cells of `(64, 64, channels)`, row by row."""
    step = _SIDE // a_side
    means: NDArray[np.float64] = values.reshape(a_side, step, a_side, step, -1).mean(axis=(1, 3))
    return means.reshape(a_side * a_side, -1)


def describe(picture: Image.Image) -> NDArray[np.float32]:
    """Descriptor `(64,)` of an RGB picture of any size."""
    pixels = _pixels(picture)
    down, across = np.gradient(pixels @ np.array([0.299, 0.587, 0.114]))
    strength = np.hypot(across, down)
    # m cos 2t = (gx^2 - gy^2) / m and m sin 2t = 2 gx gy / m: no angle has to be computed.
    safe = np.where(strength > 0, strength, 1)
    cosine, sine = (across**2 - down**2) / safe, 2 * across * down / safe
    directions = np.stack([cosine, sine, -cosine, -sine], axis=-1).clip(min=0)
    colours = 2 * _cells(pixels, 4) - 1  # (16, 3)
    edges = 2 * np.sqrt(_cells(directions, 2))  # (4, 4)
    return np.concatenate([colours.ravel(), edges.ravel()]).astype(np.float32)


def describe_all(pictures: Iterable[bytes]) -> NDArray[np.float32]:
    """Descriptors `(pictures, 64)` of encoded pictures; errors as in `decode`."""
    rows = [describe(decode(data)) for data in pictures]
    return np.stack(rows) if rows else np.empty((0, WIDTH), dtype=np.float32)
