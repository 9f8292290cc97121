"""What a runner is: a dataclass whose fields are its parameters, with four methods.

A runner sees `TaskData` (train and valid examples with answers, train interactions) and a `Catalogue`; test answers
are in neither. It keeps nothing from one `predict` to the next, because one task's example may name another's answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_bench import curves
from unimp_bench.dataset import Catalogue
from unimp_bench.progress import Progress, Silent

Space = Mapping[str, Sequence[Any]]  # values by parameter among which a budget of trials searches


@dataclass(frozen=True)
class TaskData:
    """What a runner may learn one task from.

    `train` and `valid` have the columns of `schemas.LABELLED_EXAMPLES`, `interactions` those of
    `schemas.INTERACTIONS` (train rows of the cohort at hand), all lazy: collect only the columns you need.
    """

    train: pl.LazyFrame
    valid: pl.LazyFrame
    interactions: pl.LazyFrame
    catalogue: Catalogue


@dataclass(frozen=True)
class Context:
    """Circumstances of a run. All randomness comes from `rng`, so equal seeds give equal answers."""

    seed: int
    scratch: Path  # a folder of the runner's own, kept if the run is killed and given again on resume
    progress: Progress = field(default_factory=Silent)
    truth: Path | None = None  # the synthetic shop's truth; given to runners with `reads_truth` only
    curve: Path | None = None  # where `record` writes; given while fitting only
    features: Path | None = None  # folder of item features that all runs of a home share; see `unimp_bench.features`
    max_seconds: float | None = None  # what training may take in this fit, over interruptions; None: no limit
    _processes: list[float] = field(default_factory=list, repr=False, compare=False)

    def limit(self, own: float = 0.0) -> float:
        """Seconds that training may take: the run's limit or the runner's own, whichever is less; 0: no limit.

        Args:
            own: a parameter of the runner; 0: none.
        """
        given = [seconds for seconds in (self.max_seconds, own) if seconds]
        return min(given, default=0.0)

    def worked_elsewhere(self, megabytes: float) -> None:
        """Tell of another process that worked for the runner: its highest memory, in MB of 10**6 bytes."""
        self._processes.append(megabytes)

    @property
    def megabytes_elsewhere(self) -> float:
        """The highest memory of any other process that was told of; 0 where there was none."""
        return max(self._processes, default=0.0)

    def record(self, stage: str, step: int, **values: float) -> None:
        """Keep a point of the learning curve, for the report; nothing happens where there is no curve to write.

        Args:
            stage: which part of the training, as "pretrain" or "fit".
            step: within the stage; of equal stages and steps the last value of each name counts.
            values: by name, as `loss=` and the validation metric's; what is not finite becomes null.
        """
        if self.curve is not None:
            curves.append(self.curve, stage, step, values)

    def rng(self, *stage: str) -> np.random.Generator:
        """A generator of that stage's own."""
        return np.random.default_rng([self.seed, *(b for name in stage for b in name.encode())])


@dataclass(frozen=True)
class ScoreBlock:
    """Scores of every item for some examples, for `ranking.top_items` to mask, order and cut.

    `scores` is `(examples, items)` in `item_index` order; -inf or NaN means never to be recommended.
    """

    example_ids: list[str]
    scores: NDArray[np.float32]


@runtime_checkable
class Runner(Protocol):
    """A system under test.

    Nine things more that a runner may have: a method `adapt(data, context)` that learns held-out domains after `fit`
    (their examples are then answered by the adapted copy, all others by the first); a method
    `pretrain(data, folder, context)` that makes in `folder` what all its variants share, for a parameter such as
    `pretrained=FOLDER` to name; and, on the class, `joint = True` (one fit learns all its tasks), `examples_a_part`
    (examples in one call of `predict`), `device` (recorded), `search` (values by parameter among which a budget of
    trials searches), `budgeted = False` (training does not keep to `context.limit`: a budget of time is not for it),
    `needs` (a set of "pictures" and "text", without which in the catalogue it cannot learn), `packages` (names of
    modules that are imported only when it learns or answers).

    `pretrain` is given the same data as `fit`, and a folder of its own that holds, after a kill, what it left there.
    Three names in it are taken: `pretrain.json`, `curve.jsonl` and `manifest.json`, which is written when it returns;
    `context.scratch` is removed then.
    """

    tasks: ClassVar[frozenset[str]]
    cohorts: ClassVar[frozenset[str]]  # cohorts that it can answer for; others count as "not applicable"
    version: ClassVar[int]  # raise it when answers change
    reads_truth: ClassVar[bool]  # opens the synthetic shop's truth; such rows are marked on every leaderboard

    def fit(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Learn from one or several tasks at once."""

    def predict(
        self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context
    ) -> Iterator[pl.DataFrame | ScoreBlock]:
        """Answer test examples (`schemas.EXAMPLES`), each once, in frames of `schemas.PREDICTIONS` or blocks."""

    def save(self, folder: Path) -> None:
        """Write what `fit` learned into an empty folder."""

    def load(self, folder: Path) -> None:
        """Take up what `save` wrote."""
