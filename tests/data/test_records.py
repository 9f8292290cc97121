from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from unimp_bench.data.records import find_records, parse_json, read_columns
from unimp_bench.errors import InputError
from unimp_bench.progress import Silent

KINDS = {"u": pl.String, "r": pl.Float64}


def read(folder: Path, text: str | bytes, only: list[int] | None = None) -> list[tuple[object, ...]]:
    path = folder / "a.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_columns(path, KINDS, Silent(), None if only is None else np.array(only)).rows()


def test_three_rows(tmp_path: Path) -> None:
    text = '{"u": "a", "r": 1, "z": [1]}\n{"r": 2.5, "u": "b"}\n{"u": "c"}\n'
    assert read(tmp_path, text) == [(0, "a", 1.0), (1, "b", 2.5), (2, "c", None)]


def test_only_some_lines(tmp_path: Path) -> None:
    text = "".join(f'{{"u": "{n}", "r": {n}}}\n' for n in range(6))
    assert read(tmp_path, text, [1, 4]) == [(1, "1", 1.0), (4, "4", 4.0)]
    assert read(tmp_path, text, []) == []


def test_only_some_lines_over_many_blocks(tmp_path: Path) -> None:
    text = "".join(json.dumps({"u": str(n), "r": n, "pad": "x" * 500}) + "\n" for n in range(12_000))
    wanted = [0, 1, 3_999, 4_000, 7_654, 11_999]
    assert read(tmp_path, text, wanted) == [(n, str(n), float(n)) for n in wanted]


@pytest.mark.parametrize("only", [None, [0, 2]])
def test_a_value_of_another_type_is_null_and_the_row_stays(tmp_path: Path, only: list[int] | None) -> None:
    text = '{"u": "a", "r": "five"}\n\n{"u": null, "r": true}\n'
    assert read(tmp_path, text, only) == [(0, "a", None), (2, None, None)]


def test_blank_lines_count_as_lines_but_not_as_rows(tmp_path: Path) -> None:
    assert read(tmp_path, '\n{"u": "a", "r": 1}\r\n \n{"u": "b", "r": 2}') == [(1, "a", 1.0), (3, "b", 2.0)]


def test_both_ways_agree_on_odd_but_valid_values(tmp_path: Path) -> None:
    odd = [
        '{"u": 12, "r": 1e3}', '{"u": "\\u00e9\\ud83d\\ude00", "r": -0.0}', '{"u": "a", "r": 99999999999999999999999}',
        '{"x": {"u": "no"}, "u": "yes"}', "{}", '{"u": "a\\/b\\n"}',
    ]  # fmt: skip
    fast = read(tmp_path, "\n".join(odd))
    slow = read(tmp_path, "\n".join([*odd, '{"r": "no number: sends the block the slow way"}']))
    assert slow[:-1] == fast


@pytest.mark.parametrize(
    "bad",
    [
        '{"u": "a"', "[1, 2]", "5", "null", '{"u": "a"}{"u": "b"}', '{"u": "a"} x', "{'u': 'a'}", '{"r": NaN}',
        "<html>", '{"u": "a",}', '{"u": "tab\there"}',
    ],
)  # fmt: skip
def test_a_bad_line_is_named(tmp_path: Path, bad: str) -> None:
    with pytest.raises(InputError, match=r"a\.json:3;"):
        read(tmp_path, '{"u": "a"}\n{"u": "b"}\n' + bad + '\n{"u": "c"}\n')


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.json:2;"):
        read(tmp_path, b'{"u": "a"}\n{"u": "\xff\xfe"}\n')


def test_lone_surrogates_are_accepted_as_the_standard_parser_does() -> None:
    assert parse_json(b'{"u": "\\ud800"}') == {"u": "\ud800"}


def find(folder: Path, text: str, wanted: set[str], key: str = "asin") -> list[tuple[int, str, object]]:
    path = folder / "meta.json.gz"
    path.write_bytes(gzip.compress(text.encode()))
    return [(n, item, record.get("t")) for n, item, record in find_records(path, key, wanted, Silent())]


def test_only_wanted_records_are_parsed(tmp_path: Path) -> None:
    text = "{'asin': 'B1', 't': 'one'}\n{'asin': 'B2', 't': not a literal}\n{\"asin\": \"B3\", \"t\": \"three\"}\n\n"
    assert find(tmp_path, text, {"B1", "B3"}) == [(0, "B1", "one"), (2, "B3", "three")]


def test_the_same_words_inside_a_text_neither_hide_nor_fake_an_id(tmp_path: Path) -> None:
    lines = [
        """{'t': "it said 'asin': 'B9' here", 'asin': 'B1'}""",
        """{'t': "and 'asin': 'B1' there", 'asin': 'B2'}""",
        """{'t': 'asin', 'asin' : 'B3'}""",
        """{'t': 'x', u'asin': u'B4'}""",
    ]
    found = find(tmp_path, "\n".join(lines), {"B1", "B3", "B4"})
    assert [(n, item) for n, item, _ in found] == [(0, "B1"), (2, "B3"), (3, "B4")]


def test_windows_line_ends_and_text_that_is_no_utf8_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "meta.json"
    path.write_bytes(b"{'asin': 'B1'}\r\n{'asin': 'B2', 't': '\xff'}\r\n")
    assert [item for _, item, _ in find_records(path, "asin", {"B1"}, Silent())] == ["B1"]
    with pytest.raises(InputError, match=r"meta\.json:2;"):
        list(find_records(path, "asin", {"B2"}, Silent()))


@pytest.mark.parametrize(
    "bad",
    [
        "{'asin': __import__('os').system('touch WITNESS')}",
        "{'asin': 'B2', 't': __import__('os').system('touch WITNESS')}",
        "__import__('os').system('touch WITNESS')",
        "{'t': 'no id'}",
        "{'asin': 7, 't': 'no text'}",
        "<html>'asin': 'B2'</html>",
        "{'asin': 'B2'",
    ],
)
def test_code_and_lines_without_id_stop_the_build_and_nothing_runs(tmp_path: Path, bad: str) -> None:
    witness = tmp_path / "witness"
    with pytest.raises(InputError, match=r"meta\.json\.gz:2;"):
        find(tmp_path, "{'asin': 'B1'}\n" + bad.replace("WITNESS", str(witness)) + "\n", {"B2"})
    assert not witness.exists()


def test_a_row_does_not_depend_on_the_rows_around_it(tmp_path: Path) -> None:
    odd = ['{"u": 1.0, "r": "4"}', '{"u": 1e-7, "r": "inf"}', '{"u": true}', '{"u": [1], "u": "b"}', '{"u": 1e22}']
    alone = [read(tmp_path, line)[0][1:] for line in odd]
    assert alone[:3] == [("1", 4.0), ("0.0000001", float("inf")), ("true", None)]
    for neighbour in ('{"r": "no number"}', "\n", '{"r": 1E999}'):
        assert [row[1:] for row in read(tmp_path, "\n".join([*odd, neighbour]))][: len(odd)] == alone


@pytest.mark.parametrize("number", ["9" * 400, "1E999", "-1E999", '"1e999"'])
def test_a_number_beyond_all_bounds_is_a_bad_value_not_a_crash(tmp_path: Path, number: str) -> None:
    (row,) = read(tmp_path, f'{{"u": "a", "r": {number}}}')
    assert row[2] is None or np.isinf(row[2])


def test_an_empty_file_of_records_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the file is empty"):
        find(tmp_path, "", {"B1"})
