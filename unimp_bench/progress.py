"""How long work reports that it goes on. The command line shows it; libraries and tests use the silent one."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


class Progress(Protocol):
    """What a stage may say while it works."""

    def say(self, message: str) -> None:
        """One line about what was found or decided."""

    def start(self, name: str, total: int | None = None, unit: str = "rows") -> None:
        """A stage of work begins; `total` in `unit`s where known ("bytes" is shown as MB)."""

    def advance(self, count: int = 1) -> None:
        """That many more units of the current stage are done. May be called from any thread."""

    def finish(self) -> None:
        """The current stage is done."""


@runtime_checkable
class Worded(Protocol):
    """A progress that also shows what belongs to a moment of the current stage, as a loss: see `beside`."""

    def beside(self, words: str) -> None:
        """A few words about the current stage, in the place of those before."""


def beside(progress: Progress, words: str) -> None:
    """Show words beside the bar of the current stage; nothing happens where nobody can."""
    if isinstance(progress, Worded):
        progress.beside(words)


class Silent:
    """Says nothing."""

    def say(self, message: str) -> None:
        """Nothing."""

    def start(self, name: str, total: int | None = None, unit: str = "rows") -> None:
        """Nothing."""

    def advance(self, count: int = 1) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""
