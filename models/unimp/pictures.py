"""Pictures as the vision tower wants them: RGB, stretched to a square, normalised as CLIP was trained.

    n pictures, s pixels a side

The released code stretches directly to the square with a bicubic filter; it does not crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from unimp.errors import UnimpError

MEAN = (0.48145466, 0.4578275, 0.40821073)  # of CLIP's training pictures (Radford et al. 2021), values in [0, 1]
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
_MOST_PIXELS = 64_000_000  # a larger picture is taken for a decompression bomb
_TRANSPARENT_MODES = ("RGBA", "LA", "PA")

Pixels = NDArray[np.uint8]


def read_pictures(files: Sequence[bytes], size: int, names: Sequence[str] | None = None) -> Pixels:
    """Decoded pictures `(n, size, size, 3)` in RGB, stretched, transparency laid on white.

    Args:
        files: encoded pictures, JPEG, PNG or whatever else Pillow reads.
        size: pixels a side.
        names: what an error calls each picture; its place in `files` where not given.

    Raises:
        UnimpError: a picture that cannot be read, or one of more than 64 million pixels.
    """
    out = np.empty((len(files), size, size, 3), dtype=np.uint8)
    for place, data in enumerate(files):
        try:
            out[place] = np.asarray(_decoded(data).resize((size, size), Image.Resampling.BICUBIC))
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as problem:
            name = names[place] if names is not None else f"number {place}"
            raise UnimpError(
                f"picture {name} ({len(data)} bytes) cannot be read: {type(problem).__name__}; build the dataset again"
            ) from problem
    return out


def _decoded(data: bytes) -> Image.Image:
    with Image.open(BytesIO(data)) as picture:
        if picture.width * picture.height > _MOST_PIXELS:
            raise ValueError(f"{picture.width} x {picture.height} pixels")
        if picture.mode in _TRANSPARENT_MODES or "transparency" in picture.info:
            layer = picture.convert("RGBA")
            white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
            return Image.alpha_composite(white, layer).convert("RGB")
        return picture.convert("RGB")


def normalised(pixels: Tensor | Pixels) -> Tensor:
    """Pixels `(n, s, s, 3)`, 0 to 255, as the tower reads them: float `(n, 3, s, s)`, (value / 255 - mean) / std."""
    values = torch.as_tensor(pixels)
    mean = torch.tensor(MEAN, device=values.device)
    deviation = torch.tensor(DEVIATION, device=values.device)
    return ((values.float() / 255 - mean) / deviation).permute(0, 3, 1, 2).contiguous()
