"""One short name a system: the runner, and those parameters in which two settings of it differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Labels:
    """Names by (runner, hash of its parameters)."""

    by_key: Mapping[tuple[str, str], str]

    @classmethod
    def of(cls, board: pl.DataFrame) -> Labels:
        """The labels of all rows of a leaderboard.

        Args:
            board: at least runner, parameters_hash and parameters (JSON).
        """
        keys = board.select("runner", "parameters_hash", "parameters").unique(maintain_order=True)
        settings: dict[str, dict[str, dict[str, object]]] = {}
        for runner, digest, text in keys.iter_rows():
            settings.setdefault(runner, {})[digest] = json.loads(text)
        names: dict[tuple[str, str], str] = {}
        for runner, given in settings.items():
            for digest, mine in given.items():
                differs = [
                    key for key in sorted(mine) if any(other.get(key, _ABSENT) != mine[key] for other in given.values())
                ]
                said = ",".join(f"{key}={mine[key]}" for key in differs)
                names[runner, digest] = f"{runner} {said}" if said else runner
        return cls(names)

    def name(self, runner: str, digest: str) -> str:
        """The label; a setting that is on no leaderboard is named by its hash."""
        return self.by_key.get((runner, digest), f"{runner} {digest}")


_ABSENT = object()
