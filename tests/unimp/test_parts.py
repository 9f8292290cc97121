"""What a store of pictures says of itself, and what becomes of it where it cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.unimp import learning_shop
from unimp import parts
from unimp.errors import CheckpointError


def test_a_store_covers_what_it_names(tmp_path: Path) -> None:
    items = learning_shop.shop().items
    names = sorted({name for name in items.picture_ids if name is not None})
    assert names and not parts.covers(tmp_path, items)
    (tmp_path / parts.PICTURES).write_text(json.dumps([*names, "another"]))
    assert parts.covers(tmp_path, items)
    (tmp_path / parts.PICTURES).write_text(json.dumps(names[1:]))
    assert not parts.covers(tmp_path, items)


@pytest.mark.parametrize("said", ['["a", "b', "3", ""])
def test_a_damaged_note_is_one_line(tmp_path: Path, said: str) -> None:
    (tmp_path / parts.PICTURES).write_text(said)
    with pytest.raises(CheckpointError, match=r"ids.json is damaged .*; remove") as caught:
        parts.covers(tmp_path, learning_shop.shop().items)
    assert "\n" not in str(caught.value)
