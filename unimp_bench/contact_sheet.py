"""A contact sheet: pictures in rows under headings, each with a caption of a few short lines."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont, ImageOps

from unimp_bench.dataset import Dataset
from unimp_bench.descriptor import decode
from unimp_bench.inspection import Asked, Person, before, titles
from unimp_bench.questions import Reply

_SIDE, _MARGIN, _LINE, _COLUMNS = 160, 12, 15, 6  # pixels, and tiles in a row
_CAPTION_LINES = 3
_CHARACTERS = 24  # of a caption's line; at 12 pixels a line of these is as wide as a tile
_WHITE, _INK, _GREY = (255, 255, 255), (25, 25, 30), (225, 225, 228)
_MOST_LISTED = _COLUMNS  # items of a ranking that are shown
_MOST_RUNS = 4  # rankings of an example, the best ones
_MOST_PAST = 60  # interactions, the last ones
_MOST_BESIDE = _COLUMNS - 2  # interactions in one row with a target and what was drawn
_MOST_ASKED = 2 * _COLUMNS  # interactions beside answers to a person's questions


@dataclass(frozen=True)
class Tile:
    """One picture, encoded, or None where there is none; `frame` colours its border."""

    picture: bytes | None
    caption: str
    frame: tuple[int, int, int] | None = None


_TARGET, _DRAWN = (20, 140, 60), (200, 90, 20)


def sheet(sections: Sequence[tuple[str, Sequence[Tile]]]) -> bytes:
    """The sections as one PNG: a heading and rows of tiles each."""
    font, heading = ImageFont.load_default(12), ImageFont.load_default(17)
    tile_height = _SIDE + _CAPTION_LINES * _LINE + _MARGIN
    rows = [-(-len(tiles) // _COLUMNS) for _, tiles in sections]
    height = _MARGIN + sum(2 * _LINE + _MARGIN + count * tile_height for count in rows)
    width = _MARGIN + _COLUMNS * (_SIDE + _MARGIN)
    page = Image.new("RGB", (width, max(height, 2 * _MARGIN)), _WHITE)
    pen = ImageDraw.Draw(page)
    top = _MARGIN
    for (title, tiles), count in zip(sections, rows, strict=True):
        pen.text((_MARGIN, top), _shortened(title, 110), _INK, heading)
        top += 2 * _LINE
        for at, tile in enumerate(tiles):
            left = _MARGIN + at % _COLUMNS * (_SIDE + _MARGIN)
            _draw(page, pen, font, tile, (left, top + at // _COLUMNS * tile_height))
        top += count * tile_height + _MARGIN
    file = BytesIO()
    page.save(file, "PNG")
    return file.getvalue()


def _draw(
    page: Image.Image,
    pen: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    tile: Tile,
    corner: tuple[int, int],
) -> None:
    left, top = corner
    box = (left, top, left + _SIDE - 1, top + _SIDE - 1)
    try:
        picture = None if tile.picture is None else decode(tile.picture)
    except ValueError:
        picture = None
    if picture is None:
        pen.rectangle(box, fill=_GREY)
        pen.text((left + 46, top + _SIDE // 2 - 8), "no picture", _INK, font)
    else:
        picture = ImageOps.contain(picture, (_SIDE, _SIDE))
        page.paste(picture, (left + (_SIDE - picture.width) // 2, top + (_SIDE - picture.height) // 2))
    if tile.frame is not None:
        pen.rectangle(box, outline=tile.frame, width=4)
    lines = [part for line in tile.caption.splitlines() for part in textwrap.wrap(line, _CHARACTERS)]
    for at, line in enumerate(lines[:_CAPTION_LINES]):
        more = at == _CAPTION_LINES - 1 and len(lines) > _CAPTION_LINES
        pen.text(
            (left, top + _SIDE + 2 + at * _LINE), _shortened(line + " " * more * _CHARACTERS, _CHARACTERS), _INK, font
        )


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def of_person(data: Dataset, person: Person) -> bytes:
    """The user's history, what each example is about, and what runs answered, as a PNG."""
    listed = [item for one in person.asked for item in _items(one)]
    view = data.catalogue()
    items = view.items.filter(view.items["item_id"].is_in([*person.history["item_id"], *listed]))
    image_of = dict(items.select("item_id", "image_id").iter_rows())
    title_of = dict(items.select("item_id", "title").iter_rows())
    pictures = view.pictures(image for image in image_of.values() if image is not None)

    def tile(item: str, before: str, right: bool = False) -> Tile:
        caption = f"{before}\n{title_of.get(item) or item}"
        return Tile(pictures.get(image_of.get(item) or ""), caption, _TARGET if right else None)

    past = [
        tile(row["item_id"], f"{row['position']} {row['split']}" + (f", {row['rating']:g}/5" if row["rating"] else ""))
        for row in person.history.tail(_MOST_PAST).iter_rows(named=True)
    ]
    sections: list[tuple[str, list[Tile]]] = [(f"{person.user_id} ({person.cohort}): history, oldest first", past)]
    for one in person.asked:
        asked = f"{one.task}" + (f": {one.query}" if one.query else "")
        right = set(one.answer) if isinstance(one.answer, list) else set()
        if one.candidates:
            sections.append((f"{asked}, candidates", [tile(item, "", item in right) for item in one.candidates]))
        drawn = [Tile(said.answer, said.runner) for said in one.said if isinstance(said.answer, bytes)]
        if one.task == "image_generation":
            truth = [tile(item, "target", True) for item in right]
            sections.append((asked, truth + drawn))
            continue
        for said in one.said[:_MOST_RUNS]:
            if isinstance(said.answer, list) and not one.candidates:
                first = enumerate(said.answer[:_MOST_LISTED], 1)
                sections.append(
                    (f"{asked} by {said.runner}", [tile(item, f"#{n}", item in right) for n, item in first])
                )
    return sheet(sections)


