from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import polars as pl
import pytest

from unimp_bench.data.foreign import open_table
from unimp_bench.errors import InputError
from unimp_bench.progress import Silent

CSV = b'a,b\n007,"x, ""y""\nz"\n1,\n'
ROWS = [(0, "007", 'x, "y"\nz'), (1, "1", None)]


def read(path: Path, only: list[int] | None = None) -> list[tuple[object, ...]]:
    return open_table(path).read(["a", "b"], Silent(), None if only is None else pl.Series(only, dtype=pl.Int64)).rows()


def test_csv_plain_gzip_zip_and_tabs(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(CSV)
    (tmp_path / "bom.csv").write_bytes(b"\xef\xbb\xbf" + CSV.replace(b"\n1", b"\r\n1"))
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(CSV))
    (tmp_path / "t.tsv").write_bytes(CSV.replace(b"a,b", b"a\tb").replace(b'7,"', b'7\t"').replace(b"1,", b"1\t"))
    with zipfile.ZipFile(tmp_path / "t.csv.zip", "w") as archive:
        archive.writestr("inner/t.csv", CSV)
        archive.writestr("readme.md", "no table")
    for name in ("t.csv", "bom.csv", "t.csv.gz", "t.tsv", "t.csv.zip"):
        assert read(tmp_path / name) == ROWS, name
        assert read(tmp_path / name, [1]) == ROWS[1:], name


def test_json_lines_and_parquet(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(b'{"a": "007", "b": "x"}\n\n{"a": 1, "c": 2}\n'))
    assert open_table(tmp_path / "t.jsonl.gz").columns == ("a", "b", "c")
    assert read(tmp_path / "t.jsonl.gz") == [(0, "007", "x"), (2, "1", None)]
    pl.DataFrame({"a": ["007", "1"], "b": [1, 2], "c": [0, 0]}).write_parquet(tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet") == [(0, "007", 1), (1, "1", 2)]
    assert read(tmp_path / "t.parquet", [1]) == [(1, "1", 2)]


def test_records(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(CSV)
    assert list(open_table(tmp_path / "t.csv").records(Silent())) == [{"a": a, "b": b} for _, a, b in ROWS]


def test_rows_are_numbered_over_many_blocks(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{n},{'x' * 900}\n" for n in range(12_000)))
    found = open_table(tmp_path / "t.csv").read(["a"], Silent())
    assert found["source_row"].to_list() == found["a"].cast(pl.Int64).to_list() == list(range(12_000))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("t.csv", b"", "Empty CSV"),
        ("t.csv", b"a,b\n1,2\n1,2,3\n", "Row #3: Expected 2 columns, got 3"),
        ("t.csv", b"a,b\n1\n", "Row #2"),
        ("t.csv", b"a,b\n1,\xff\n", "UTF8"),
        ("t.csv", b"a,a\n1,2\n", "two columns of one name"),
        ("t.csv", b'a,b\n1,"' + b"x" * (9 << 20) + b'"\n', "row 1 below the header over 4 MiB in"),
        ("t.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 100_000)[:-9], "truncated gzip"),
        ("t.zip", b"PK\x03\x04" + b"0" * 50, "t.zip"),
        ("t.parquet", b"PAR1", "not a Parquet file"),
        ("t.jsonl", b"", "no column"),
        ("t.jsonl", b'{"a": 1}\n{"a": \n', "t.jsonl:2"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        read(tmp_path / name)
    with pytest.raises(InputError, match="no such file"):
        open_table(tmp_path / "absent.csv")


def test_a_row_that_is_too_long_is_numbered_wherever_it_stands(tmp_path: Path) -> None:
    long = b'8,"' + b"x" * (10 << 20) + b'"\n'
    rows = b'1,"a ""quoted"" word\nand a line end"\r\n\r\n2,b\n'
    for name, data, number in (
        ("short.csv", b"a,b\n" + rows + long + rows, 3),
        ("many.csv", b"a,b\n" + b"1,2\n" * 3_000_000 + b"3,4\n" + long, 3_000_002),
        ("last.csv", b"a,b\n" + rows * 2 + long.rstrip(), 5),
        ("open.csv", b"a,b\n" + rows + b'3,"' + b"4,5\n" * 3_000_000, 3),
        ("packed.csv.gz", gzip.compress(b"a,b\n" + rows + long, 1), 3),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=rf"row {number} below the header over 4 MiB in .*{name}; a quote may be"):
            read(tmp_path / name)


def test_a_zip_of_two_tables_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("a.csv", CSV)
        archive.writestr("b.csv", CSV)
    with pytest.raises(InputError, match="2 tables"):
        read(tmp_path / "t.zip")


def test_a_table_of_a_header_only_has_no_row(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,b\n")
    assert read(tmp_path / "t.csv") == []


@pytest.mark.parametrize("rows", [b'1,"x\n2,y\n', b'1,x\n2,"y', b'"1,x\n2,y\n', b'1,"x\n' + b"2,y\n" * 700_000])
def test_a_quote_that_is_never_closed_swallows_nothing_silently(tmp_path: Path, rows: bytes) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,b\n" + rows)
    with pytest.raises(InputError, match=r"quote that is never closed, in row #[23]|Row #2: .*is a quote open"):
        read(tmp_path / "t.csv")


def test_a_quote_left_open_in_the_header(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b'a,"b\n1,2\n')
    with pytest.raises(InputError):
        open_table(tmp_path / "t.csv").read(["a"], Silent())


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\r", b"\n\n"])
def test_any_end_of_a_table_is_an_end(tmp_path: Path, end: bytes) -> None:
    (tmp_path / "t.csv").write_bytes(b'a,b\n1,2\n3,"x\ny"' + end)
    assert read(tmp_path / "t.csv") == [(0, "1", "2"), (1, "3", "x\ny")]


def test_damage_inside_packed_tables_is_told(tmp_path: Path) -> None:
    rows = b"a,b\n" + b"".join(b"%d,%d\n" % (n, n * 7) for n in range(200_000))
    with zipfile.ZipFile(tmp_path / "t.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("t.csv", rows)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(rows))
    frame = pl.DataFrame({"a": [str(n) for n in range(100_000)], "b": ["x"] * 100_000})
    frame.write_parquet(tmp_path / "t.parquet")
    for name in ("t.zip", "t.csv.gz", "t.parquet"):
        data = bytearray((tmp_path / name).read_bytes())
        middle = 300 if name == "t.parquet" else len(data) // 2
        data[middle : middle + 2_000] = bytes(2_000)
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=name):
            read(tmp_path / name)


@pytest.mark.parametrize(("flag", "method", "told"), [(1, 0, "password"), (0, 97, "compression method")])
def test_a_locked_or_oddly_packed_zip_is_not_called_damaged(tmp_path, flag, method, told):
    path = tmp_path / "t.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", "user_id,item_id\nu,i\n")
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[6], data[entry + 8] = flag, flag  # general purpose bit 0: encrypted
    data[8], data[entry + 10] = method, method
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"cannot be opened .*{told}.*pack it anew"):
        open_table(path)
