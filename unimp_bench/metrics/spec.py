"""The closed set of metrics. A metric gives one value per example; every aggregate is derived from these values alone.

Metrics of one answer kind share a function, so `score` computes a family in one pass over the predictions. What
`compute` reads and returns, and what counts as unanswered, stands in `pairs`; formulas stand in each kind's room.
A metric that cannot be computed (no model, too few examples) has null values, and scoring lists the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_bench import descriptor
from unimp_bench.errors import UnknownNameError
from unimp_bench.metrics import (
    bertscore,
    bleu,
    clip,
    frechet,
    image,
    lists,
    meteor,
    ranking,
    rating,
    selection,
    statistics,
    text,
    wording,
)
from unimp_bench.metrics.pairs import AnswerKind, MetricContext, paired, scores
from unimp_bench.metrics.statistics import Aggregate, Interval
from unimp_bench.schemas import SCORES, empty

DEEPEST = 100  # largest cut of a ranking: runs keep no longer lists
_CUT = re.compile(rf"({'|'.join((*ranking.STEMS, *lists.STEMS))})@([1-9][0-9]{{0,2}})")


def _nothing(context: MetricContext) -> str | None:
    """A metric that needs answers and predictions only."""
    del context
    return None


class Family(Protocol):
    """Values of several metrics of one answer kind."""

    def __call__(
        self, names: Sequence[str], answers: pl.DataFrame, predictions: pl.DataFrame, context: MetricContext
    ) -> pl.DataFrame:
        """A frame of `schemas.SCORES`: every answer once under every name."""


@dataclass(frozen=True)
class MetricSpec:
    """One metric.

    `aggregate`: how values become one number.
    `by_cohort`: an example's value depends on the others of its cohort, so values of two cohorts are never pooled.
    `bounds`: smallest and largest value that one example can have; None where there are none.
    `version`: raised when values change; results of two versions never share a table.
    `lacks`: why the metric cannot be computed in a context; None if it can.
    `least`: fewest examples of a cohort that define it.
    `undefined`: what it means that a cohort of enough examples has no value.
    `sampled`: some examples of a cohort only have a value; n is their number then.
    `has_interval`: whether values may be resampled and tested; not so the `shares` of a count of different things.
    """

    name: str
    answer_kind: AnswerKind
    higher_is_better: bool
    aggregate: Aggregate
    by_cohort: bool
    family: Family
    bounds: tuple[float, float] | None
    version: int = 1
    lacks: Callable[[MetricContext], str | None] = _nothing
    least: int = 1
    undefined: str = "is not defined for these answers"
    has_interval: bool = True
    sampled: bool = False

    def compute(self, answers: pl.DataFrame, predictions: pl.DataFrame, context: MetricContext) -> pl.DataFrame:
        """One value per answer (example_id, metric, cohort, value); arguments and errors as in `pairs.paired`."""
        return score([self.name], answers, predictions, context)

    def interval(self, values: NDArray[np.floating], *, seed: int, resamples: int = 1000) -> Interval:
        """The aggregate of one cohort's values with its 95 % interval, null where the metric has none."""
        # Equal shares of a set would resample to themselves and pass for certainty; they have no bounds to help.
        if not self.has_interval or (self.by_cohort and self.aggregate == "mean" and len(np.unique(values)) < 2):
            value = float(np.sort(values).mean()) if len(values) else None
            return Interval(value, None, None, len(values))
        return statistics.interval(values, self.aggregate, seed=seed, resamples=resamples, bounds=self.bounds)

    def why_null(self, n: int, context: MetricContext) -> str:
        """Why a cohort of n examples has no value."""
        if reason := self.lacks(context):
            return reason
        return f"needs at least {self.least} examples, there are {n}" if n < self.least else self.undefined


_UNIT = (0.0, 1.0)


def _share(name: str, kind: AnswerKind, family: Family) -> MetricSpec:
    """A metric between 0 and 1 that is averaged."""
    return MetricSpec(name, kind, True, "mean", False, family, _UNIT)


def _of_set(name: str, kind: AnswerKind, family: Family) -> MetricSpec:
    """A number of a whole cohort, stored as shares."""
    return MetricSpec(name, kind, True, "mean", True, family, None)


def _count(name: str, kind: AnswerKind, family: Family) -> MetricSpec:
    """A count of different things over a cohort, stored as shares."""
    return replace(_of_set(name, kind, family), has_interval=False)


def _cut(stem: str, k: int) -> MetricSpec:
    """A metric of the first k items of a ranking."""
    name = f"{stem}@{k}"
    if stem in ranking.STEMS:
        return _share(name, "ranking", ranking.compute)
    if stem == "coverage":
        return replace(_count(name, "ranking", lists.compute), lacks=lists.lacks)
    lacks = lists.lacks_paths if stem == "ild" else lists.lacks
    bounds = None if stem == "novelty" else _UNIT
    return MetricSpec(name, "ranking", stem != "popularity", "mean", False, lists.compute, bounds, lacks=lacks)


