"""Rendered product photos: the shape tells the kind of product, palette and pattern tell the style.

Every picture stands apart in size, tilt, place, light and phase of the pattern, drawn from the item's id.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from unimp_bench.data.sources.synthetic.shapes import SHAPES, Points
from unimp_bench.data.sources.synthetic.world import GENERATOR_VERSION, STYLES
from unimp_bench.keyed import string_key

_FINER = 2  # drawn so many times larger and then reduced
_PALETTES: tuple[tuple[tuple[int, int, int], ...], ...] = (
    ((232, 106, 92), (252, 233, 214), (196, 72, 66)),  # coral and cream
    ((34, 134, 138), (226, 244, 240), (16, 92, 100)),  # teal and mint
    ((214, 162, 48), (122, 78, 40), (246, 220, 150)),  # mustard and brown
    ((118, 82, 168), (206, 190, 232), (78, 48, 126)),  # violet and lilac
    ((40, 42, 48), (236, 236, 234), (118, 120, 126)),  # black and white
    ((78, 138, 72), (198, 218, 150), (44, 92, 52)),  # leaf green
    ((240, 150, 186), (120, 180, 232), (250, 224, 236)),  # rose to sky
    ((206, 48, 52), (38, 78, 168), (246, 206, 62)),  # red, blue and yellow
)
_TRIMS = ((88, 76, 66), (148, 146, 142), (206, 198, 184), (64, 66, 72), (232, 230, 226))

Pixels = NDArray[np.float32]


def _pattern(style: int, x: Pixels, y: Pixels, rng: np.random.Generator) -> NDArray[np.int64]:
    """Which palette colour `(height, width)` each point wears; x and y in tilted units of the picture."""
    u, v = x * 7 + rng.random(), y * 7 + rng.random()
    left, top = u % 1, v % 1  # within a cell of the pattern
    if style == 0:  # stripes
        worn = np.where(top < 0.5, 0, 1)
    elif style == 1:  # dots
        worn = np.where(np.hypot(left - 0.5, top - 0.5) < 0.28, 1, 0)
    elif style == 2:  # checks
        worn = np.where((left < 0.5) & (top < 0.5), 1, np.where((left < 0.5) | (top < 0.5), 0, 2))
    elif style == 3:  # zigzag
        worn = np.where((v + np.abs(left - 0.5)) % 1 < 0.5, 0, 1)
    elif style == 4:  # diagonal pinstripes
        worn = np.where((u + v) % 1 < 0.3, 1, 0)
    elif style == 5:  # leaves, every other row set off by half
        leaf = np.abs((u + np.floor(v) % 2 * 0.5) % 1 - 0.5) * 2 + np.abs(top - 0.5) < 0.5
        worn = np.where(leaf, 1, np.where(top < 0.08, 2, 0))
    elif style == 6:  # broad soft bands
        wave = np.sin(v * 1.2 + np.sin(u))
        worn = np.where(wave > 0.35, 1, np.where(wave < -0.7, 2, 0))
    else:  # colour blocks
        worn = (np.floor(u * 0.8).astype(np.int64) * 7 + np.floor(v * 0.8).astype(np.int64) * 13) % 31 % 3
    return worn.astype(np.int64)


def render(item_id: str, shape: str, style: int, pixels: int) -> bytes:
    """A square JPEG of a product.

    Args:
        item_id: seeds what may vary between items of one shape and style.
        shape: a key of `SHAPES`.
        style: 0 to 7, names palette and pattern.
        pixels: side length.
    """
    assert 0 <= style < STYLES
    rng = np.random.default_rng([string_key(item_id, "picture", GENERATOR_VERSION)])
    side = pixels * _FINER
    scale, angle = rng.uniform(0.8, 0.98), rng.normal(0.0, 0.08)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = 0.5 + rng.uniform(-0.03, 0.03, 2)

    def placed(points: Points) -> list[tuple[float, float]]:
        return [(float(px), float(py)) for px, py in ((np.array(points) - 0.5) @ turn.T + shift) * side]

    # 0 background, 255 body, 128 trim: painter's order, so later parts cover earlier ones.
    layers = Image.new("L", (side, side), 0)
    pen = ImageDraw.Draw(layers)
    for trim, points in SHAPES[shape]:
        pen.polygon(placed(points), fill=128 if trim else 255)
    layer = np.asarray(layers)

    tilt = rng.uniform(-0.3, 0.3)
    y, x = (np.mgrid[:side, :side] / side).astype(np.float32)
    along, across = x * np.cos(tilt) + y * np.sin(tilt), y * np.cos(tilt) - x * np.sin(tilt)
    palette = np.array(_PALETTES[style], dtype=np.float32) + rng.normal(0, 7, (3, 3)).astype(np.float32)
    backdrop = np.float32(rng.uniform(244, 254)) - 14 * y[..., None] ** 2
    picture = np.broadcast_to(backdrop, (side, side, 3)).copy()
    shadow = Image.fromarray(layer).point(lambda value: 60 if value else 0).filter(ImageFilter.GaussianBlur(side / 40))
    picture -= np.roll(np.asarray(shadow, dtype=np.float32), (side // 40, side // 60), (0, 1))[..., None]
    body, trim_mask = layer == 255, layer == 128
    picture[body] = palette[_pattern(style, along, across, rng)[body]]
    picture[trim_mask] = _TRIMS[rng.integers(len(_TRIMS))]
    light = np.float32(1.08) - np.float32(rng.uniform(0.15, 0.3)) * (0.6 * x + 0.4 * y)
    picture = np.where((layer > 0)[..., None], picture * light[..., None], picture)
    picture += rng.normal(0, 2.0, picture.shape).astype(np.float32)
    image = Image.fromarray(picture.clip(0, 255).astype(np.uint8)).resize((pixels, pixels), Image.Resampling.LANCZOS)
    out = BytesIO()
    image.save(out, "JPEG", quality=88)
    return out.getvalue()
