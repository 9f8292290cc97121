"""Our metrics beside everybody's; a difference would be seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from unimp_bench import parity
from unimp_bench.metrics.spec import METRICS
from unimp_bench.parity.samples import Sample, sample

_SLOW = ("ranx", "RecBole", "torchmetrics ratings", "torchmetrics pictures")  # compilers, heavy imports


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    kept = {name: ask for name, ask in parity.LIBRARIES.items() if name not in _SLOW}
    monkeypatch.setattr(parity, "LIBRARIES", kept)
    return kept


def test_every_library_at_hand_agrees(quick: dict[str, Any]) -> None:
    lines, absent = parity.compare(seed=3)
    assert {line.library for line in lines} | {one.library for one in absent} == set(quick)
    assert [line for line in lines if not line.agrees] == []
    assert {"ndcg@5", "rmse", "rouge_l", "f1", "kid", "fid", "bleu4", "meteor_exact_stem"} <= {x.metric for x in lines}
    assert {line.metric for line in lines} <= set(METRICS)
    assert all(0 < line.tolerance <= 1e-6 for line in lines)


def test_the_sample_has_ties_misses_and_brevity() -> None:
    drawn = sample(0)
    found = {name: drawn.aggregate(name) for name in ("hr@3", "hr@10", "bleu1_corpus", "unigram_precision", "rmse")}
    assert 0 < found["hr@3"] < found["hr@10"] < 1
    assert found["bleu1_corpus"] < found["unigram_precision"]
    assert found["rmse"] == pytest.approx(float(np.mean((drawn.rated - drawn.ratings) ** 2)) ** 0.5)
    assert sample(0).rankings == drawn.rankings != sample(1).rankings


def test_a_difference_shows_and_so_does_an_absent_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(drawn: Sample) -> Iterator[parity.Check]:
        values = drawn.ours("hr@5").copy()
        values[7] += 1e-6
        yield "hr@5", values, parity.TOLERANCE
        yield "mae", drawn.aggregate("mae"), parity.TOLERANCE
        yield "rmse", float("nan"), parity.TOLERANCE

    def lacking(drawn: Sample) -> Iterator[parity.Check]:
        raise LookupError("no data")
        yield

    libraries = {"wrong": ("math", wrong), "lacking": ("math", lacking), "gone": ("no_such_module", wrong)}
    monkeypatch.setattr(parity, "LIBRARIES", libraries)
    lines, absent = parity.compare()
    assert [(line.metric, line.compared, line.agrees) for line in lines] == [
        ("hr@5", "examples", False),
        ("mae", "set", True),
        ("rmse", "set", False),
    ]
    assert lines[0].difference == pytest.approx(1e-6)
    assert [(one.library, one.reason) for one in absent] == [
        ("lacking", "no data"),
        ("gone", "No module named 'no_such_module'"),
    ]
