"""BLEU (Papineni et al. 2002) with the settings and formulas of sacrebleu (Post 2018), and a unigram precision.

Tokens are those of its tokenizer "13a", case is kept; matches are clipped counts.

- bleu1, bleu2, bleu4: sentence BLEU up to that order, smoothed by "exp", orders longer than the text left out
  (`effective_order`), as `sacrebleu.sentence_bleu` does. Unanswered scores 0.
- bleu1_corpus, bleu2_corpus, bleu4_corpus: BLEU of all texts of a cohort together, as `sacrebleu.corpus_bleu` does;
  not the mean of the former. Its shares (see `shares`) take the derivative of T = BP exp(mean_n log p_n) in the sums of
  matches m_n, of n-grams l_n, and of lengths s and r:
  c_i = T (1 + mean_n [m_ni / avg m_n - l_ni / avg l_n] - [s < r] avg r / avg s (r_i / avg r - s_i / avg s)),
  where an order without any match, which smoothing alone fills, counts as constant.
- unigram_precision = sum of matched words / sum of words said, without brevity penalty: what the paper's released code
  reports as "BLEU" (`precisions[0]` of Hugging Face's `bleu`). It is no BLEU and never compared with one.

In the numbers of a cohort silence would be free, so an unanswered example counts as a text as long as its reference in
which nothing matches (an empty line would only shorten the whole). All are from 0 to 1, not to 100.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from unimp_bench.metrics.pairs import MetricContext, Values, paired, scores, within_cohorts
from unimp_bench.metrics.shares import ratio

_ORDERS = {"bleu1": 1, "bleu2": 2, "bleu4": 4}
_DEEPEST = 4
_SAID, _TRUE = 2 * _DEEPEST, 2 * _DEEPEST + 1  # columns of lengths, after matches and n-grams of each order


class _Counter:
    """Counts of texts, each worked out once: many systems say few different things."""

    def __init__(self) -> None:
        self._tokenizer = Tokenizer13a()  # type: ignore[no-untyped-call]
        self._grams: dict[str, tuple[int, list[Counter[tuple[str, ...]]]]] = {}
        self._pairs: dict[tuple[str, str | None], NDArray[np.int64]] = {}

    def _of(self, text: str) -> tuple[int, list[Counter[tuple[str, ...]]]]:
        if text not in self._grams:
            tokens = self._tokenizer(text.rstrip()).split()
            orders = range(1, _DEEPEST + 1)
            grams = [Counter(zip(*(tokens[start:] for start in range(n)), strict=False)) for n in orders]
            self._grams[text] = len(tokens), grams
        return self._grams[text]

    def statistics(self, truth: str, said: str | None) -> NDArray[np.int64]:
        """Matches and n-grams said of orders 1-4, words said, words of the reference: `(10,)`."""
        if (truth, said) not in self._pairs:
            length, right = self._of(truth)
            words, grams = self._of(said) if said is not None else (length, right)
            matches = [(a & b).total() if said is not None else 0 for a, b in zip(right, grams, strict=True)]
            row = [*matches, *(gram.total() for gram in grams), words, length]
            self._pairs[truth, said] = np.array(row, dtype=np.int64)
        return self._pairs[truth, said]


def _score(row: NDArray[np.int64], order: int, *, effective: bool) -> float:
    """BLEU from 0 to 1 by sacrebleu."""
    found = BLEU.compute_bleu(
        correct=row[:order].tolist(),
        total=row[_DEEPEST : _DEEPEST + order].tolist(),
        sys_len=int(row[_SAID]),
        ref_len=int(row[_TRUE]),
        smooth_method="exp",
        effective_order=effective,
        max_ngram_order=order,
    )
    return float(found.score) / 100


def corpus_shares(rows: NDArray[np.int64], order: int) -> Values:
    """Shares `(n,)` of corpus BLEU from statistics `(n, 10)`."""
    value = _score(rows.sum(axis=0), order, effective=False)
    if value == 0:
        return np.zeros(len(rows))
    mean = rows.mean(axis=0)
    relative = rows / np.where(mean > 0, mean, 1)  # 0 throughout where nothing is counted
    gain = np.zeros(len(rows))
    for n in range(order):
        gain += ((relative[:, n] - (mean[n] > 0)) - (relative[:, _DEEPEST + n] - 1)) / order
    if mean[_SAID] < mean[_TRUE]:
        gain -= mean[_TRUE] / mean[_SAID] * (relative[:, _TRUE] - relative[:, _SAID])
    shares: Values = value * (1 + gain)
    return shares


def compute(
    names: Sequence[str], answers: pl.DataFrame, predictions: pl.DataFrame, context: MetricContext
) -> pl.DataFrame:
    """Values per example of the metrics above, as a frame of `schemas.SCORES`."""
    del context
    pairs = paired(answers, predictions, "text")
    counter = _Counter()
    rows = np.zeros((pairs.height, 2 * _DEEPEST + 2), dtype=np.int64)
    for row, (truth, said) in enumerate(pairs.select("answer", "prediction").iter_rows()):
        rows[row] = counter.statistics(truth, said)
    silent = pairs["prediction"].is_null().to_numpy()

    def value(name: str) -> Values:
        if name == "unigram_precision":
            return within_cohorts(
                pairs, lambda part: ratio(rows[part, 0].astype(float), rows[part, _SAID].astype(float))
            )
        order = _ORDERS[name.removesuffix("_corpus")]
        if name.endswith("_corpus"):
            return within_cohorts(pairs, lambda part: corpus_shares(rows[part], order))
        distinct, place = np.unique(rows, axis=0, return_inverse=True)
        found = np.array([_score(row, order, effective=True) for row in distinct])
        return np.where(silent, 0, found[place.reshape(-1)]) if len(rows) else np.zeros(0)

    return scores(pairs, {name: value(name) for name in names})
