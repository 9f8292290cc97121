"""unimp-bench: from raw shop data to six multi-modal personalization tasks, any system, one leaderboard.

The names below are what the command line does, for Python; each is imported when it is first used, so that
`import unimp_bench` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unimp_bench.board import rows as leaderboard
    from unimp_bench.execute import run
    from unimp_bench.recipes import build
    from unimp_bench.runners.registry import load as load_runner
    from unimp_bench.submissions import score
    from unimp_bench.tasks.spec import TASKS

_WHERE = {
    "TASKS": ("unimp_bench.tasks.spec", "TASKS"),
    "build": ("unimp_bench.recipes", "build"),
    "leaderboard": ("unimp_bench.board", "rows"),
    "load_runner": ("unimp_bench.runners.registry", "load"),
    "run": ("unimp_bench.execute", "run"),
    "score": ("unimp_bench.submissions", "score"),
}

__all__ = ["TASKS", "build", "leaderboard", "load_runner", "run", "score"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'unimp_bench' has no attribute '{name}'")
    module, attribute = _WHERE[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__
