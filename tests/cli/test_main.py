"""What the program says when the machine or the user stops it."""

from __future__ import annotations

import errno
import os
import sys

import pytest

from unimp_bench.cli import main
from unimp_bench.runners import registry


def _stopped(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    def found() -> None:
        raise error

    monkeypatch.setattr(registry, "found", found)
    monkeypatch.setattr(sys, "argv", ["unimp-bench", "list", "models"])
    with pytest.raises(SystemExit) as stopped:
        main.main()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_ctrl_c_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert _stopped(monkeypatch, KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "stopped; the same command without --force goes on from here\n"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOSPC, "error: the disk is full (/x); nothing half-written was kept"),
        (errno.ENOTDIR, "error: a file stands where a folder is wanted (/x); choose another --home or file"),
        (errno.EROFS, "error: a read-only file system (/x); choose another"),
        (errno.EACCES, "error: not allowed (/x); check its permissions"),
    ],
)
def test_what_the_machine_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int, message: str
) -> None:
    assert _stopped(monkeypatch, OSError(code, os.strerror(code), "/x")) == 1
    said = capsys.readouterr().err
    assert said.startswith(message)
    assert said.count("\n") == 1


def test_a_mistake_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "found", lambda: (_ for _ in ()).throw(OSError(errno.EBADF, "bad")))
    monkeypatch.setattr(sys, "argv", ["unimp-bench", "list", "models"])
    with pytest.raises(OSError, match="bad"):
        main.main()
