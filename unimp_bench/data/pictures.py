"""From the bytes of any picture to the one form that all pictures of a dataset have: RGB, at most 256 px, JPEG.

Unusual: nothing is decoded before its header has been checked. The five formats are told apart by their first bytes and
handed to that one Pillow reader, so that no other reader (EPS, TIFF, PDF, …) ever sees a stranger's file, and a
decompression bomb is refused by the size that it claims, at no cost. The same bytes always give the same result.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from typing import IO

import numpy as np
import PIL
from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from PIL.ImageFile import ImageFile

from unimp_bench.data.headers import bare_jpeg, bare_png, orientation, webp_pixels

LONGEST_SIDE = 256  # px
MOST_PIXELS = 40_000_000
MOST_BYTES = 20 * 1024 * 1024
_MOST_SCANS = 100  # of a progressive JPEG; each costs a pass over the whole picture, real ones have about ten
_QUALITY = 90
_SWATCH = 64  # px; a picture of one colour is no product photo up to this longest side
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Everything that Pillow's readers raise on bytes that are not what their header says.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    RuntimeError,
    AssertionError,
    AttributeError,
    struct.error,
    zlib.error,
)
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError)
# What a finished picture depends on besides its bytes; stored results of another recipe are not reused.
RECIPE = f"1 pillow={PIL.__version__} side={LONGEST_SIDE} quality={_QUALITY} pixels={MOST_PIXELS} bytes={MOST_BYTES}"


@dataclass(frozen=True)
class Picture:
    """A finished picture; `data` is its JPEG file, `image_id` the sha256 of it."""

    image_id: str
    data: bytes
    width: int
    height: int


@dataclass(frozen=True)
class Outcome:
    """What became of one file: a status of `schemas.IMAGE_STATUSES`, and the picture where that is `ok`."""

    status: str
    picture: Picture | None = None


def _reader(data: bytes) -> Callable[[IO[bytes]], ImageFile] | None:
    """The Pillow class that reads files with these first bytes."""
    kinds: tuple[tuple[bytes, Callable[[IO[bytes]], ImageFile]], ...] = (
        (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
        (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
        (b"GIF87a", GifImagePlugin.GifImageFile),
        (b"GIF89a", GifImagePlugin.GifImageFile),
        (b"BM", BmpImagePlugin.BmpImageFile),
    )
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WebPImagePlugin.WebPImageFile
    return next((reader for magic, reader in kinds if data.startswith(magic)), None)


def _rgb(image: Image.Image) -> Image.Image:
    """The picture in RGB; what is transparent shows white, 16-bit greys are scaled (Pillow would clip them)."""
    if image.mode.startswith("I"):
        greys = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray((greys // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        white = Image.new("RGBA", layers.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layers).convert("RGB")
    return image.convert("RGB")


def _finish(image: Image.Image, exif: bytes) -> Picture:
    """Downscale (never up), turn upright, encode without any metadata."""
    turn = _TURNS.get(orientation(exif))
    image = _rgb(image)
    longest = max(image.size)
    if longest > LONGEST_SIDE:
        width, height = (max(1, round(side * LONGEST_SIDE / longest)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
    if turn is not None:
        image = image.transpose(turn)
    file = BytesIO()
    # A new picture from the pixels alone: notes of the original (EXIF, ICC, comments) must not reach the encoder.
    bare = Image.frombytes("RGB", image.size, image.tobytes())
    bare.save(file, "JPEG", quality=_QUALITY, subsampling="4:2:0", optimize=False, progressive=False)
    data = file.getvalue()
    return Picture(sha256(data).hexdigest(), data, *image.size)


def _judged(image: ImageFile, exif: bytes) -> Outcome:
    """What an opened, not yet decoded file turns out to be."""
    width, height = image.size
    if width * height > MOST_PIXELS:
        return Outcome("too_large")
    # A JPEG can be decoded at a fraction of its size; twice the wanted one leaves the filter its work.
    image.draft(None, (2 * LONGEST_SIDE, 2 * LONGEST_SIDE))
    image.load()
    speck = min(width, height) <= 2
    if speck or (max(width, height) <= _SWATCH and _rgb(image).getcolors(1) is not None):
        return Outcome("placeholder")
    told = image.info.get("exif", b"")  # WebP
    return Outcome("ok", _finish(image, exif or (told if isinstance(told, bytes) else b"")))


def decode(data: bytes) -> Outcome:
    """Make the finished picture of a file's bytes.

    Statuses: `ok`; `too_large` (more than 20 MiB, a header that claims more than 40 million pixels, or a JPEG of more
    than 100 scans; nothing is decoded); `placeholder` (a side of at most 2 px, or a single colour up to 64 px);
    `not_an_image` (anything that is not a whole JPEG, PNG, GIF, WebP or BMP file). Of an animation the first frame
    counts.
    """
    reader = _reader(data)
    if len(data) > MOST_BYTES or (reader is WebPImagePlugin.WebPImageFile and webp_pixels(data) > MOST_PIXELS):
        return Outcome("too_large")
    if reader is None:
        return Outcome("not_an_image")
    exif = b""
    if reader is JpegImagePlugin.JpegImageFile:
        data, exif = bare_jpeg(data)
        if data.count(b"\xff\xda") > _MOST_SCANS:
            return Outcome("too_large")
    elif reader is PngImagePlugin.PngImageFile:
        data, exif = bare_png(data)
    try:
        with reader(BytesIO(data)) as image:
            return _judged(image, exif)
    except _BOMB:
        return Outcome("too_large")
    except _BROKEN:
        return Outcome("not_an_image")
