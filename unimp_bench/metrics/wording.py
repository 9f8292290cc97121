"""What texts are like: how varied over a cohort, and whether they name a feature of the item in question.

Words are lower-cased runs of letters and digits in any script.

- distinct_1, distinct_2 = different n-grams in all texts of a cohort / n-grams in them (Li et al. 2016). It falls with
  the number of texts, so compare it at equal n only. An unanswered example counts as one n-gram that is never new.
- unique_sentence_ratio = different texts / texts (USR of Li, Zhang & Chen 2020). Unanswered adds no different text.
- feature_match: of the examples whose reference names a feature of the target item, the share whose text names one of
  the features that the reference names (after the feature matching ratio of Li, Zhang & Chen 2020). A feature is a word
  of at least three letters or digits, no common function word, in the item's title, brand, categories or attributes.
  Unanswered matches nothing.

The first three are counts of different things and have no interval; see `shares`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import polars as pl

from unimp_bench.metrics.pairs import MetricContext, Values, paired, scores, within_cohorts
from unimp_bench.metrics.shares import credit_of, ratio

_WORDS = re.compile(r"[^\W_]+")
_COMMON_TEXT = """
    all and any are been both but can did does each few for from had has have her his how into its just more most not
    now off one only other our out over own same set she some such than that the their them then there these they this
    those too two under use very was were what when where which while who why will with you your
"""
_COMMON = frozenset(_COMMON_TEXT.split())


def words(text: str) -> list[str]:
    """Words of a text, lower-cased."""
    return _WORDS.findall(text.lower())


class _Words:
    """Words of texts, each text cut once."""

    def __init__(self) -> None:
        self._known: dict[str, list[str]] = {}

    def __call__(self, text: str) -> list[str]:
        if text not in self._known:
            self._known[text] = words(text)
        return self._known[text]


def _distinct(said: Sequence[Sequence[str] | None], n: int) -> Values:
    """Shares `(examples,)` of distinct-n; None is an unanswered example."""
    grams = [
        list(zip(*(text[start:] for start in range(n)), strict=False)) if text is not None else [] for text in said
    ]
    lengths = np.array([len(found) if text is not None else 1 for found, text in zip(grams, said, strict=True)])
    return ratio(credit_of(grams), lengths.astype(float))


def compute(
    names: Sequence[str], answers: pl.DataFrame, predictions: pl.DataFrame, context: MetricContext
) -> pl.DataFrame:
    """Values per example of `distinct_1`, `distinct_2` and `unique_sentence_ratio`, as a frame of `schemas.SCORES`."""
    del context
    pairs = paired(answers, predictions, "text")
    texts, cut = pairs["prediction"].to_list(), _Words()
    said = [None if text is None else cut(text) for text in texts]

    def value(name: str) -> Values:
        if name == "unique_sentence_ratio":
            return within_cohorts(pairs, lambda rows: credit_of([[t] if (t := texts[r]) else [] for r in rows]))
        return within_cohorts(pairs, lambda rows: _distinct([said[r] for r in rows], int(name[-1])))

    return scores(pairs, {name: value(name) for name in names})


def lacks(context: MetricContext) -> str | None:
    """Why features cannot be matched."""
    known = context.examples is not None and context.examples["target_item_id"].null_count() == 0
    return None if known and context.view is not None else "needs the catalogue and each example's target item"


def _features(pairs: pl.DataFrame, context: MetricContext) -> list[set[str]]:
    """Features `(examples,)` of the target items."""
    assert context.view is not None and context.examples is not None, "see `lacks`"
    targets = pairs.select("example_id").join(
        context.examples.select("example_id", item_id="target_item_id"),
        on="example_id",
        how="left",
        maintain_order="left",
    )["item_id"]
    parts = [
        pl.concat_list("title", "brand").list.drop_nulls(),
        pl.col("categories").fill_null([]),
        pl.col("attributes").list.eval(pl.element().struct.field("value")).fill_null([]),
    ]
    wanted = context.view.items.filter(pl.col("item_id").is_in(targets.unique().to_list()))
    lists = wanted.select("item_id", texts=pl.concat_list(*parts).list.drop_nulls().list.join(" "))
    known = {
        item: {word for word in words(text) if len(word) >= 3 and word not in _COMMON}
        for item, text in lists.iter_rows()
    }
    return [known.get(item, set()) for item in targets.to_list()]


def compute_features(
    names: Sequence[str], answers: pl.DataFrame, predictions: pl.DataFrame, context: MetricContext
) -> pl.DataFrame:
    """Values per example of `feature_match`, as a frame of `schemas.SCORES`."""
    pairs = paired(answers, predictions, "text")
    cut = _Words()
    due = [
        features.intersection(cut(truth))
        for features, truth in zip(_features(pairs, context), pairs["answer"].to_list(), strict=True)
    ]
    asks = np.array([bool(features) for features in due], dtype=float)
    hits = np.array(
        [
            said is not None and not found.isdisjoint(cut(said))
            for found, said in zip(due, pairs["prediction"], strict=True)
        ],
        dtype=float,
    )
    values = within_cohorts(pairs, lambda rows: ratio(hits[rows], asks[rows]))
    return scores(pairs, dict.fromkeys(names, values))
