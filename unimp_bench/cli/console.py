"""How commands talk: data on stdout, talk on stderr, a bar for everything that lasts."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

err = Console(stderr=True, highlight=False, soft_wrap=True)
out = Console(highlight=False, soft_wrap=True)

WIDE = 1_000  # characters, where no terminal says how many it has

_WORTH_A_LINE = 1.0  # seconds; shorter stages leave no line in a log


def whole() -> Console:
    """Where tables go: `out`, or where that is no terminal, a console that is never too narrow for them."""
    return out if out.is_terminal else Console(highlight=False, soft_wrap=True, width=WIDE)


class BarProgress:
    """Progress bars on a terminal; one line a finished stage where stderr is a file."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        self._name, self._unit, self._done, self._began = "", "rows", 0, 0.0

    def __enter__(self) -> BarProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def say(self, message: str) -> None:
        """One line on stderr, above the bar."""
        (self._bars.console if self._bars else err).print(f"  {message}", markup=False)

    def start(self, name: str, total: int | None = None, unit: str = "rows") -> None:
        """A stage begins; a stage that is still open ends."""
        self._stop()
        self._name, self._unit, self._done, self._began = name, unit, 0, time.monotonic()
        if not err.is_terminal:
            return
        amount = (DownloadColumn(), TransferSpeedColumn()) if unit == "bytes" else (MofNCompleteColumn(),)
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            *amount,
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=err,
            transient=True,
        )
        self._bars.start()
        self._task = self._bars.add_task(name, total=total)

    def advance(self, count: int = 1) -> None:
        """That many units more."""
        with self._lock:
            self._done += count
        if self._bars is not None and self._task is not None:
            self._bars.advance(self._task, count)

    def finish(self) -> None:
        """The stage is done."""
        seconds = time.monotonic() - self._began
        name, done, unit = self._name, self._done, self._unit
        self._stop()
        if name and seconds >= _WORTH_A_LINE:
            amount = f"{done / 1e6:,.1f} MB" if unit == "bytes" else f"{done:,} {unit}"
            err.print(f"  {name}: {amount} in {seconds:.1f} s", markup=False)

    def _stop(self) -> None:
        if self._bars is not None:
            self._bars.stop()
        self._bars, self._task, self._name = None, None, ""
