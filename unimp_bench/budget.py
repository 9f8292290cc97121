"""A budget: what every system may spend on learning, the same for all of them.

`4min` is time, `20trials` is how many settings a search may try, `4min,20trials` is twenty trials that share the time
equally. Time is what a system spends training in one fit, over interruptions, and never less than one step (RecBole's
models: one epoch). Reading data, choosing by validation and answering are measured and not counted. A second fit, for
held-out domains, may take as long as one trial.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unimp_bench.errors import ConfigError

UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}
_TRIALS = ("trial", "trials")
_AMOUNT = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([a-z]+)")
_EXAMPLES = "write for example 90s, 4min, 2h, 20trials or 4min,20trials"


@dataclass(frozen=True)
class Budget:
    """Seconds of training, of all trials together, and how many trials; None: no limit, and one trial."""

    seconds: float | None = None
    trials: int = 1

    @classmethod
    def parse(cls, text: str) -> Budget:
        """A budget as it is written.

        Raises:
            ConfigError: it is none.
        """
        seconds: float | None = None
        trials: int | None = None
        for part in text.split(","):
            amount, unit = _split(part, text)
            if unit in _TRIALS:
                if trials is not None or amount != int(amount) or amount < 1:
                    raise ConfigError(f"budget '{text}': trials are one whole number of at least 1; {_EXAMPLES}")
                trials = int(amount)
            elif unit in UNITS:
                if seconds is not None or amount <= 0:
                    raise ConfigError(f"budget '{text}': time is one number above 0; {_EXAMPLES}")
                seconds = amount * UNITS[unit]
            else:
                raise ConfigError(f"budget '{text}': unknown unit '{unit}'; {_EXAMPLES}")
        return cls(seconds, trials or 1)

    @classmethod
    def of(cls, record: Mapping[str, Any] | None) -> Budget | None:
        """What `record` kept; None where there was no budget."""
        return None if record is None else cls(record["seconds"], record["trials"])

    def record(self) -> dict[str, Any]:
        """Both numbers as plain data."""
        return {"seconds": self.seconds, "trials": self.trials}

    def share(self, trials: int) -> float | None:
        """Seconds of each of so many trials."""
        return None if self.seconds is None else self.seconds / trials

    def __str__(self) -> str:
        """As it is written, in the largest unit that leaves a whole number."""
        parts = []
        if self.seconds is not None:
            unit = next((u for u in ("h", "min") if self.seconds % UNITS[u] == 0), "s")
            parts.append(f"{self.seconds / UNITS[unit]:.15g}{unit}")
        if self.trials > 1 or not parts:
            parts.append(f"{self.trials}trial{'s' if self.trials > 1 else ''}")
        return ",".join(parts)


def _split(part: str, text: str) -> tuple[float, str]:
    found = _AMOUNT.fullmatch(part.strip().lower())
    if found is None:
        raise ConfigError(f"budget '{text}': '{part.strip()}' is no number with a unit; {_EXAMPLES}")
    return float(found[1]), found[2]
