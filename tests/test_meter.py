from __future__ import annotations

from pathlib import Path

import pytest

from unimp_bench.meter import Logged, peak_megabytes, reset_peak
from unimp_bench.progress import Silent


def test_the_peak_is_of_the_stretch_that_was_measured() -> None:
    if not reset_peak():
        pytest.skip("this system cannot forget a peak")
    before = peak_megabytes()
    held = bytearray(200_000_000)
    held[::4096] = b"x" * len(held[::4096])
    assert peak_megabytes() - before > 150
    del held
    assert peak_megabytes() - before > 150
    reset_peak()
    assert peak_megabytes() - before < 100


def test_a_log_keeps_what_was_said(tmp_path: Path) -> None:
    log = Logged(Silent(), tmp_path / "log.txt")
    log.say("one")
    log.start("two", 5)
    log.advance(3)
    log.finish()
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["one", "two"]
