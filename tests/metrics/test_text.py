from __future__ import annotations

import polars as pl
import pytest

from unimp_bench.metrics.pairs import MetricContext
from unimp_bench.metrics.text import compute


def texts(rows: dict[str, str | None]) -> pl.DataFrame:
    return pl.DataFrame({"example_id": list(rows), "text": pl.Series(list(rows.values()), dtype=pl.String)})


def test_worked_by_hand() -> None:
    # Tokens: the fabric is very soft | the soft fabric is nice. Longest common subsequence: the fabric is (3 of 5, 5).
    truth = texts({"u1": "The fabric is very soft.", "u2": "It fits well", "u3": "Great fit"})
    said = texts({"u1": "The soft fabric is nice", "u2": "it FITS, well!", "u3": "broke quickly"})
    found = compute(["rouge_1", "rouge_2", "rouge_l"], truth, said, MetricContext())
    assert found.filter(metric="rouge_l")["value"].to_list() == pytest.approx([0.6, 1, 0])
    assert found.filter(metric="rouge_1")["value"].to_list() == pytest.approx([0.8, 1, 0])
    assert found.filter(metric="rouge_2")["value"].to_list() == pytest.approx([0.25, 1, 0])  # "fabric is", 1 of 4 and 4


def test_no_stemming() -> None:
    found = compute(["rouge_l"], texts({"u": "fits"}), texts({"u": "fit"}), MetricContext())
    assert found["value"].to_list() == [0]


@pytest.mark.parametrize("silent", [None, "", " \n\t"])
def test_unanswered_scores_zero(silent: str | None) -> None:
    truth = texts({"u1": "good", "u2": "good", "u3": "good"})
    found = compute(["rouge_l"], truth, texts({"u1": silent, "u3": "good"}), MetricContext())
    assert found["value"].to_list() == [0, 0, 1]


def test_texts_without_words_score_zero_instead_of_failing() -> None:
    truth = texts({"u1": "质量很好", "u2": "...", "u3": "soft"})
    said = texts({"u1": "质量很好", "u2": "...", "u3": "\x00<script>"})
    assert compute(["rouge_l"], truth, said, MetricContext())["value"].to_list() == [0, 0, 0]
