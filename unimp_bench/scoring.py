"""Scoring: predictions beside sealed answers, one value an example and metric, and aggregates derived from these."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from unimp_bench import hub, tables
from unimp_bench.dataset import Dataset
from unimp_bench.metrics import wordnet
from unimp_bench.metrics.pairs import MetricContext, Models, unanswered
from unimp_bench.metrics.spec import METRICS, names_of, score
from unimp_bench.provenance import digest
from unimp_bench.schemas import COHORTS, EXAMPLES, RESULTS, conform
from unimp_bench.tasks.spec import TASKS

_SEED = 0  # of the bootstrap: equal values have equal intervals, whoever made them
_COLUMNS = [name for name in RESULTS.columns if name != "run_id"]


@dataclass(frozen=True)
class Scored:
    """What scoring found.

    `scores` has the columns of `schemas.SCORES`, `metrics` those of `schemas.RESULTS` but the run: one row a metric and
    cohort. `not_computed` gives the reason by "metric of cohort".
    """

    scores: pl.DataFrame
    metrics: pl.DataFrame
    not_computed: dict[str, str]


def suite(task: str) -> list[str]:
    """Names of the metrics of a task, the first of the leaderboard first."""
    first = TASKS[task].metric
    return [first, *(name for name in names_of(TASKS[task].answer) if name != first)]


def versions(task: str) -> dict[str, int]:
    """Version of each metric of a task; a run that was scored by others is scored again."""
    return {name: METRICS[name].version for name in suite(task)}


def models_at(folder: Path, task: str) -> Models:
    """The models that a task's metrics need and the models' folder has or names; see `hub`.

    Raises:
        ConfigError, InputError: the folder's file cannot be understood.
    """
    given = hub.settings(folder)
    found = {name: hub.place(folder, name, given) for name in _needs(task)}
    return Models(
        **{name: place for name, (place, _) in found.items()},
        bertscore_layers=given.get("bertscore_layers"),
        why={name: why for name, (_, why) in found.items() if why},
    )


def _needs(task: str) -> tuple[str, ...]:
    return {"text": ("bertscore", "wordnet"), "image": ("clip",)}.get(TASKS[task].answer, ())


def basis(task: str, models: Models) -> dict[str, Any]:
    """What a task's scores stand on, metric versions and models at hand; a run that stood on another is scored again.

    A model is told apart by the names and sizes of its files: hashing gigabytes in every run would cost more.
    """
    places = {
        name: wordnet.find(models.wordnet) if name == "wordnet" else getattr(models, name) for name in _needs(task)
    }
    found: dict[str, Any] = {name: _signature(place) for name, place in places.items() if place is not None}
    if models.bertscore is not None and models.bertscore_layers is not None:
        found["bertscore_layers"] = models.bertscore_layers
    return {"metrics": versions(task), "models": found}


def _signature(place: Path) -> str:
    files = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    return digest([(path.name, path.stat().st_size) for path in files])


def context_of(
    data: Dataset,
    task: str,
    examples: pl.DataFrame,
    *,
    models: Models | None = None,
    permuted: pl.DataFrame | None = None,
) -> MetricContext:
    """What the metrics of a task may look at; arguments as in `score_predictions`."""
    kind = TASKS[task].answer
    train = None
    if kind in ("ranking", "image"):
        train = data.interactions().group_by("item_id").agg(count=pl.len()).sort("item_id").collect()
    return MetricContext(
        view=data.catalogue(),
        examples=conform(examples, EXAMPLES.columns),
        train=train,
        permuted=permuted,
        styles=_styles(data) if kind == "image" else None,
        models=models or Models(),
    )


def _styles(data: Dataset) -> pl.DataFrame | None:
    """Styles of a synthetic shop's items, where its truth is there."""
    if data.truth is None or not (data.truth / "items.parquet").is_file():
        return None
    from unimp_bench.data.sources.synthetic.truth import TRUE_ITEMS

    return tables.read(data.truth / "items.parquet", TRUE_ITEMS).select("item_id", "style")


def score_predictions(
    data: Dataset,
    task: str,
    predictions: pl.DataFrame,
    examples: pl.DataFrame,
    *,
    models: Models | None = None,
    permuted: pl.DataFrame | None = None,
) -> Scored:
    """Score predictions on the examples that were asked.

    Args:
        data: the dataset, whose sealed answers are opened here.
        task: name of the task.
        predictions: columns of `schemas.PREDICTIONS` for the task's answer kind.
        examples: at least example_id and cohort of all examples that were asked; metrics that compare with histories,
            queries or target items want these columns of `schemas.EXAMPLES` too.
        models: local folders of what some metrics need; a metric without is listed as not computed.
        permuted: the same runner's answers to some of the examples with candidates in another order, for
            `order_sensitivity`.

    Raises:
        PredictionError: an example is answered twice, or an answer cannot be read.
        IncompleteError: the dataset lacks an answer.
    """
    kind = TASKS[task].answer
    answers = examples.select("example_id", "cohort").join(data.sealed_answers(task), on="example_id", how="left")
    context = context_of(data, task, examples, models=models, permuted=permuted)
    scores = score(suite(task), answers, predictions, context)
    silent = unanswered(answers, predictions, kind)
    rows, not_computed = [], {}
    cohorts = [cohort for cohort in COHORTS if cohort in answers["cohort"]]
    for name in suite(task):
        for cohort in cohorts:
            of_cohort = pl.col("cohort") == cohort
            known = scores.filter(of_cohort & (pl.col("metric") == name)).drop_nulls("value")
            values, asked = known["value"], silent.filter(of_cohort)
            if METRICS[name].sampled and len(values):
                asked = asked.join(known.select("example_id"), on="example_id", how="semi")
            # A metric is undefined for a whole cohort or for none of it: leaving out single examples would be a gift.
            assert len(values) in (0, asked.height), f"{name} has no value for some examples of {cohort}"
            found = METRICS[name].interval(values.to_numpy(), seed=_SEED)
            if found.value is None:
                not_computed[f"{name} of {cohort}"] = METRICS[name].why_null(asked.height, context)
            rows.append(
                (name, cohort, found.value, found.low, found.high, asked.height, int(asked["unanswered"].sum()))
            )
    metrics = pl.DataFrame(rows, schema={name: RESULTS.columns[name] for name in _COLUMNS}, orient="row")
    return Scored(scores, metrics, not_computed)
