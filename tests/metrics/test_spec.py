from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from unimp_bench.metrics.pairs import MetricContext
from unimp_bench.metrics.spec import METRICS, names_of, score
from unimp_bench.metrics.statistics import Interval
from unimp_bench.schemas import PREDICTIONS
from unimp_bench.tasks.spec import TASKS


def test_every_task_finds_its_first_metric() -> None:
    for task in TASKS.values():
        assert METRICS[task.metric].answer_kind == task.answer
        assert task.metric in names_of(task.answer)


def test_metrics_are_filed_under_their_names() -> None:
    assert all(name == spec.name for name, spec in METRICS.items())
    assert {spec.answer_kind for spec in METRICS.values()} == set(PREDICTIONS)
    lower = {"rmse", "mae", "kid", "fid", "order_sensitivity", "popularity@10"}
    assert {name for name, spec in METRICS.items() if not spec.higher_is_better} == lower


def test_numbers_of_a_set_are_never_pooled_and_counts_have_no_interval() -> None:
    of_sets = {name for name, spec in METRICS.items() if spec.by_cohort}
    counts = {name for name, spec in METRICS.items() if not spec.has_interval}
    assert counts == {f"coverage@{k}" for k in (3, 5, 10)} | {"distinct_1", "distinct_2", "unique_sentence_ratio"}
    assert counts < of_sets
    assert {"kid", "fid", "micro_f1", "bleu4_corpus", "unigram_precision", "feature_match"} < of_sets
    found = METRICS["coverage@5"].interval(np.array([0.1, 0.3]), seed=0)
    assert found == Interval(pytest.approx(0.2), None, None, 2)
    equal = METRICS["micro_f1"].interval(np.zeros(9), seed=0)  # no bounds, and equal shares are no certainty
    assert equal == Interval(0.0, None, None, 9)
    assert METRICS["coverage@5"].interval(np.array([]), seed=0).value is None


def test_what_a_metric_lacks_is_null_and_has_a_reason() -> None:
    truth = pl.DataFrame({"example_id": ["u1", "u2"], "text": ["a b", "c"]})
    found = score(["bertscore", "rouge_1"], truth, truth, MetricContext())
    assert found.filter(metric="bertscore")["value"].to_list() == [None, None]
    assert found.filter(metric="rouge_1")["value"].to_list() == [1, 1]
    assert (
        METRICS["bertscore"].why_null(2, MetricContext()) == "needs an encoder in models/bertscore of the home folder"
    )
    assert METRICS["fid"].why_null(2, MetricContext()) == "needs at least 640 examples, there are 2"
