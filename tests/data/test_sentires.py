from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from unimp_bench.data.sentires import from_sentires
from unimp_bench.errors import InputError

ROWS = pl.DataFrame(
    {
        "user_id": ["u", "u", "v@office_products", "w"],
        "item_id": ["a", "b", "a", "a"],
        "domain": ["beauty", "beauty", "office_products", "toys_and_games"],
        "explanation": pl.Series([None] * 4, dtype=pl.String),
        "rating": [1.0, 2.0, 3.0, 4.0],
    }
)


def entry(*sentences: str) -> list[list[object]]:
    return [["feature", "opinion", sentence, 1] for sentence in sentences]


def write(folder: Path, name: str, *records: object) -> Path:
    text = "\n".join(json.dumps(record) for record in records).encode()
    (folder / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return folder / name


def test_sentences_find_their_interactions(tmp_path: Path) -> None:
    write(
        tmp_path,
        "reviews_Beauty.jsonl",
        {"user": "u", "item": "a", "sentence": entry(" the  scent is good ")},
        {"user": "u", "item": "a", "sentence": entry("a second line of the same pair")},
        {"user": "u", "item": "b", "rating": 2},
        {"user": "x", "item": "y", "sentence": entry("of no interaction")},
    )
    write(
        tmp_path, "reviews_Office_Products.jsonl.gz", {"user": "v", "item": "a", "sentences": entry("the pen is bad")}
    )
    found = from_sentires(tmp_path, ROWS)
    assert found["explanation"].to_list() == ["the scent is good", None, "the pen is bad", None]
    assert found.drop("explanation").equals(ROWS.drop("explanation"))
    assert found.columns == ROWS.columns


def test_the_draw_is_keyed_not_random(tmp_path: Path) -> None:
    rows = pl.DataFrame({"user_id": [f"u{k}" for k in range(60)], "item_id": "a", "domain": "beauty"})
    records = [{"user": f"u{k}", "item": "a", "sentence": entry("one", "two", "three")} for k in range(60)]
    write(tmp_path, "reviews_Beauty.jsonl", *records)
    one, again, other = (from_sentires(tmp_path, rows, seed)["explanation"].to_list() for seed in (0, 0, 1))
    assert one == again != other
    assert set(one) == {"one", "two", "three"}


@pytest.mark.parametrize(
    "line",
    ["not json", "[1]", '{"user": 1, "item": "a"}', '{"user": "u", "item": "a", "sentence": [["f", "o"]]}'],
)
def test_a_line_of_another_form_is_named(tmp_path: Path, line: str) -> None:
    path = write(tmp_path, "reviews_Beauty.jsonl", {"user": "u", "item": "a"})
    path.write_text(path.read_text() + "\n" + line)
    with pytest.raises(InputError, match=r"reviews_Beauty.jsonl:2; give"):
        from_sentires(tmp_path, ROWS)


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    (tmp_path / "reviews_Beauty.pickle").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    with pytest.raises(InputError, match="pickles are never opened"):
        from_sentires(tmp_path, ROWS)
    write(tmp_path, "reviews_Beauty.jsonl", {"user": "u", "item": "a", "sentence": entry("good scent here")})
    assert from_sentires(tmp_path, ROWS)["explanation"].to_list()[0] == "good scent here"


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"reviews_beauty.jsonl"):
        from_sentires(tmp_path, ROWS)
    with pytest.raises(InputError, match="no folder of Sentires files"):
        from_sentires(tmp_path / "none", ROWS)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    record = {"user": "u", "item": "a", "sentence": entry("good scent " * 500)}
    path = write(tmp_path, "reviews_Beauty.jsonl.gz", *[record] * 50)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="reviews_Beauty"):
        from_sentires(tmp_path, ROWS)


def test_half_a_surrogate_pair_is_replaced(tmp_path: Path) -> None:
    line = '{"user": "u", "item": "i", "sentence": [["sound", "good", "good \\ud800 sound", 1]]}\n'
    (tmp_path / "reviews_Baby.jsonl").write_text(line)
    rows = pl.DataFrame({"user_id": ["u"], "item_id": ["i"], "domain": ["baby"]})
    assert from_sentires(tmp_path, rows)["explanation"].to_list() == ["good \ufffd sound"]
