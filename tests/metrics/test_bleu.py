from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
import sacrebleu
from sacrebleu.metrics import BLEU

from tests.metrics.frames import texts
from unimp_bench.metrics.bleu import compute
from unimp_bench.metrics.pairs import MetricContext

CONTEXT = MetricContext()
ALL = ["bleu1", "bleu2", "bleu4", "bleu1_corpus", "bleu2_corpus", "bleu4_corpus", "unigram_precision"]


def values(frame: pl.DataFrame, name: str) -> list[float]:
    return frame.filter(pl.col("metric") == name)["value"].to_list()


def test_worked_by_hand() -> None:
    truth = texts({"u1": "the fabric is very soft", "u2": "it fits well"})
    said = texts({"u1": "the soft fabric is", "u2": "it it it"})
    found = compute(["bleu1", "bleu2", "unigram_precision"], truth, said, CONTEXT)
    # u1: 4 of 4 words and 1 of 3 pairs ("fabric is"), one word short. u2: "it" counts once; no pair, smoothed to 1 / 4.
    short = math.exp(1 - 5 / 4)
    assert values(found, "bleu1") == pytest.approx([short, 1 / 3])
    assert values(found, "bleu2") == pytest.approx([short * (1 / 3) ** 0.5, (1 / 3 * 1 / 4) ** 0.5])
    assert sum(values(found, "unigram_precision")) / 2 == pytest.approx(5 / 7)


TEXT = "the a soft fabric is very nice , fits well ! don't It's price-wise 3.5 good bad &amp; <b> Größe"
WORDS = TEXT.split()


def random_texts(seed: int, n: int) -> dict[str, str | None]:
    rng = np.random.default_rng(seed)
    return {f"u{k:03d}": " ".join(rng.choice(WORDS, rng.integers(1, 9))) + "." * (k % 2) for k in range(n)}


def test_equal_to_sacrebleu_sentence_by_sentence_and_over_a_cohort() -> None:
    truth, said = random_texts(0, 150), random_texts(1, 150)
    cohorts = ["new_user" if n % 3 else "in_domain" for n in range(150)]
    found = compute(ALL, texts(truth).with_columns(cohort=pl.Series(cohorts)), texts(said), CONTEXT)
    refs, hyps = [str(t) for t in truth.values()], [str(t) for t in said.values()]
    for order in (1, 2, 4):
        theirs = BLEU(max_ngram_order=order, effective_order=True)
        expected = [theirs.sentence_score(hyp, [ref]).score / 100 for hyp, ref in zip(hyps, refs, strict=True)]
        assert values(found, f"bleu{order}") == pytest.approx(expected, abs=1e-12)
    four = [sacrebleu.sentence_bleu(hyp, [ref]).score / 100 for hyp, ref in zip(hyps, refs, strict=True)]
    assert values(found, "bleu4") == pytest.approx(four, abs=1e-12)
    for cohort in ("new_user", "in_domain"):
        rows = [n for n, c in enumerate(cohorts) if c == cohort]
        part = found.filter(cohort=cohort)
        for order in (1, 2, 4):
            score = BLEU(max_ngram_order=order).corpus_score([hyps[n] for n in rows], [[refs[n] for n in rows]])
            ours = np.mean(values(part, f"bleu{order}_corpus"))
            assert ours == pytest.approx(score.score / 100, abs=1e-12)
            assert 0.005 < ours < 0.9
        unigrams = np.mean(values(part, "unigram_precision"))
        assert unigrams == pytest.approx(score.precisions[0] / 100, abs=1e-12)


@pytest.mark.parametrize("silent", [None, "", " \n"])
def test_silence_scores_zero_and_lowers_the_whole(silent: str | None) -> None:
    truth = texts({"u1": "a b c d", "u2": "a b c d e f g h"})
    said = texts({"u1": "a b c d", "u2": silent})
    found = compute(ALL, truth, said, CONTEXT)
    assert values(found, "bleu4") == [pytest.approx(1), 0]
    assert np.mean(values(found, "unigram_precision")) == pytest.approx(4 / 12)
    assert np.mean(values(found, "bleu1_corpus")) == pytest.approx(4 / 12)


def test_nothing_right_and_nothing_asked() -> None:
    found = compute(ALL, texts({"u1": "a", "u2": "..."}), texts({"u1": "b", "u2": "x"}), CONTEXT)
    assert found["value"].to_list() == [0] * 14
    assert compute(ALL, texts({}), texts({}), CONTEXT).height == 0
