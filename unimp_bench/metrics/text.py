"""Text metrics: ROUGE F-measures of the `rouge_score` package, per example, without stemming.

Its tokenizer lower-cases and keeps runs of a-z and 0-9 only, so a text in another script has no tokens and scores 0.
No stemming is the default of Hugging Face's `rouge`, which the paper's code called. Unanswered scores 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from unimp_bench.metrics.pairs import MetricContext, paired, scores

_ROUGE = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}


def compute(
    names: Sequence[str], answers: pl.DataFrame, predictions: pl.DataFrame, context: MetricContext
) -> pl.DataFrame:
    """Values per example of `rouge_1`, `rouge_2` and `rouge_l` (Lin 2004), as a frame of `schemas.SCORES`."""
    from rouge_score.rouge_scorer import RougeScorer

    del context
    pairs = paired(answers, predictions, "text")
    scorer = RougeScorer([_ROUGE[name] for name in names], use_stemmer=False)
    values = np.zeros((len(names), pairs.height))
    known: dict[tuple[str, str], list[float]] = {}  # many systems say few different things
    for row, (truth, said) in enumerate(pairs.select("answer", "prediction").iter_rows()):
        if said is None:
            continue
        if (truth, said) not in known:
            found = scorer.score(truth, said)
            known[truth, said] = [found[_ROUGE[name]].fmeasure for name in names]
        values[:, row] = known[truth, said]
    return scores(pairs, dict(zip(names, values, strict=True)))
