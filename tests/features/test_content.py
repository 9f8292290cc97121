from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tests.features.known import catalogue
from tests.shop import pictures
from unimp_bench import tables
from unimp_bench.dataset import Catalogue
from unimp_bench.errors import IncompleteError
from unimp_bench.features import content
from unimp_bench.schemas import IMAGES, conform


def test_texts_say_all_but_the_price() -> None:
    view = catalogue(
        ["Red  car\n", None, None],
        brand=["Acme", None, None],
        categories=[["Toys", "Cars"], [], None],
        price_usd=[3.0, 4.0, None],
        attributes=[[{"name": "Colour", "value": "red"}, {"name": "Size", "value": None}], [], None],
    )
    assert content.texts(view.items) == ["Red car Acme Toys Cars red", "", ""]


def test_fingerprints_tell_what_was_read() -> None:
    one = catalogue(["a", "b"], image_id=["p", None])
    named, shown = catalogue(["a", "c"], image_id=["p", None]), catalogue(["a", "b"], image_id=["q", None])
    assert content.fingerprint(one, "text") == content.fingerprint(shown, "text") != content.fingerprint(named, "text")
    assert content.fingerprint(one, "image") == content.fingerprint(named, "image")
    assert content.fingerprint(one, "image") != content.fingerprint(shown, "image")
    assert len({content.fingerprint(view, "text", "image") for view in (one, named, shown)}) == 3
    assert len(content.fingerprint(one, "text")) == 64


def _files(folder: Path, files: dict[str, bytes]) -> tuple[Path, ...]:
    """Two files of pictures."""
    made = []
    for number in range(2):
        names = sorted(files)[number::2]
        rows = [{"image_id": name, "image": {"bytes": files[name], "path": None}} for name in names]
        frame = conform(pl.DataFrame(rows).with_columns(width=16, height=16), IMAGES.columns)
        tables.write(frame, folder / f"images-{number}.parquet", IMAGES)
        made.append(folder / f"images-{number}.parquet")
    return tuple(made)


def test_pictures_come_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "_ROWS", 4)
    monkeypatch.setattr(content, "PICTURES", 3)
    view = Catalogue(catalogue(["a"]).items, frozenset(), _files(tmp_path, pictures()))
    wanted = ["i00", "i01", "i02", "i04", "i05", "i19"]
    got = list(content.opened(view, wanted))
    assert max(len(names) for names, _ in got) <= 3
    found = {name: picture.getpixel((8, 8)) for names, some in got for name, picture in zip(names, some, strict=True)}
    assert sorted(found) == wanted
    red = [found[name][0] for name in wanted]  # type: ignore[index]
    assert red == sorted(red)


def test_pictures_that_are_not_there_or_damaged_are_named(tmp_path: Path) -> None:
    view = Catalogue(catalogue(["a"]).items, frozenset(), _files(tmp_path, {**pictures(), "i99": b"GIF89a?"}))
    with pytest.raises(IncompleteError, match="picture i77 is named by an item but not there; build"):
        list(content.opened(view, ["i00", "i77"]))
    with pytest.raises(IncompleteError, match="picture i99: not a picture that can be read"):
        list(content.opened(view, ["i99"]))
