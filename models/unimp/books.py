"""The books of a training run: what it has read and lost so far, and who is told of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unimp.errors import TrainingError
from unimp.logs import Log, gate_opening
from unimp.modeling import Unimp
from unimp.recipe import Progress, Recipe, Record
from unimp.sequence import KINDS

_NAMED = 20  # rows that a message names


@dataclass
class State:
    """What goes into a checkpoint beside tensors: the place in the data, and what the epoch has come to.

    `sums` and `counts` are losses and supervised ids of each kind (`sequence.KINDS`).
    """

    epoch: int = 0
    step: int = 0
    steps: int = 0
    best: float | None = None
    best_epoch: int | None = None
    tokens: int = 0
    padded: int = 0
    dropped: int = 0
    seconds: float = 0.0
    sums: list[float] = field(default_factory=lambda: [0.0] * len(KINDS))
    counts: list[float] = field(default_factory=lambda: [0.0] * len(KINDS))
    loss: float = 0.0
    epoch_tokens: int = 0
    epoch_padded: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    def count(self, loss: float, by_kind: list[float], ids: int, padded: int, dropped: int) -> None:
        """Book one step: its loss, sums and then counts of each kind, ids read, those with padding, items dropped."""
        kinds = len(KINDS)
        self.step, self.steps = self.step + 1, self.steps + 1
        self.tokens, self.padded, self.dropped = self.tokens + ids, self.padded + padded, self.dropped + dropped
        self.epoch_tokens, self.epoch_padded = self.epoch_tokens + ids, self.epoch_padded + padded
        self.loss += loss
        self.sums = [a + b for a, b in zip(self.sums, by_kind[:kinds], strict=True)]
        self.counts = [a + b for a, b in zip(self.counts, by_kind[kinds:], strict=True)]

    def figures(self) -> dict[str, float]:
        """What the epoch came to: its number, mean loss, loss of each kind that was learned, ids."""
        by_kind = zip(KINDS, self.sums, self.counts, strict=True)
        return {
            "epoch": float(self.epoch),
            "loss": self.loss / max(self.step, 1),
            **{f"loss_{kind}": total / count for kind, total, count in by_kind if count},
            "tokens": float(self.epoch_tokens),
            "padded_tokens": float(self.epoch_padded),
        }

    def next_epoch(self) -> None:
        """Turn the page."""
        self.epoch, self.step, self.loss, self.epoch_tokens, self.epoch_padded = self.epoch + 1, 0, 0.0, 0, 0
        self.sums, self.counts = [0.0] * len(KINDS), [0.0] * len(KINDS)


class Teller:
    """Tells of a run, from its making on.

    Args:
        model: whose gates are looked at.
        recipe: how often, and the learning rate.
        stage: the run's name.
        log: TensorBoard.
        report: told of every step; None for nobody.
        record: given figures every `log_steps` steps and after each epoch; None for nobody.
    """

    def __init__(
        self,
        model: Unimp,
        recipe: Recipe,
        stage: str,
        log: Log,
        report: Callable[[Progress], None] | None,
        record: Record | None,
    ) -> None:
        self.model, self.recipe, self.stage, self.log = model, recipe, stage, log
        self.report, self._record = report, record
        self.begun = time.monotonic()
        self._first: tuple[float, int] | None = None  # share and ids that were done before

    def step(self, state: State, loss: float, norm: float, share: float, ids: int, steps: int) -> None:
        """Tell of a step that is booked: its loss, gradient norm, share at its middle, ids; `steps` in the epoch."""
        recipe = self.recipe
        elapsed = time.monotonic() - self.begun
        done = (state.epoch + state.step / steps) / recipe.epochs
        if self._first is None:
            self._first = max(done - 1 / steps / recipe.epochs, 0.0), state.tokens - ids
        share_before, ids_before = self._first
        speed = (state.tokens - ids_before) / max(elapsed, 1e-9)
        left = elapsed * (1 - done) / max(done - share_before, 1e-9)
        if state.steps % recipe.log_steps == 0:
            values = {"loss": loss, "lr": recipe.rate(share), "grad_norm": norm, "tokens_per_second": speed}
            if (opening := gate_opening(self.model)) is not None:
                values["gate"] = opening
            self.record(state.steps, values)
        if self.report is not None:
            self.report(Progress(self.stage, state.epoch, recipe.epochs, state.steps, done, loss, speed, left))

    def record(self, step: int, values: dict[str, float]) -> None:
        """Write figures down."""
        self.log.write(step, {f"{self.stage}/{name}": value for name, value in values.items()})
        if self._record is not None:
            self._record(self.stage, step, **values)


def broken(stage: str, folder: Path, state: State, rows: Sequence[int], loss: float, norm: float) -> TrainingError:
    """The end of a run whose loss or gradient norm is no number, at a step that learned from these rows."""
    named = ", ".join(map(str, rows[:_NAMED])) + (f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else "")
    what = f"loss {loss}" if not math.isfinite(loss) else f"gradient norm {norm}"
    return _ended(f"{what} in stage {stage}, epoch {state.epoch}, step {state.step}, rows {named}", folder)


def spoilt(stage: str, folder: Path, state: State) -> TrainingError:
    """The end of a run whose weights are no numbers, found before they are written or chosen."""
    return _ended(
        f"weights that are no numbers in stage {stage}, epoch {state.epoch}, before step {state.step}", folder
    )


def _ended(what: str, folder: Path) -> TrainingError:
    there = any(folder.glob("checkpoint-*"))
    kept = f"the last good checkpoint is kept in '{folder}'" if there else "no checkpoint was made yet"
    problem = TrainingError(f"{what}; {kept}: try a lower learning rate")
    problem.shared = True  # sums are the same everywhere
    return problem
