from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from unimp_bench import descriptor
from unimp_bench.descriptor import decode, describe, describe_all


def png(picture: Image.Image) -> bytes:
    out = BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def test_a_plain_square_is_its_colour_without_edges() -> None:
    found = describe(Image.new("RGB", (100, 100), (255, 0, 51)))
    assert found.shape == (descriptor.WIDTH,) and found.dtype == np.float32
    np.testing.assert_allclose(found[:48].reshape(16, 3), np.tile([1, -1, -0.6], (16, 1)), atol=1e-6)
    assert (found[48:] == 0).all()


def test_colours_stand_where_they_are_in_the_picture() -> None:
    picture = Image.new("RGB", (64, 64), (0, 0, 0))
    picture.paste((255, 0, 0), (48, 0, 64, 16))  # the upper right cell
    cells = describe(picture)[:48].reshape(4, 4, 3)
    np.testing.assert_allclose(cells[0, 3], [1, -1, -1])
    assert (cells.reshape(16, 3)[[0, 1, 2, *range(4, 16)]] == -1).all()


@pytest.mark.parametrize(
    ("direction", "pattern"),
    [
        (0, lambda x, y: x % 16 < 8),  # upright stripes: the gradient points along 0 degrees
        (1, lambda x, y: (x + y) % 16 < 8),
        (2, lambda x, y: y % 16 < 8),
        (3, lambda x, y: (x - y) % 16 < 8),
    ],
)
def test_stripes_show_in_their_own_direction(direction: int, pattern) -> None:
    y, x = np.mgrid[:64, :64]
    stripes = (pattern(x, y) * 255).astype(np.uint8)
    edges = describe(Image.fromarray(np.stack([stripes] * 3, axis=-1)))[48:].reshape(4, 4)
    assert (edges.argmax(axis=1) == direction).all()
    assert (edges[:, direction] > 0.4).all()


def test_a_picture_keeps_its_proportions_on_white() -> None:
    wide = describe(Image.new("RGB", (100, 50), (0, 0, 0)))[:48].reshape(4, 4, 3)
    np.testing.assert_allclose(wide[[0, 3]], 1, atol=0.05)  # the filter reaches a little over the border
    assert (wide[[1, 2]] < -0.9).all()


def test_every_mode_of_picture_is_read() -> None:
    transparent = Image.new("RGBA", (10, 10), (255, 0, 0, 0))
    assert decode(png(transparent)).getpixel((5, 5)) == (255, 255, 255)
    grey, palette = Image.new("L", (10, 10), 77), Image.new("RGB", (10, 10), (1, 2, 3)).quantize(4)
    assert decode(png(grey)).getpixel((0, 0)) == (77, 77, 77)
    assert decode(png(palette)).getpixel((0, 0)) == (1, 2, 3)
    out = BytesIO()
    Image.new("CMYK", (10, 10), (0, 255, 255, 0)).save(out, "JPEG")
    assert decode(out.getvalue()).mode == "RGB"


def test_what_is_no_picture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    good = png(Image.effect_noise((50, 50), 40))
    for bad in (b"", b"<html>", good[: len(good) // 2], b"\x89PNG\r\n\x1a\n" + b"\0" * 50):
        with pytest.raises(ValueError, match="not a picture"):
            decode(bad)
    monkeypatch.setattr(descriptor, "_MOST_PIXELS", 2000)
    with pytest.raises(ValueError, match="50 x 50 pixels"):
        decode(good)


def test_several_pictures_and_none() -> None:
    pictures = [Image.new("RGB", (20, 20), (n, n, n)) for n in (0, 128, 255)]
    np.testing.assert_array_equal(describe_all(map(png, pictures)), np.stack([describe(p) for p in pictures]))
    assert describe_all([]).shape == (0, 64)
