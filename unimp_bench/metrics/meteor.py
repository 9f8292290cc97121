"""METEOR (Banerjee & Lavie 2005) by nltk: alpha 0.9, beta 3, gamma 0.5.

- meteor matches words that are equal, then equal stems (Porter), then synonyms of WordNet 3.0. Without WordNet it is
  not computed.
- meteor_exact_stem leaves synonyms out. It is always computed, never under the other's name: it is lower, or equal.

Tokens are nltk's Treebank words; unlike Hugging Face's `meteor` the text is not cut into sentences first (that needs
another download), so a full stop within a text stays with its word. Unanswered scores 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import polars as pl

from unimp_bench.metrics import wordnet
from unimp_bench.metrics.pairs import MetricContext, paired, scores


class _Meanings(Protocol):
    def synsets(self, word: str) -> Sequence[wordnet.Synset]:
        """Meanings of a word."""


class _NoMeanings:
    def synsets(self, word: str) -> Sequence[wordnet.Synset]:
        return ()


def lacks(context: MetricContext) -> str | None:
    """Why `meteor` cannot be computed."""
    if wordnet.find(context.models.wordnet):
        return None
    return "needs WordNet: nltk's data `wordnet` or Debian's package wordnet-base; see meteor_exact_stem"


class Meteor:
    """METEOR of pairs of texts; words and pairs are worked out once."""

    def __init__(self, meanings: _Meanings) -> None:
        from nltk.stem.porter import PorterStemmer  # type: ignore[import-untyped]
        from nltk.tokenize.destructive import NLTKWordTokenizer  # type: ignore[import-untyped]

        self._meanings = meanings
        self._tokenize, self._porter = NLTKWordTokenizer().tokenize, PorterStemmer()
        self._tokens: dict[str, list[str]] = {}
        self._stems: dict[str, str] = {}
        self._pairs: dict[tuple[str, str], float] = {}

    def stem(self, word: str) -> str:
        """The word's stem; this object is the stemmer that nltk is given."""
        if word not in self._stems:
            self._stems[word] = self._porter.stem(word)
        return self._stems[word]

    def _cut(self, text: str) -> list[str]:
        if text not in self._tokens:
            self._tokens[text] = self._tokenize(text)
        return self._tokens[text]

    def __call__(self, truth: str, said: str) -> float:
        """METEOR of a text against its reference."""
        from nltk.translate.meteor_score import single_meteor_score  # type: ignore[import-untyped]

        if (truth, said) not in self._pairs:
            found = single_meteor_score(self._cut(truth), self._cut(said), stemmer=self, wordnet=self._meanings)
            self._pairs[truth, said] = float(found)
        return self._pairs[truth, said]


def compute(
    names: Sequence[str], answers: pl.DataFrame, predictions: pl.DataFrame, context: MetricContext
) -> pl.DataFrame:
    """Values per example of `meteor` and `meteor_exact_stem`, as a frame of `schemas.SCORES`."""
    pairs = paired(answers, predictions, "text")
    values = {}
    for name in names:
        place = wordnet.find(context.models.wordnet) if name == "meteor" else None
        score = Meteor(wordnet.WordNet(place) if place else _NoMeanings())
        both = pairs.select("answer", "prediction").iter_rows()
        values[name] = np.array([0.0 if said is None else score(truth, said) for truth, said in both], dtype=float)
    return scores(pairs, values)
