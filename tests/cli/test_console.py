"""The bar and its words, on a terminal and in a log."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from unimp_bench.cli import console
from unimp_bench.cli.console import BarProgress
from unimp_bench.meter import Logged
from unimp_bench.progress import Silent, beside

WORDS = "epoch 1/8, loss 2.345, 12,345 tokens/s, [13.4] min left"


def shown(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> StringIO:
    """What `err` prints from now on, 80 characters wide."""
    file = StringIO()
    made = Console(file=file, force_terminal=terminal, width=80, color_system=None, highlight=False, soft_wrap=True)
    monkeypatch.setattr(console, "err", made)
    return file


def test_words_stand_below_the_bar_of_their_stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = shown(monkeypatch, terminal=True)
    with BarProgress() as bar:
        progress = Logged(bar, tmp_path / "log.txt")  # as runners are given it
        progress.start("unimp: multi_task", 1000, "parts")
        progress.advance(437)
        beside(progress, WORDS)
        assert bar._bars is not None
        bar._bars.refresh()
        assert "437/1000" in file.getvalue()
        assert f"\n  {WORDS}" in file.getvalue()
        progress.start("unimp: search", 1000, "parts")
        bar._bars.refresh()
        assert "epoch 1/8" not in file.getvalue().partition("unimp: search")[2]


def test_in_a_log_words_are_a_line_every_half_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    file = shown(monkeypatch, terminal=False)
    clock = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    with BarProgress() as bar:
        bar.start("unimp: multi_task", 1000, "parts")
        for second in range(71):
            clock[0] = 100.0 + second
            bar.advance(10)
            beside(bar, f"loss {second}, [13.4] min left")
            beside(bar, "")
    assert file.getvalue() == (
        "  unimp: multi_task 31%: loss 30, [13.4] min left\n  unimp: multi_task 61%: loss 60, [13.4] min left\n"
    )


def test_who_shows_no_words_is_told_none(tmp_path: Path) -> None:
    beside(Silent(), WORDS)
    beside(Logged(Silent(), tmp_path / "log.txt"), WORDS)
    assert not (tmp_path / "log.txt").exists()
