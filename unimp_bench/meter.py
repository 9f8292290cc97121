"""What work costs and says: peak memory of a stretch of work, and a log file of what a run reported."""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from unimp_bench.progress import Progress, beside

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def now() -> str:
    """The time, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def reset_peak() -> bool:
    """Forget the highest memory so far; False where the system cannot: peaks then count from the process's start."""
    try:
        _CLEAR.write_text("5")  # Linux: set the high-water mark to what is resident now
    except OSError:
        return False
    return True


def peak_megabytes() -> float:
    """Highest resident memory since `reset_peak`, in MB of 10**6 bytes."""
    try:
        lines = _STATUS.read_text().splitlines()
        kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
        return kilobytes * 1024 / 1e6
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


@dataclass(frozen=True)
class Logged:
    """A progress that also appends every message, with its time, to a file."""

    inner: Progress
    file: Path

    def note(self, message: str) -> None:
        """Write to the file only."""
        with self.file.open("a", encoding="utf-8") as log:
            log.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {message}\n")

    def say(self, message: str) -> None:
        """Say it and write it down."""
        self.note(message)
        self.inner.say(message)

    def start(self, name: str, total: int | None = None, unit: str = "rows") -> None:
        """A stage of work begins."""
        self.note(name)
        self.inner.start(name, total, unit)

    def advance(self, count: int = 1) -> None:
        """That many more units are done."""
        self.inner.advance(count)

    def beside(self, words: str) -> None:
        """Words of the moment, for the inner one alone: they would fill a file."""
        beside(self.inner, words)

    def finish(self) -> None:
        """The current stage is done."""
        self.inner.finish()
