"""Files of every usual form become the same answers, and what cannot be read is named by its row."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from unimp_bench.errors import InputError
from unimp_bench.progress import Silent
from unimp_bench.submissions.reading import Cells, read
from unimp_bench.tasks.spec import AnswerKind

WANTED = [("x:1", ["a", "b"]), ("y:1", ["c"]), ("z:1", None)]


def _read(path: Path, kind: AnswerKind = "ranking", text: str | None = None, separator: str | None = None) -> Cells:
    if text is not None:
        path.write_text(text)
    return read(path, kind, separator, Silent())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.csv", "example_id,item_ids\nx:1,a|b\ny:1,c\nz:1,\n"),
        ("p.csv", "example_id,item_ids\nx:1,a b\ny:1,c\nz:1,\n"),
        ("p.csv", 'example_id,item_ids\nx:1,"a, b"\ny:1,c\nz:1,\n'),
        ("p.csv", "item_ids,example_id\na;b,x:1\nc,y:1\n,z:1\n"),
        ("p.tsv", 'example_id\titem_ids\nx:1\t["a", "b"]\ny:1\t[\'c\']\nz:1\t\n'),
        (
            "p.jsonl",
            '{"example_id":"x:1","item_ids":["a","b"]}\n{"example_id":"y:1","item_ids":"c"}\n{"example_id":"z:1"}\n',
        ),
    ],
)
def test_texts_become_lists(tmp_path: Path, name: str, text: str) -> None:
    found = _read(tmp_path / name, text=text)
    assert found.frame.select("example_id", "item_ids").rows() == WANTED
    assert found.frame["row"].to_list() == [1, 2, 3]
    assert found.frame["scores"].to_list() == [None] * 3
    assert not found.faults


def test_parquet_keeps_lists_and_whole_numbers_are_ids(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pl.DataFrame({"example_id": ["x"], "item_ids": [[7, 8]], "scores": [[2.0, 1.0]], "note": [1]}).write_parquet(path)
    found = _read(path)
    assert found.frame.row(0) == ("x", ["7", "8"], [2.0, 1.0], 1)
    assert found.ignored == ("note",)


def test_an_id_with_blanks_needs_its_separator_named(tmp_path: Path) -> None:
    text = "example_id,item_ids\nx:1,big car\n"
    assert _read(tmp_path / "p.csv", text=text).frame["item_ids"].to_list() == [["big", "car"]]
    assert _read(tmp_path / "p.csv", text=text, separator="|").frame["item_ids"].to_list() == [["big car"]]


@pytest.mark.parametrize(
    ("cell", "detail"),
    [
        ("a||b", "an empty place between two separators"),
        ("[1.5]", "'[1.5]' holds what is no item id"),
        ("[open", "'[open' is no list"),
        ("[__import__('os')]", "is no list"),
    ],
)
def test_lists_that_cannot_be_read_are_faults(tmp_path: Path, cell: str, detail: str) -> None:
    found = _read(tmp_path / "p.csv", text=f"example_id,item_ids\nx:1,a|b\ny:1,{cell}\n")
    (fault,) = found.faults
    assert fault.what == "a list of items that cannot be read"
    assert fault.rows.select("row", "example_id").row(0) == (2, "y:1")
    assert detail in fault.rows["detail"][0]
    assert found.frame["item_ids"].to_list() == [["a", "b"], None]


def test_ratings_that_are_no_numbers(tmp_path: Path) -> None:
    found = _read(tmp_path / "p.csv", "rating", "example_id,rating\nx,4\ny,good\nz,\nw,nan\n")
    assert found.frame["rating"].to_list()[:3] == [4.0, None, None]
    assert found.frame["rating"].is_nan().to_list()[3]
    assert [(fault.what, fault.rows.rows()) for fault in found.faults] == [
        ("a rating that is no number", [(2, "y", "'good'")])
    ]


def test_pictures_are_taken_from_their_folder_and_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(b"picture")
    (tmp_path / "secret").write_bytes(b"no")
    (tmp_path / "in/link").symlink_to(tmp_path / "secret")
    names = ["a.png", "../secret", "/etc/hostname", "link", "b.png", "data:image/png;base64,aGk=", "data:,x"]
    path = tmp_path / "in/p.csv"
    pl.DataFrame({"example_id": [f"e{k}" for k in range(7)], "image": names}).write_csv(path)
    found = _read(path, "image")
    data = [cell and cell["bytes"] for cell in found.frame["image"].to_list()]
    assert data == [b"picture", None, None, None, None, b"hi", None]
    assert found.faults[0].rows["row"].to_list() == [2, 3, 4, 5, 7]
    assert "outside the predictions' folder" in found.faults[0].rows["detail"][0]


@pytest.mark.parametrize(
    ("frame", "kind", "message"),
    [
        (pl.DataFrame({"example": ["x"], "item_ids": ["a"]}), "ranking", "no column 'example_id'"),
        (pl.DataFrame({"example_id": ["x"], "items": ["a"]}), "ranking", "no column 'item_ids'"),
        (pl.DataFrame({"example_id": ["x"], "item_ids": [1.5]}), "ranking", "column 'item_ids' of type Float64"),
        (pl.DataFrame({"example_id": ["x"], "item_ids": [["a"]], "scores": [True]}), "ranking", "column 'scores'"),
        (pl.DataFrame({"example_id": ["x"], "rating": [True]}), "rating", "column 'rating' of type Boolean"),
        (pl.DataFrame({"example_id": ["x"], "text": [3]}), "text", "column 'text' of type Int64"),
        (pl.DataFrame({"example_id": ["x"], "image": [3]}), "image", "column 'image' of type Int64"),
    ],
)
def test_columns_of_another_kind_stop_at_once(
    tmp_path: Path, frame: pl.DataFrame, kind: AnswerKind, message: str
) -> None:
    frame.write_parquet(tmp_path / "p.parquet")
    with pytest.raises(InputError) as caught:
        _read(tmp_path / "p.parquet", kind)
    assert message in str(caught.value)
