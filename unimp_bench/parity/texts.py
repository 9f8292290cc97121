"""Text metrics by the packages that define them, called directly."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np

from unimp_bench.metrics.wordnet import find
from unimp_bench.parity.samples import Sample, Values

_EXACT = 1e-9


def by_rouge_score(drawn: Sample) -> Iterator[tuple[str, Values, float]]:
    """F-measures of every pair."""
    from rouge_score.rouge_scorer import RougeScorer

    theirs = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}
    scorer = RougeScorer(list(theirs.values()), use_stemmer=False)
    found = [scorer.score(truth, said) for truth, said in zip(drawn.written, drawn.said, strict=True)]
    for name, other in theirs.items():
        yield name, np.array([one[other].fmeasure for one in found]), _EXACT


def by_sacrebleu(drawn: Sample) -> Iterator[tuple[str, Values | float, float]]:
    """BLEU of every pair and of all texts together, from 0 to 1; the unigram precision without penalty."""
    from sacrebleu.metrics.bleu import BLEU

    for order in (1, 2, 4):
        one = BLEU(max_ngram_order=order, effective_order=True)
        pairs = zip(drawn.said, drawn.written, strict=True)
        values = [one.sentence_score(said, [truth]).score / 100 for said, truth in pairs]
        yield f"bleu{order}", np.array(values), _EXACT
        whole = BLEU(max_ngram_order=order).corpus_score(drawn.said, [drawn.written])
        yield f"bleu{order}_corpus", whole.score / 100, _EXACT
        if order == 1:
            yield "unigram_precision", whole.precisions[0] / 100, _EXACT


class _NoMeanings:
    def synsets(self, word: str) -> tuple[()]:
        return ()


def _meteor(drawn: Sample, **meanings: Any) -> Values:
    tokenizers: Any = import_module("nltk.tokenize.destructive")
    meteor: Any = import_module("nltk.translate.meteor_score")
    cut = tokenizers.NLTKWordTokenizer().tokenize
    pairs = zip(drawn.said, drawn.written, strict=True)
    return np.array(
        [meteor.meteor_score([cut(truth)], cut(said), **meanings) for said, truth in pairs], dtype=np.float64
    )


def by_nltk(drawn: Sample) -> Iterator[tuple[str, Values, float]]:
    """METEOR without synonyms."""
    yield "meteor_exact_stem", _meteor(drawn, wordnet=_NoMeanings()), _EXACT


def by_nltk_with_wordnet(drawn: Sample) -> Iterator[tuple[str, Values, float]]:
    """METEOR with nltk's own reader of WordNet.

    Raises:
        LookupError: nltk's data is not there.
    """
    wordnet: Any = import_module("nltk.corpus").wordnet
    if find() is None:
        raise LookupError("needs WordNet in one of nltk's places")
    try:
        wordnet.ensure_loaded()
    except LookupError:
        raise LookupError("nltk does not find its data `wordnet`") from None
    yield "meteor", _meteor(drawn), _EXACT
