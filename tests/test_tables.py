"""Parquet files appear whole, sorted, named, and with the same bytes on any number of threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from unimp_bench import tables
from unimp_bench.errors import IncompleteError, InputError
from unimp_bench.schemas import ANSWERS, IMAGES, SCORES


def scores(*rows: tuple[str, str, float]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["example_id", "metric", "value"], orient="row")


def test_three_rows_in_three_rows_out_sorted_by_the_key(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "scores.parquet"
    assert tables.write(scores(("b", "m", 2.0), ("a", "n", 1.0), ("a", "m", 0.0)), path, SCORES) == 3
    frame = tables.read(path, SCORES)
    assert frame.select("example_id", "metric", "value").rows() == [("a", "m", 0.0), ("a", "n", 1.0), ("b", "m", 2.0)]
    assert frame["cohort"].null_count() == 3
    assert tables.count(path) == 3
    assert [b.height for b in tables.batches(path, SCORES, 2)] == [2, 1]


def test_a_repeated_or_null_key_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    for bad in (scores(("a", "m", 1.0), ("a", "m", 2.0)), scores((None, "m", 1.0))):  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="key"):
            tables.write(bad, path, SCORES)
    assert list(tmp_path.iterdir()) == []


def test_a_writer_refuses_rows_out_of_order(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ascending"), tables.writing(tmp_path / "x.parquet", SCORES) as writer:
        writer.append(scores(("b", "m", 1.0)))
        writer.append(scores(("a", "m", 1.0)))
    assert list(tmp_path.iterdir()) == []


def test_another_table_or_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    tables.write(scores(("a", "m", 1.0)), path, SCORES)
    with pytest.raises(IncompleteError, match="holds table scores"):
        tables.read(path, ANSWERS)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(IncompleteError, match="not a whole Parquet file"):
        tables.read(path, SCORES)
    with pytest.raises(InputError, match="not a Parquet file"):
        tables.scan_foreign(path)
    with pytest.raises(IncompleteError, match="missing"):
        tables.read(tmp_path / "none.parquet", SCORES)


def test_chunks_and_one_frame_hold_the_same_rows(tmp_path: Path) -> None:
    frame = scores(*[(f"e{n:05d}", "m", n / 7) for n in range(1000)])
    tables.write(frame, tmp_path / "one.parquet", SCORES)
    with tables.writing(tmp_path / "many.parquet", SCORES) as writer:
        for part in frame.iter_slices(100):
            writer.append(part)
    assert tables.read(tmp_path / "one.parquet", SCORES).equals(tables.read(tmp_path / "many.parquet", SCORES))


def test_pictures_open_as_images_in_datasets(tmp_path: Path) -> None:
    import io

    import datasets
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), (200, 10, 10)).save(buffer, "PNG")
    image = {"bytes": buffer.getvalue(), "path": None}
    frame = pl.DataFrame(
        {"image_id": ["x"], "image": [image], "width": [4], "height": [3]}, schema=dict(IMAGES.columns)
    )
    tables.write(frame, tmp_path / "images.parquet", IMAGES)
    loaded = datasets.Dataset.from_parquet(str(tmp_path / "images.parquet"), cache_dir=str(tmp_path / "cache"))
    assert loaded[0]["image"].size == (4, 3)


_WRITE = """
import sys, polars as pl
from pathlib import Path
from unimp_bench import tables
from unimp_bench.schemas import SCORES
n = 200_000
frame = pl.DataFrame({"example_id": [f"e{i * 7919 % n:06d}" for i in range(n)], "metric": ["m"] * n,
                      "value": [i / 3 for i in range(n)]})
tables.write(frame, Path(sys.argv[1]), SCORES)
"""


def test_the_same_bytes_on_1_2_and_8_threads(tmp_path: Path) -> None:
    found = set()
    for threads in ("1", "2", "8"):
        path = tmp_path / f"{threads}.parquet"
        env = {**os.environ, "POLARS_MAX_THREADS": threads}
        subprocess.run([sys.executable, "-c", _WRITE, str(path)], check=True, env=env)
        found.add(path.read_bytes())
    assert len(found) == 1