def of_query(data: Dataset, people: Sequence[Person], query: str, runner: str | None = None) -> bytes:
    """A row a user: the last purchases, the target, and what runs drew for the same query (UniMP, figure 3), as a PNG.

    `runner` names the runs whose pictures are shown; all by default.
    """
    view = data.catalogue()
    named = {item for person in people for item in person.history["item_id"]}
    items = view.items.filter(view.items["item_id"].is_in(list(named)))
    image_of = dict(items.select("item_id", "image_id").iter_rows())
    title_of = dict(items.select("item_id", "title").iter_rows())
    pictures = view.pictures(image for image in image_of.values() if image is not None)

    def tile(item: str, said: str, frame: tuple[int, int, int] | None = None) -> Tile:
        return Tile(pictures.get(image_of.get(item) or ""), f"{said}{title_of.get(item) or item}", frame)

    sections = []
    for person in people:
        past = [tile(item, "") for item in before(person)["item_id"].tail(_MOST_BESIDE)]
        for one in person.asked:
            due = [tile(item, "target: ", _TARGET) for item in one.answer or ()]
            said = [one for one in one.said if runner is None or one.runner.split(" ")[0] == runner]
            drawn = [Tile(one.answer, one.runner, _DRAWN) for one in said if isinstance(one.answer, bytes)]
            sections.append((f"{query}: {person.user_id} ({person.cohort})", [*past, *due, *drawn]))
    return sheet(sections)


def _items(one: Asked) -> list[str]:
    right = one.answer if isinstance(one.answer, list) else []
    lists = [said.answer[:_MOST_LISTED] for said in one.said if isinstance(said.answer, list)]
    return [*right, *one.candidates, *(item for part in lists for item in part)]


def of_reply(data: Dataset, reply: Reply) -> bytes:
    """One user's history beside what a runner recommended, found, rated and drew, as a PNG."""
    view = data.catalogue()
    past = reply.subject.history[-_MOST_ASKED:]
    lists = {task: reply.said.get(task) or [] for task in ("recommendation", "search")}
    shown = [*(entry["item_id"] for entry in past), *lists["recommendation"], *lists["search"]]
    shown += [reply.item] if reply.item is not None else []
    items = view.items.filter(view.items["item_id"].is_in(shown))
    image_of = dict(items.select("item_id", "image_id").iter_rows())
    pictures = view.pictures(image for image in image_of.values() if image is not None)

    def tile(item: str, before: str) -> Tile:
        return Tile(pictures.get(image_of.get(item) or ""), "\n".join(filter(None, (before, *titles(view, [item])))))

    def listed(items: Sequence[str]) -> list[Tile]:
        return [tile(item, f"#{n}") for n, item in enumerate(items, 1)]

    who = f"{reply.subject.user_id} ({reply.subject.cohort}): history, oldest first"
    opinions = ["" if entry["rating"] is None else f"{entry['rating']:g}/5" for entry in past]
    sections = [(who, [tile(entry["item_id"], said) for entry, said in zip(past, opinions, strict=True)])]
    if lists["recommendation"]:
        sections.append((f"recommended by {reply.runner}", listed(lists["recommendation"])))
    if lists["search"]:
        sections.append((f"found for '{reply.query}'", listed(lists["search"])))
    rating, why = (reply.said.get(task) for task in ("preference", "explanation"))
    if reply.item is not None and (rating is not None or why):
        about = "" if rating is None else f"{rating:.1f}/5"
        sections.append((f"about it: {why}" if why else "rated", [tile(reply.item, about)]))
    if "image_generation" in reply.said:
        sections.append((f"drawn for '{reply.query}'", [Tile(reply.said["image_generation"], reply.runner)]))
    return sheet(sections)
