"""How commands talk: data on stdout, talk on stderr, a bar for everything that lasts."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from types import TracebackType

from rich.console import Console, RenderableType
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
from rich.text import Text

err = Console(stderr=True, highlight=False, soft_wrap=True)
out = Console(highlight=False, soft_wrap=True)

WIDE = 1_000  # characters, where no terminal says how many it has

_WORTH_A_LINE = 1.0  # seconds; shorter stages leave no line in a log
_WORDS_EVERY = 30.0  # seconds between lines of words in a log


def whole() -> Console:
    """Where tables go: `out`, or where that is no terminal, a console that is never too narrow for them."""
    return out if out.is_terminal else Console(highlight=False, soft_wrap=True, width=WIDE)


class _Bars(Progress):
    """Bars with the words of their stage on a line below: a column of them would leave a narrow terminal no bar."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            if words := task.fields.get("words"):
                yield Text(f"  {words}", style="dim", no_wrap=True, overflow="ellipsis")


class BarProgress:
    """Progress bars on a terminal, with the stage's words below.

    Where stderr is a file: one line a finished stage, and its words now and then.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        self._name, self._unit, self._done, self._began = "", "rows", 0, 0.0
        self._total: int | None = None
        self._spoke = 0.0  # when words were last a line

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
        self._name, self._unit, self._done, self._total = name, unit, 0, total
        self._began = self._spoke = time.monotonic()
        if not err.is_terminal:
            return
        amount = (DownloadColumn(), TransferSpeedColumn()) if unit == "bytes" else (MofNCompleteColumn(),)
        self._bars = _Bars(
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

    def beside(self, words: str) -> None:
        """Words of the moment, below the bar; without one, a line at most every half minute."""
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, words=words)
        elif self._name and words and (now := time.monotonic()) - self._spoke >= _WORDS_EVERY:
            self._spoke = now
            share = f" {self._done / self._total:.0%}" if self._total else ""
            err.print(f"  {self._name}{share}: {words}", markup=False)

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
