"""Hostile input: one clear line, exit code 1, nothing half-written; bad rows are counted and dropped."""

from __future__ import annotations

import gzip
import json
import resource
import struct
import zlib
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.calling import call

_DAY = 1_400_000_000 - 1_400_000_000 % 86_400
_FILE_LIMIT = 20_000  # bytes


def review(user: int, item: int, **change: Any) -> dict[str, Any]:
    return {
        "reviewerID": f"A{user}", "asin": f"B{item:03d}", "overall": 5.0, "summary": "good",
        "reviewText": "The strap is great and it fits well.", "unixReviewTime": _DAY + 86_400 * item, **change,
    }  # fmt: skip


def reviews() -> list[dict[str, Any]]:
    return [review(user, item) for user in range(8) for item in range(7)]


def meta(item: int) -> str:
    return repr({"asin": f"B{item:03d}", "title": f"Strap {item}", "categories": [["Music", "Straps"]], "price": 3.5})


def dump(folder: Path, rows: list[Any] | None = None, lines: list[str] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows or reviews())
    (folder / "reviews_Beauty_5.json.gz").write_bytes(gzip.compress(text.encode()))
    data = "".join(line + "\n" for line in lines or [meta(item) for item in range(7)])
    (folder / "meta_Beauty.json.gz").write_bytes(gzip.compress(data.encode()))
    return folder


def build(home: Path, raw: Path, *words: str, **options: Any) -> Any:
    return call(home, "build", "amazon", "--domains", "beauty", "--raw", raw, *words, **options)


def refused(done: Any, home: Path, *messages: str) -> None:
    assert done.returncode == 1, (done.stdout, done.stderr)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "Traceback" not in done.stderr
    for message in messages:
        assert message in errors[0]
    assert not (home / "data/amazon2014-beauty").exists()


def drops(home: Path) -> dict[str, int]:
    frame = pl.read_parquet(home / "data/amazon2014-beauty/drops.parquet")
    return dict(frame.group_by("reason").agg(pl.col("rows").sum()).iter_rows())


def test_the_clean_dump_builds(tmp_path: Path) -> None:
    done = build(tmp_path, dump(tmp_path / "raw"))
    assert done.returncode == 0, done.stderr
    assert "56 interactions, 8 users, 7 items" in done.stdout


def test_a_truncated_gzip(tmp_path: Path) -> None:
    file = dump(tmp_path / "raw") / "reviews_Beauty_5.json.gz"
    file.write_bytes(file.read_bytes()[:-20])
    refused(build(tmp_path, tmp_path / "raw"), tmp_path, "reviews_Beauty_5.json.gz", "truncated")


def test_a_metadata_line_that_is_code_is_never_run(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    code = f"{{'asin': 'B001', 'title': __import__('os').system('touch {witness}')}}"
    raw = dump(tmp_path / "raw", lines=[meta(0), code, *(meta(i) for i in range(2, 7))])
    refused(build(tmp_path, raw), tmp_path, "meta_Beauty.json.gz:2")
    bare = dump(tmp_path / "raw2", lines=[meta(0), f"__import__('os').system('touch {witness}')"])
    refused(build(tmp_path, bare), tmp_path, "meta_Beauty.json.gz:2")
    assert not witness.exists()


def test_a_line_of_100_megabytes(tmp_path: Path) -> None:
    raw = dump(tmp_path / "raw", rows=[*reviews(), json.dumps(review(9, 1, reviewText="x" * 100_000_000))])
    refused(build(tmp_path, raw), tmp_path, "reviews_Beauty_5.json.gz:57")


def test_a_line_that_is_no_json(tmp_path: Path) -> None:
    raw = dump(tmp_path / "raw", rows=[*reviews()[:3], '{"reviewerID": ', *reviews()[3:]])
    refused(build(tmp_path, raw), tmp_path, "reviews_Beauty_5.json.gz:4")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"overall": 0}, "rating_out_of_range"),
        ({"overall": 6}, "rating_out_of_range"),
        ({"overall": None}, "rating_missing"),
        ({"overall": "five"}, "rating_missing"),
        ({"unixReviewTime": -5}, "time_out_of_range"),
        ({"unixReviewTime": 99_999_999_999}, "time_out_of_range"),
        ({"unixReviewTime": None}, "time_missing"),
        ({"reviewerID": ""}, "empty_user_id"),
        ({"asin": None}, "empty_item_id"),
        ({"asin": "../../etc/passwd"}, "unsafe_item_id"),
        ({"reviewerID": "a/b"}, "unsafe_user_id"),
        ({"reviewerID": "a\u0000b"}, "unsafe_user_id"),
    ],
)
def test_a_bad_row_is_counted_and_dropped(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    done = build(tmp_path, dump(tmp_path / "raw", rows=[review(1, 2, **change), *reviews()]), "--keep-rejects")
    assert done.returncode == 0, done.stderr
    assert "56 interactions" in done.stdout
    assert drops(tmp_path) == {reason: 1}
    assert reason in (tmp_path / "data/amazon2014-beauty/rejects.csv").read_text()


def bomb(width: int, height: int) -> bytes:
    """A PNG that claims to be that large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def test_bad_pictures_get_a_status_and_stop_nothing(tmp_path: Path) -> None:
    raw = dump(tmp_path / "raw")
    (raw / "images").mkdir()
    (raw / "images/B000.png").write_bytes(bomb(60_000, 60_000))
    (raw / "images/B001.jpg").write_bytes(b"<html><body>404</body></html>")
    done = build(tmp_path, raw)
    assert done.returncode == 0, done.stderr
    items = pl.read_parquet(tmp_path / "data/amazon2014-beauty/visible/items.parquet")
    status = dict(items.select("item_id", "image_status").iter_rows())
    assert (status["B000"], status["B001"], status["B002"]) == ("too_large", "not_an_image", "missing_url")
    assert items["image_id"].null_count() == 7


def test_a_folder_without_the_file(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    refused(build(tmp_path, tmp_path / "raw"), tmp_path, "no reviews of beauty", "reviews_Beauty_5.json")
    refused(build(tmp_path, tmp_path / "none"), tmp_path, "no such folder")


def test_unknown_names_are_answered_with_the_nearest(tmp_path: Path) -> None:
    done = call(tmp_path, "build", "amazon", "--domains", "beuaty", "--raw", dump(tmp_path / "raw"))
    refused(done, tmp_path, "unknown", "'beuaty'", "did you mean", "beauty")
    refused(call(tmp_path, "build", "amazn"), tmp_path, "did you mean amazon?")
    assert call(tmp_path, "build", "amazon", "--no-such-flag").returncode == 2


def test_a_full_disk(tmp_path: Path) -> None:
    rows = [
        review(u, i, reviewText=f"The strap {u} {i} is {'very ' * (u * i % 40)}good {u * i}.")
        for u in range(60)
        for i in range(40)
    ]
    raw = dump(tmp_path / "raw", rows=rows)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_LIMIT, _FILE_LIMIT))

    refused(build(tmp_path, raw, preexec_fn=limit), tmp_path, "file-size limit")
    assert list((tmp_path / "data").rglob("*.draft")) == []
    assert build(tmp_path, raw).returncode == 0


def test_nothing_survives_the_core(tmp_path: Path) -> None:
    refused(
        build(tmp_path, dump(tmp_path / "raw", rows=reviews()[:10])), tmp_path, "survives the core filter", "--core"
    )
