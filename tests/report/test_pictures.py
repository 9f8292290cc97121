from __future__ import annotations

import base64
from io import BytesIO

from PIL import Image

from unimp_bench.report.pictures import SIDE, Album, thumbnail


def _picture(colour: tuple[int, int, int], size: tuple[int, int] = (400, 200)) -> bytes:
    file = BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "<script>described</script>"
    Image.new("RGB", size, colour).save(file, "JPEG", exif=exif)
    return file.getvalue()


def test_small_and_without_what_stood_beside_the_pixels() -> None:
    address = thumbnail(_picture((200, 30, 30)))
    assert address is not None
    kind, data = address.split(",")
    assert kind in ("data:image/webp;base64", "data:image/jpeg;base64")
    raw = base64.b64decode(data)
    assert b"described" not in raw
    with Image.open(BytesIO(raw)) as picture:
        assert picture.size == (SIDE, SIDE // 2)
        assert abs(picture.convert("RGB").getpixel((5, 5))[0] - 200) < 12  # type: ignore[index]


def test_each_once_and_never_more_than_the_budget() -> None:
    red, blue = _picture((200, 0, 0)), _picture((0, 0, 200), (40, 400))
    size = max(len(thumbnail(red) or ""), len(thumbnail(blue) or ""))
    album = Album(budget=size)
    assert [album.add(red), album.add(red), album.add(blue), album.add(red)] == [0, 0, None, 0]
    assert (len(album.addresses), album.left_out) == (1, 1)


def test_what_is_no_picture_has_no_number() -> None:
    album = Album()
    assert [album.add(b"<html>"), album.add(None), album.add(b"")] == [None, None, None]
    assert album.addresses == []
