"""The closed set of metrics. A metric gives one value per example; every aggregate is derived from these values alone.

Metrics of one answer kind share a function, so `score` computes a family in one pass over the predictions. What
`compute` reads and returns, and what counts as unanswered, stands in `pairs`; formulas stand in each kind's room.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_bench.errors import UnknownNameError
from unimp_bench.metrics import image, ranking, rating, selection, statistics, text
from unimp_bench.metrics.pairs import AnswerKind, MetricContext
from unimp_bench.metrics.statistics import Aggregate, Interval
from unimp_bench.schemas import SCORES, empty


class Family(Protocol):
    """Values of several metrics of one answer kind."""

    def __call__(
        self, names: Sequence[str], answers: pl.DataFrame, predictions: pl.DataFrame, context: MetricContext
    ) -> pl.DataFrame:
        """A frame of `schemas.SCORES`: every answer once under every name."""


@dataclass(frozen=True)
class MetricSpec:
    """One metric.

    `version`: raised when values change; results of two versions never share a table.
    `by_cohort`: an example's value depends on the others of its cohort, so values of two cohorts are never pooled.
    `bounds`: smallest and largest value that one example can have; None where there are none.
    """

    name: str
    answer_kind: AnswerKind
    higher_is_better: bool
    aggregate: Aggregate
    by_cohort: bool
    family: Family
    bounds: tuple[float, float] | None
    version: int = 1

    def compute(self, answers: pl.DataFrame, predictions: pl.DataFrame, context: MetricContext) -> pl.DataFrame:
        """One value per answer (example_id, metric, cohort, value); arguments and errors as in `pairs.paired`."""
        return self.family([self.name], answers, predictions, context)

    def interval(self, values: NDArray[np.floating], *, seed: int, resamples: int = 1000) -> Interval:
        """The aggregate of one cohort's values with its 95 % interval."""
        return statistics.interval(values, self.aggregate, seed=seed, resamples=resamples, bounds=self.bounds)


def _share(name: str, kind: AnswerKind, family: Family) -> MetricSpec:
    """A metric between 0 and 1 that is averaged."""
    return MetricSpec(name, kind, True, "mean", False, family, (0.0, 1.0))


METRICS: dict[str, MetricSpec] = {
    spec.name: spec
    for spec in (
        _share("hr@3", "ranking", ranking.compute),
        _share("hr@5", "ranking", ranking.compute),
        _share("hr@10", "ranking", ranking.compute),
        _share("ndcg@3", "ranking", ranking.compute),
        _share("ndcg@5", "ranking", ranking.compute),
        _share("ndcg@10", "ranking", ranking.compute),
        _share("mrr@3", "ranking", ranking.compute),
        _share("mrr@5", "ranking", ranking.compute),
        _share("mrr@10", "ranking", ranking.compute),
        MetricSpec("rmse", "rating", False, "root_mean", False, rating.compute, (0.0, rating.WORST_ERROR**2)),
        MetricSpec("mae", "rating", False, "mean", False, rating.compute, (0.0, rating.WORST_ERROR)),
        _share("rouge_1", "text", text.compute),
        _share("rouge_2", "text", text.compute),
        _share("rouge_l", "text", text.compute),
        _share("precision", "selection", selection.compute),
        _share("recall", "selection", selection.compute),
        _share("f1", "selection", selection.compute),
        MetricSpec("kid", "image", False, "u_statistic", True, image.compute, None),
    )
}


def metric(name: str) -> MetricSpec:
    """The metric of that name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in METRICS:
        raise UnknownNameError("metric", name, METRICS)
    return METRICS[name]


def names_of(kind: AnswerKind) -> list[str]:
    """Names of all metrics of an answer kind."""
    return [spec.name for spec in METRICS.values() if spec.answer_kind == kind]


def score(
    names: Iterable[str], answers: pl.DataFrame, predictions: pl.DataFrame, context: MetricContext
) -> pl.DataFrame:
    """Values of several metrics as a frame of `schemas.SCORES`, sorted by its key; each family is computed in one pass.

    Raises:
        UnknownNameError: there is no such metric.
        PredictionError, IncompleteError: as in `pairs.paired`.
    """
    families: dict[Family, list[str]] = {}
    for name in dict.fromkeys(names):
        families.setdefault(metric(name).family, []).append(name)
    frames = [family(members, answers, predictions, context) for family, members in families.items()]
    return pl.concat(frames).sort(SCORES.key) if frames else empty(SCORES.columns)
