from __future__ import annotations

from pathlib import Path
from typing import Any

import evaluate
import pytest

from unimp_bench.errors import UnknownNameError
from unimp_bench.metrics.modules import load_metric

LISTS = {"predictions": [["a", "x"], ["x", "y", "b"]], "references": [["a"], ["b"]]}
CASES: list[tuple[str, dict[str, list[Any]], float]] = [
    ("ndcg@5", LISTS, 0.75),
    ("hr@3", LISTS, 1.0),
    ("mrr@10", LISTS, 2 / 3),
    ("f1", {"predictions": [["a"], ["b"]], "references": [["a"], ["b", "c"]]}, 5 / 6),
    ("rmse", {"predictions": [4.0, None], "references": [5.0, 2.0]}, 5**0.5),
    ("mae", {"predictions": [4.0, 2.0], "references": [5.0, 2.0]}, 0.5),
    ("map@20", LISTS, 2 / 3),
    ("recall@3", LISTS, 1.0),
    ("precision@5", LISTS, 0.2),
    ("micro_f1", {"predictions": [["a"], ["b"]], "references": [["a"], ["b", "c"]]}, 4 / 5),
    ("exact_match", {"predictions": [["a"], ["b"]], "references": [["a"], ["b", "c"]]}, 0.5),
    ("bleu1", {"predictions": ["so soft", ""], "references": ["so soft", "nice"]}, 0.5),
    ("bleu1_corpus", {"predictions": ["so soft", "bad"], "references": ["so soft", "nice"]}, 2 / 3),
    ("unigram_precision", {"predictions": ["so soft", "bad"], "references": ["so soft", "nice"]}, 2 / 3),
    ("meteor_exact_stem", {"predictions": ["soft colors", ""], "references": ["soft color", "nice"]}, 0.9375 / 2),
    ("distinct_1", {"predictions": ["so soft", "so nice"], "references": ["a", "b"]}, 3 / 4),
    ("unique_sentence_ratio", {"predictions": ["a", "a"], "references": ["a", "b"]}, 0.5),
    ("rouge_l", {"predictions": ["so soft", ""], "references": ["soft", "nice"]}, 1 / 3),
]


@pytest.fixture(params=[False, True], ids=["on disk", "in memory"])
def options(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    return {"cache_dir": str(tmp_path), "keep_in_memory": request.param}


@pytest.mark.parametrize(("name", "inputs", "expected"), CASES, ids=[c[0] for c in CASES])
def test_compute(name: str, inputs: dict[str, list[Any]], expected: float, options: dict[str, Any]) -> None:
    found = load_metric(name, **options).compute(**inputs)
    assert found == {name: pytest.approx(expected)}


def test_add_batch_gives_what_one_call_gives(options: dict[str, Any]) -> None:
    for name, inputs, expected in CASES:
        module = load_metric(name, **options)
        for row in range(2):
            module.add_batch(predictions=inputs["predictions"][row:][:1], references=inputs["references"][row:][:1])
        assert module.compute() == {name: pytest.approx(expected)}


def test_a_module_can_be_used_again(options: dict[str, Any]) -> None:
    module = load_metric("hr@5", **options)
    assert module.compute(predictions=[["a"]], references=[["a"]]) == {"hr@5": 1.0}
    assert module.compute(predictions=[["a"]], references=[["b"]]) == {"hr@5": 0.0}


def test_combine(options: dict[str, Any]) -> None:
    both = evaluate.combine([load_metric(name, **options) for name in ("ndcg@5", "mrr@10", "precision")])
    assert both.compute(**LISTS) == {
        "ndcg@5": pytest.approx(0.75),
        "mrr@10": pytest.approx(2 / 3),
        "precision": pytest.approx(5 / 12),
    }


def test_unknown_metrics_name_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean .*rouge_l"):
        load_metric("rouge-l")
    with pytest.raises(UnknownNameError, match="unknown metric 'kid'"):
        load_metric("kid")
    for name in ("novelty@5", "feature_match", "order_sensitivity"):  # of no use without a catalogue or a second answer
        with pytest.raises(UnknownNameError):
            load_metric(name)
