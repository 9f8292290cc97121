"""Random answers of every kind, beside random truths, and what our metrics make of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_bench.metrics.frechet import fid_shares
from unimp_bench.metrics.image import kid_shares
from unimp_bench.metrics.pairs import MetricContext
from unimp_bench.metrics.spec import METRICS, score
from unimp_bench.metrics.spec import metric as find
from unimp_bench.runners.ranking import top_items

EXAMPLES, ITEMS, LISTED, MOST_RELEVANT = 300, 120, 20, 3
CUTS = (3, 5, 10)
_WIDTH = 64  # of picture descriptors
_PICTURES = 700  # FID wants ten times the width
_WORD_LIST = "the bib is soft and fits well great price love colour it's nice. quality good! my baby's design, sturdy"
_WORDS = _WORD_LIST.split()
Values = NDArray[np.float64]
Strings = list[list[str]]


@dataclass(frozen=True)
class Sample:
    """Truths and answers, example by example.

    `rankings` best first, `relevant` 1-3 items of which not all are listed; `rated` and `ratings` from 1 to 5;
    `chosen` and `right` of five candidates; `said` and `written` texts; `generated` and `real` `(n, 64)` descriptors.
    """

    ids: list[str]
    rankings: Strings
    relevant: Strings
    rated: Values
    ratings: Values
    chosen: Strings
    right: Strings
    said: list[str]
    written: list[str]
    generated: Values
    real: Values

    @cached_property
    def _frames(self) -> dict[str, tuple[pl.DataFrame, pl.DataFrame]]:
        def pair(column: str, answers: object, said: object, kind: object) -> tuple[pl.DataFrame, pl.DataFrame]:
            left, right = (
                pl.DataFrame({"example_id": self.ids, column: pl.Series(values, dtype=kind)})  # type: ignore[arg-type]
                for values in (answers, said)
            )
            return left.with_columns(cohort=pl.lit("in_domain")), right

        strings = pl.List(pl.String)
        return {
            "ranking": pair("item_ids", self.relevant, self.rankings, strings),
            "rating": pair("rating", self.ratings, self.rated, pl.Float32),
            "selection": pair("item_ids", self.right, self.chosen, strings),
            "text": pair("text", self.written, self.said, pl.String),
        }

    def ours(self, metric: str) -> Values:
        """Our value of every example `(examples,)`."""
        if metric == "kid":
            return kid_shares(self.generated, self.real)
        if metric == "fid":
            return fid_shares(self.generated, self.real)
        answers, said = self._frames[find(metric).answer_kind]
        return score([metric], answers, said, MetricContext())["value"].to_numpy()

    def aggregate(self, metric: str) -> float:
        """Our number of the whole set."""
        mean = float(self.ours(metric).mean())
        return mean**0.5 if metric in METRICS and METRICS[metric].aggregate == "root_mean" else mean


def sample(seed: int) -> Sample:
    """Draw everything."""
    rng = np.random.default_rng([seed, 11])
    ids = [f"u{row:04d}:000007" for row in range(EXAMPLES)]
    scores = rng.integers(0, 8, size=(EXAMPLES, ITEMS)).astype(np.float32)  # eight levels: nearly all are tied
    members = np.ones(ITEMS, dtype=bool)
    nothing = [np.empty(0, dtype=np.int64)] * EXAMPLES
    listed, _ = top_items(scores, example_ids=ids, members=members, seen=nothing, k=LISTED, seed=seed)
    relevant = []
    for row in range(EXAMPLES):
        near = rng.choice(listed[row], size=rng.integers(0, MOST_RELEVANT), replace=False)
        far = rng.integers(0, ITEMS, size=1)  # mostly not listed
        relevant.append([_item(item) for item in dict.fromkeys([*near.tolist(), *far.tolist()])])
    chosen, right = [], []
    for _ in ids:
        candidates = rng.choice(ITEMS, size=5, replace=False).tolist()
        right.append([_item(item) for item in rng.choice(candidates, size=rng.integers(1, 4), replace=False)])
        chosen.append([_item(item) for item in rng.choice(candidates, size=rng.integers(1, 6), replace=False)])
    written = [_text(rng, 15) for _ in ids]
    said = [text if rng.random() < 0.05 else _text(rng, 11) for text in written]  # shorter: brevity has its price
    return Sample(
        ids,
        [[_item(item) for item in row] for row in listed.tolist()],
        relevant,
        np.round(rng.uniform(1, 5, EXAMPLES), 2).astype(np.float32).astype(np.float64),
        rng.integers(1, 6, EXAMPLES).astype(np.float64),
        chosen,
        right,
        said,
        written,
        rng.normal(0.1, 1.1, (_PICTURES, _WIDTH)),
        rng.normal(0.0, 1.0, (_PICTURES, _WIDTH)),
    )


def _item(index: int) -> str:
    return f"i{index:03d}"


def _text(rng: np.random.Generator, longest: int) -> str:
    return " ".join(rng.choice(_WORDS, size=rng.integers(2, longest)).tolist()).capitalize()
