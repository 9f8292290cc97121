"""A contact sheet of generated pictures (UniMP, figure 3): a row a user, from the history to what the model drew."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

Picture = Image.Image | bytes | None
_Font = ImageFont.ImageFont | ImageFont.FreeTypeFont
_SIDE, _GAP, _LINE = 128, 12, 15  # pixels
_CAPTION_LINES, _CHARACTERS = 3, 19  # under a picture; at 12 pixels a line of these is as wide as one
_WHITE, _INK, _GREY, _RULE = (255, 255, 255), (25, 25, 30), (120, 120, 126), (205, 205, 210)
_TARGET, _MADE = (20, 140, 60), (200, 90, 20)  # frames
_NONE = "no picture"
_MOST_PIXELS = 64_000_000  # a larger picture is taken for a decompression bomb


@dataclass(frozen=True)
class Tile:
    """One picture, an image or a file's bytes, with its caption; None is drawn as an empty frame that says so."""

    picture: Picture
    caption: str = ""


@dataclass(frozen=True)
class Row:
    """One user: a heading, the history's pictures oldest first, the target and what was generated for it."""

    heading: str
    history: Sequence[Tile]
    target: Tile
    generated: Tile


def contact_sheet(rows: Sequence[Row], title: str) -> Image.Image:
    """The rows under a title, columns in line: history to the left, target (green) and generated (orange) at the right.

    A row with a shorter history begins further right, so that the latest item stands beside the target in all.
    """
    columns = max((len(row.history) for row in rows), default=0) + 2
    row_height = 2 * _LINE + _SIDE + _CAPTION_LINES * _LINE + _GAP
    width = max(_GAP + columns * (_SIDE + _GAP) + _GAP, 480)
    page = Image.new("RGB", (width, 5 * _LINE + len(rows) * row_height + _GAP), _WHITE)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    pen.text((_GAP, _GAP), textwrap.shorten(title, width // 9, placeholder="…"), _INK, ImageFont.load_default(17))

    def left(column: int) -> int:
        return _GAP + column * (_SIDE + _GAP) + (_GAP if column >= columns - 2 else 0)

    for column, name in ((0, "history"), (columns - 2, "target"), (columns - 1, "generated")):
        if column or columns > 2:
            pen.text((left(column), 3 * _LINE), name, _GREY, font)
    for place, row in enumerate(rows):
        top = 5 * _LINE + place * row_height
        pen.line((_GAP, top - 4, width - _GAP, top - 4), _RULE)
        pen.text((_GAP, top), textwrap.shorten(row.heading, width // 7, placeholder="…"), _INK, font)
        first = columns - 2 - len(row.history)
        tiles = [(first + k, tile, _RULE) for k, tile in enumerate(row.history)]
        tiles += [(columns - 2, row.target, _TARGET), (columns - 1, row.generated, _MADE)]
        for column, tile, colour in tiles:
            _draw(page, pen, font, tile, (left(column), top + 2 * _LINE - 6), colour)
    return page


def _draw(
    page: Image.Image,
    pen: ImageDraw.ImageDraw,
    font: _Font,
    tile: Tile,
    corner: tuple[int, int],
    colour: tuple[int, int, int],
) -> None:
    left, top = corner
    picture, said = _opened(tile.picture)
    if picture is not None:
        factor = _SIDE / max(picture.size)
        shape = [max(1, round(length * factor)) for length in picture.size]
        # Small pictures grow by the nearest pixel: what a model drew is to be seen as it is.
        how = Image.Resampling.NEAREST if factor >= 2 else Image.Resampling.BICUBIC
        at = (left + (_SIDE - shape[0]) // 2, top + (_SIDE - shape[1]) // 2)
        page.paste(picture.resize((shape[0], shape[1]), how), at)
    else:
        pen.text((left + _SIDE // 2, top + _SIDE // 2), said, _GREY, font, anchor="mm")
    pen.rectangle((left - 2, top - 2, left + _SIDE + 1, top + _SIDE + 1), outline=colour, width=2)
    lines = textwrap.wrap(tile.caption, _CHARACTERS)
    if len(lines) > _CAPTION_LINES:
        lines = [*lines[: _CAPTION_LINES - 1], lines[_CAPTION_LINES - 1][: _CHARACTERS - 1] + "…"]
    for number, line in enumerate(lines):
        pen.text((left, top + _SIDE + 5 + number * _LINE), line, _INK, font)


def _opened(picture: Picture) -> tuple[Image.Image | None, str]:
    """The picture in RGB, transparency on white; else None and what stands in its frame."""
    if picture is None:
        return None, _NONE
    try:
        image = Image.open(BytesIO(picture)) if isinstance(picture, bytes) else picture
        if image.width * image.height > _MOST_PIXELS:
            return None, "too large"
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            layer = image.convert("RGBA")
            white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
            return Image.alpha_composite(white, layer).convert("RGB"), ""
        return image.convert("RGB"), ""
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None, "unreadable"  # a sheet is for looking: the others of its pictures are still worth it


def sheet_png(rows: Sequence[Row], title: str) -> bytes:
    """`contact_sheet` as a PNG file."""
    file = BytesIO()
    contact_sheet(rows, title).save(file, "PNG")
    return file.getvalue()
