from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from unimp_bench.data.blocks import LINE_LIMIT, Block, ahead, blocks
from unimp_bench.errors import InputError
from unimp_bench.progress import Silent


def lines(path: Path) -> list[tuple[int, bytes]]:
    return [line for block in blocks(path, Silent()) for line in block.lines()]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda data: gzip.compress(data[:3]) + gzip.compress(data[3:])])
def test_lines_are_numbered_from_zero_and_blank_ones_count(tmp_path: Path, pack) -> None:
    path = tmp_path / "any.name"
    path.write_bytes(pack(b"one\r\n\n  \nfour\nlast without end"))
    assert lines(path) == [(0, b"one"), (3, b"four"), (4, b"last without end")]


def test_numbers_go_on_over_many_blocks(tmp_path: Path) -> None:
    path = tmp_path / "many.gz"
    path.write_bytes(gzip.compress(b"".join(b"%d %s\n" % (n, b"x" * 900) for n in range(12_000)), 1))
    found = lines(path)
    assert len(list(blocks(path, Silent()))) > 3
    assert [n for n, _ in found] == list(range(12_000))
    assert all(int(line.split()[0]) == n for n, line in found)


def test_progress_hears_every_packed_byte(tmp_path: Path) -> None:
    class Heard(Silent):
        total: int | None = 0
        bytes = 0

        def start(self, name: str, total: int | None = None, unit: str = "rows") -> None:
            self.total = total

        def advance(self, count: int = 1) -> None:
            self.bytes += count

    path, heard = tmp_path / "a.gz", Heard()
    path.write_bytes(gzip.compress(b"a\n" * 3_000_000))
    assert sum(block.count for block in blocks(path, heard)) == 3_000_000
    assert heard.bytes == heard.total == path.stat().st_size


@pytest.mark.parametrize("cut", [-1, -9, 400])
def test_a_truncated_gzip_is_an_error_not_an_end(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"".join(b"%d\n" % n for n in range(100_000)))[:cut])
    with pytest.raises(InputError, match=r"truncated gzip in .*a\.gz:\d+; fetch"):
        lines(path)


def test_a_damaged_gzip_is_an_error(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(b"".join(b"%d\n" % n for n in range(100_000))))
    data[len(data) // 2] ^= 0xFF
    path = tmp_path / "a.gz"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.gz"):
        lines(path)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        lines(tmp_path / "absent")


def test_a_line_of_100_mb_is_named_and_never_held(tmp_path: Path) -> None:
    path = tmp_path / "long.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(b"short\nshort too\n")
        for _ in range(100):
            file.write(b"x" * (1 << 20))
        file.write(b"\nshort again\n")
    tracemalloc.start()
    with pytest.raises(InputError, match=r"line over 16 MiB in .*long\.gz:3;"):
        lines(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60 << 20


def test_a_line_just_under_the_limit_passes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"a\n" + b"x" * LINE_LIMIT + b"\nb\n")
    assert [len(line) for _, line in lines(path)] == [1, LINE_LIMIT, 1]
    path.write_bytes(b"a\n" + b"x" * (LINE_LIMIT + 1) + b"\nb\n")
    with pytest.raises(InputError, match=r"a:2;"):
        lines(path)


def test_ahead_keeps_order_and_passes_errors_on() -> None:
    def items() -> Iterator[Block]:
        yield Block(0, 1, b"a\n")
        yield Block(1, 1, b"b\n")
        raise InputError("broken", "x", "mend")

    seen = []
    with pytest.raises(InputError, match="broken"):
        for block in ahead(items()):
            seen.append(block.first)
    assert seen == [0, 1]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_the_mark_of_utf8_is_no_part_of_the_first_line(tmp_path: Path, pack) -> None:
    path = tmp_path / "a"
    path.write_bytes(pack(b"\xef\xbb\xbf{}\n\xef\xbb\xbf{}\n"))
    assert lines(path) == [(0, b"{}"), (1, b"\xef\xbb\xbf{}")]


def test_utf16_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b", "utf-16")
    with pytest.raises(InputError, match=r"UTF-16 text in .*a\.csv; save it as UTF-8"):
        lines(path)


def test_empty_files_of_any_kind_have_no_line(tmp_path: Path) -> None:
    for data in (b"", gzip.compress(b""), b"\n\r\n \n"):
        (tmp_path / "a.gz").write_bytes(data)
        assert lines(tmp_path / "a.gz") == []
