"""The same request gives the same bytes: dumped or generated, on any threads, killed or not; seeds change draws."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from tests.calling import call, parquet

_NOISE = ("--noise", "NT", "--noise", "NV")


def test_a_build_from_the_raw_dump_has_the_bytes_of_the_synthetic_build(shop: Path, tmp_path: Path) -> None:
    done = call(tmp_path, "build", "amazon", "--raw", shop / "raw/synthetic-tiny", *_NOISE)
    assert done.returncode == 0, done.stderr
    ours = parquet(tmp_path / "data/amazon2014")
    theirs = {name: data for name, data in parquet(shop / "data/synthetic-tiny").items() if "/truth/" not in name}
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert any(name.startswith("variants/NT-0.2") for name in ours)


@pytest.mark.parametrize("threads", ["1", "2", "8"])
def test_the_same_bytes_on_any_number_of_threads(shop: Path, tmp_path: Path, threads: str) -> None:
    raw = shop / "raw/synthetic-tiny"
    done = call(tmp_path, "build", "amazon", "--raw", raw, *_NOISE, env={**os.environ, "POLARS_MAX_THREADS": threads})
    assert done.returncode == 0, done.stderr
    theirs = {name: data for name, data in parquet(shop / "data/synthetic-tiny").items() if "/truth/" not in name}
    assert parquet(tmp_path / "data/amazon2014") == theirs


def test_a_second_build_does_no_work(shop: Path) -> None:
    before = (shop / "data/synthetic-tiny/manifest.json").stat()
    done = call(shop, "build", "synthetic", "--size", "tiny")
    assert done.returncode == 0
    assert "is built already" in done.stderr
    after = (shop / "data/synthetic-tiny/manifest.json").stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


def test_another_request_of_the_same_name_is_refused_without_force(shop: Path) -> None:
    done = call(shop, "build", "synthetic", "--size", "tiny", "--seed", "1")
    assert done.returncode == 1
    assert "was built by another request" in done.stderr
    assert done.stderr.strip().count("\n") <= 2


def test_another_seed_changes_ties_holdouts_positives_and_candidates_and_nothing_else(
    shop: Path, tmp_path: Path
) -> None:
    done = call(tmp_path, "build", "synthetic", "--size", "tiny", "--seed", "1", *_NOISE)
    assert done.returncode == 0, done.stderr
    old, new = shop / "data/synthetic-tiny", tmp_path / "data/synthetic-tiny"
    assert (old / "visible/items.parquet").read_bytes() == (new / "visible/items.parquet").read_bytes()
    for name, data in parquet(old).items():
        if name.startswith(("visible/images", "variants/", "sealed/truth/", "drops")):
            assert (new / name).read_bytes() == data
    rows = [pl.read_parquet(folder / "sealed/interactions.parquet") for folder in (old, new)]
    same = ["user_id", "item_id", "timestamp", "rating", "review_text", "explanation", "domain"]
    assert rows[0].select(same).sort(same).equals(rows[1].select(same).sort(same))
    held_out = [set(frame.filter(pl.col("cohort") == "new_user")["user_id"]) for frame in rows]
    assert held_out[0] != held_out[1]
    assert len(held_out[0]) == len(held_out[1])


def _killed_after(home: Path, raw: Path, seconds: float) -> bool:
    """Start the build, kill it after that long; whether it was still at work."""
    line = [sys.executable, "-m", "unimp_bench", "--home", str(home), "build", "amazon", "--raw", str(raw), *_NOISE]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return alive


def test_a_killed_build_goes_on_to_the_same_bytes(shop: Path, tmp_path: Path) -> None:
    raw = shop / "raw/synthetic-tiny"
    hits = sum(_killed_after(tmp_path, raw, seconds) for seconds in (0.7, 1.0, 1.3, 1.6, 1.9, 2.3, 2.8))
    assert hits >= 3
    done = call(tmp_path, "build", "amazon", "--raw", raw, *_NOISE)
    assert done.returncode == 0, done.stderr
    theirs = {name: data for name, data in parquet(shop / "data/synthetic-tiny").items() if "/truth/" not in name}
    assert parquet(tmp_path / "data/amazon2014") == theirs
    left = [p.name for p in (tmp_path / "data").rglob(".*") if p.name != ".building"]
    assert left == []


def test_two_builds_at_once_never_corrupt(shop: Path, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "unimp_bench", "--home", str(tmp_path), "build", "amazon"]
    line += ["--raw", str(shop / "raw/synthetic-tiny"), *_NOISE]
    both = [subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ends = [(process.communicate()[1], process.returncode) for process in both]
    assert 0 in [code for _, code in ends]
    for stderr, code in ends:
        assert code == 0 or "another process is writing dataset" in stderr
    theirs = {name: data for name, data in parquet(shop / "data/synthetic-tiny").items() if "/truth/" not in name}
    assert parquet(tmp_path / "data/amazon2014") == theirs