def _described(name: str, *, better: bool = True, bounds: tuple[float, float] = _UNIT, **more: Any) -> MetricSpec:
    """A metric of single pictures."""
    return MetricSpec(name, "image", better, "mean", False, image.compute, bounds, **more)


METRICS: dict[str, MetricSpec] = {
    spec.name: spec
    for spec in (
        *(_cut(stem, k) for stem in (*ranking.STEMS, "coverage", "novelty") for k in (3, 5, 10)),
        *(_cut(stem, 10) for stem in ("ild", "popularity")),
        MetricSpec("rmse", "rating", False, "root_mean", False, rating.compute, (0.0, rating.WORST_ERROR**2)),
        MetricSpec("mae", "rating", False, "mean", False, rating.compute, (0.0, rating.WORST_ERROR)),
        _share("rouge_1", "text", text.compute),
        _share("rouge_2", "text", text.compute),
        _share("rouge_l", "text", text.compute),
        _share("bleu1", "text", bleu.compute),
        _share("bleu2", "text", bleu.compute),
        _share("bleu4", "text", bleu.compute),
        _of_set("bleu1_corpus", "text", bleu.compute),
        _of_set("bleu2_corpus", "text", bleu.compute),
        _of_set("bleu4_corpus", "text", bleu.compute),
        _of_set("unigram_precision", "text", bleu.compute),
        replace(_share("meteor", "text", meteor.compute), lacks=meteor.lacks),
        _share("meteor_exact_stem", "text", meteor.compute),
        MetricSpec("bertscore", "text", True, "mean", False, bertscore.compute, (-1.0, 1.0), lacks=bertscore.lacks),
        replace(
            _of_set("feature_match", "text", wording.compute_features),
            lacks=wording.lacks,
            undefined="no reference names a feature of its item",
        ),
        _count("distinct_1", "text", wording.compute),
        _count("distinct_2", "text", wording.compute),
        _count("unique_sentence_ratio", "text", wording.compute),
        _share("precision", "selection", selection.compute),
        _share("recall", "selection", selection.compute),
        _share("f1", "selection", selection.compute),
        _share("exact_match", "selection", selection.compute),
        _of_set("micro_precision", "selection", selection.compute),
        _of_set("micro_recall", "selection", selection.compute),
        _of_set("micro_f1", "selection", selection.compute),
        MetricSpec(
            *("order_sensitivity", "selection", False, "mean", False, selection.compute_order, _UNIT),
            version=2,
            lacks=selection.lacks_order,
            undefined="no example of this cohort was asked again",
            sampled=True,
        ),
        MetricSpec("kid", "image", False, "u_statistic", True, image.compute, None, least=2),
        MetricSpec(
            *("fid", "image", False, "mean", True, image.compute, None), least=frechet.TIMES_WIDTH * descriptor.WIDTH
        ),
        _described("picture_similarity"),
        _described("nearest_train_distance", lacks=image.lacks_train, undefined="no training item has a picture"),
        replace(
            _described("personalization_gain", bounds=(-1.0, 1.0), lacks=image.lacks_histories, least=2), by_cohort=True
        ),
        _described("style_accuracy", lacks=image.lacks_styles),
        MetricSpec(
            "clip_text_image", "image", True, "mean", False, clip.compute, (-1.0, 1.0), lacks=clip.lacks_queries
        ),
        MetricSpec("clip_image_image", "image", True, "mean", False, clip.compute, (-1.0, 1.0), lacks=clip.lacks),
    )
}


def metric(name: str) -> MetricSpec:
    """The metric of that name; ranking metrics may have any cut from 1 to 100, as in `map@20`.

    Raises:
        UnknownNameError: there is none.
    """
    if name in METRICS:
        return METRICS[name]
    cut = _CUT.fullmatch(name)
    if cut is None or int(cut[2]) > DEEPEST:
        raise UnknownNameError("metric", name, METRICS)
    return _cut(cut[1], int(cut[2]))


def names_of(kind: AnswerKind) -> list[str]:
    """Names of all metrics of an answer kind."""
    return [spec.name for spec in METRICS.values() if spec.answer_kind == kind]


def score(
    names: Iterable[str], answers: pl.DataFrame, predictions: pl.DataFrame, context: MetricContext
) -> pl.DataFrame:
    """Values of several metrics as a frame of `schemas.SCORES`, sorted by its key; each family is computed in one pass.

    A metric that lacks something in this context has null values.

    Raises:
        UnknownNameError: there is no such metric.
        PredictionError, IncompleteError: as in `pairs.paired`.
    """
    families: dict[Family, list[str]] = {}
    absent: dict[AnswerKind, list[str]] = {}
    for name in dict.fromkeys(names):
        spec = metric(name)
        if spec.lacks(context):
            absent.setdefault(spec.answer_kind, []).append(name)
        else:
            families.setdefault(spec.family, []).append(name)
    frames = [family(members, answers, predictions, context) for family, members in families.items()]
    for kind, members in absent.items():
        pairs = paired(answers, predictions, kind)
        frames.append(scores(pairs, dict.fromkeys(members, np.full(pairs.height, np.nan))))
    return pl.concat(frames).sort(SCORES.key) if frames else empty(SCORES.columns)
