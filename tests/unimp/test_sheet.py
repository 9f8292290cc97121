"""The contact sheet of generated pictures."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from unimp.sheet import Row, Tile, contact_sheet, sheet_png

RED, BLUE, GREEN = (255, 0, 0), (0, 0, 255), (0, 255, 0)


def plain(colour, shape=(32, 32)):
    return Image.new("RGB", shape, colour)


def as_png(picture):
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def places(page, colour):
    """Left, top, right and bottom of all pixels of a colour."""
    down, across = np.nonzero((np.asarray(page) == colour).all(-1))
    return across.min(), down.min(), across.max() + 1, down.max() + 1


def test_history_target_and_generated_stand_in_this_order():
    row = Row("user", [Tile(as_png(plain(RED)), "worn shoe")], Tile(plain(BLUE), "target"), Tile(plain(GREEN)))
    page = contact_sheet([row], "low top sneaker")
    red, blue, green = (places(page, colour) for colour in (RED, BLUE, GREEN))
    assert red[2] < blue[0] and blue[2] < green[0]
    assert red[1] == blue[1] == green[1]
    assert (red[2] - red[0], red[3] - red[1]) == (128, 128)


def test_rows_stand_below_each_other_with_the_latest_item_in_line():
    rows = [
        Row("one", [Tile(plain(RED))], Tile(None), Tile(None)),
        Row("two", [Tile(None), Tile(None), Tile(plain(BLUE))], Tile(None), Tile(plain(GREEN))),
    ]
    page = contact_sheet(rows, "title")
    red, blue, green = (places(page, colour) for colour in (RED, BLUE, GREEN))
    assert red[0] == blue[0] and red[3] < blue[1]
    assert green[2] < page.width


def test_a_missing_picture_is_a_frame_with_words():
    def frame(tile):
        page = np.asarray(contact_sheet([Row("user", [], Tile(plain(RED)), tile)], "title"))
        left = places(page, RED)[2]
        return page[:, left:]

    # (255, 255, 255) would leave the frame without a single dark pixel.
    blank = frame(Tile(plain((255, 255, 255))))
    missing = frame(Tile(None))
    assert missing.shape == blank.shape
    assert (missing < 200).sum() > (blank < 200).sum() + 100
    assert not np.array_equal(missing, frame(Tile(b"<html>no picture</html>")))


@pytest.mark.parametrize("shape", [(1, 1), (300, 20), (20, 300), (256, 256)])
def test_a_picture_keeps_its_proportions_inside_its_frame(shape):
    page = contact_sheet([Row("user", [], Tile(plain(RED, shape)), Tile(None))], "title")
    left, top, right, bottom = places(page, RED)
    assert max(right - left, bottom - top) == 128
    assert (right - left) / (bottom - top) == pytest.approx(shape[0] / shape[1], rel=0.1)


def test_captions_change_the_sheet_and_long_ones_do_not_grow_it():
    def page(caption):
        return contact_sheet([Row("user", [], Tile(None, caption), Tile(None))], "title")

    assert page("a").tobytes() != page("b").tobytes()
    assert page("many words " * 50).size == page("").size


def test_transparency_is_white():
    clear = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    page = contact_sheet([Row("user", [], Tile(plain(RED)), Tile(clear))], "t")
    assert page.mode == "RGB"
    _, top, right, _ = places(page, RED)
    assert (np.asarray(page)[top + 5 : top + 100, right + 20 : right + 100] == 255).all()


def test_no_rows_and_the_png():
    assert contact_sheet([], "nothing").width > 0
    row = Row("user", [], Tile(plain(RED)), Tile(plain(GREEN)))
    with Image.open(BytesIO(sheet_png([row], "title"))) as read:
        assert read.format == "PNG" and read.convert("RGB").tobytes() == contact_sheet([row], "title").tobytes()
