"""Every error that unimp-bench raises on purpose, as one tree.

::

    UnimpBenchError          one line: what, where, what to do; exit code 1
    ├── InputError           a file that cannot be used; names the file and, where it helps, the line
    ├── UnknownNameError     a dataset, runner, task, ... that does not exist; names the nearest known ones
    ├── ConfigError          options that contradict each other or a key nobody knows
    │   └── NotLearnedError  a runner is asked for what, by its options, it did not learn
    ├── NetworkError         a download that could not be finished
    ├── IncompleteError      something on disk that was never finished, was changed, or is in use
    ├── AuditError           a built dataset failed a leak check
    └── PredictionError      a runner's answers break the contract of their task
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

_OF_ALL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # what the machine refuses to one run it refuses to all


def in_one_line(error: Exception) -> str:
    """What went wrong: our own errors are one line; of others, their kind, first line and notes."""
    if isinstance(error, UnimpBenchError):
        return str(error)
    first = next(iter(str(error).splitlines()), "")
    return "; ".join([f"{type(error).__name__}: {first}", *getattr(error, "__notes__", [])])


def concerns_all(error: Exception) -> bool:
    """Whether it is the machine's fault, so that whatever else was to be done would end alike."""
    return isinstance(error, OSError) and error.errno in _OF_ALL


class UnimpBenchError(Exception):
    """Root of all errors that a user can act on; its text is one line."""


class InputError(UnimpBenchError):
    """A file that cannot be used."""

    def __init__(self, what: str, path: Path | str, advice: str, line: int | None = None) -> None:
        where = f"{path}:{line}" if line is not None else str(path)
        super().__init__(f"{what} in {where}; {advice}" if Path(path).exists() else f"{what}: {where}; {advice}")


class UnknownNameError(UnimpBenchError):
    """A name that does not exist, answered with the nearest known ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names) or 'none yet'}"
        super().__init__(f"unknown {kind} '{name}'; {hint}")


class ConfigError(UnimpBenchError):
    """Options that contradict each other, or a key nobody knows."""


class NotLearnedError(ConfigError):
    """A runner is asked for what, by its options, it did not learn; it answers other tasks."""


class NetworkError(UnimpBenchError):
    """A download that could not be finished."""


class IncompleteError(UnimpBenchError):
    """Something on disk that was never finished, was changed since, or is in use."""


class AuditError(UnimpBenchError):
    """A built dataset failed a leak check."""


class PredictionError(UnimpBenchError):
    """A runner's answers break the contract of their task."""
