"""BM25 over the catalogue's text: search by the query, recommendation by the titles of the last items.

Index and idf are rank_bm25's own (`BM25Okapi`: Robertson's weights with a floor under negative idf; Trotman, Puurula &
Burgess 2014). Its `get_scores` walks the whole catalogue in Python for every term of every query. The same sum is one
sparse product: with f(d, t) the term counts, l(d) the lengths and m their mean,

    W(t, d) = idf(t) f(d, t) (k1 + 1) / (f(d, t) + k1 (1 - b + b l(d) / m))
    scores  = Q W,  Q(q, t) = count of t in q

and each distinct query is multiplied once, however many users ask it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rank_bm25 import BM25Okapi
from scipy.sparse import csr_matrix

from unimp_baselines.common import EVERY_COHORT, LearnsNothing, blocks, past_items
from unimp_bench.dataset import Catalogue
from unimp_bench.errors import ConfigError
from unimp_bench.runners.protocol import Context, ScoreBlock, Space

Scores = NDArray[np.float32]

_APOSTROPHES = re.compile("['\u2019`\u00b4]")
_WORDS = re.compile(r"[^\W_]+")


def tokens(text: str) -> list[str]:
    """Lower-cased runs of letters and digits of any script, not stemmed; apostrophes vanish (`men's` is `mens`)."""
    return _WORDS.findall(_APOSTROPHES.sub("", text.lower()))


def documents(items: pl.DataFrame) -> list[str]:
    """Text of each item: title, brand and category path; what is missing is left out."""
    path = pl.col("categories").list.join(" ", ignore_nulls=True)
    return items.select(pl.concat_str("title", "brand", path, separator=" ", ignore_nulls=True)).to_series().to_list()


@dataclass(frozen=True)
class Index:
    """Weights of terms in items: `weights` is sparse `(terms, items)`, `terms` gives the row of a term."""

    terms: dict[str, int]
    weights: Any  # scipy's csr_matrix has no types

    @classmethod
    def of(cls, texts: Sequence[str], k1: float, b: float, epsilon: float) -> Index:
        """The index of some documents."""
        corpus = [tokens(text) for text in texts]
        if not any(corpus):  # rank_bm25 divides by the mean length and by the number of terms
            return cls({}, csr_matrix((0, len(corpus))))
        counted = BM25Okapi(corpus, k1=k1, b=b, epsilon=epsilon)
        terms = {term: row for row, term in enumerate(counted.idf)}
        lengths = np.array([len(frequencies) for frequencies in counted.doc_freqs])
        frequency = np.array([f for of in counted.doc_freqs for f in of.values()], dtype=np.float64)
        row = np.array([terms[term] for of in counted.doc_freqs for term in of], dtype=np.int64)
        item = np.repeat(np.arange(len(corpus)), lengths)
        idf = np.array(list(counted.idf.values()))
        norm = k1 * (1 - b + b * np.array(counted.doc_len) / counted.avgdl)  # (items,)
        weight = idf[row] * (frequency * (k1 + 1) / (frequency + norm[item]))
        return cls(terms, csr_matrix((weight, (row, item)), shape=(len(terms), len(corpus))))

    def scores(self, queries: Sequence[str]) -> NDArray[np.float64]:
        """Scores `(queries, items)`; words that no document has count nothing, repeated words count again."""
        counts = [Counter(term for term in tokens(query) if term in self.terms) for query in queries]
        row = np.repeat(np.arange(len(queries)), [len(count) for count in counts])
        column = np.array([self.terms[term] for count in counts for term in count], dtype=np.int64)
        times = np.array([n for count in counts for n in count.values()], dtype=np.float64)
        asked = csr_matrix((times, (row, column)), shape=(len(queries), len(self.terms)))
        scores: NDArray[np.float64] = (asked @ self.weights).toarray()
        return scores


@dataclass
class BM25(LearnsNothing):
    """Okapi BM25; nothing is learned, the index is of the catalogue that is asked (so noise in titles counts).

    `history` is how many last items' titles make the query of a recommendation, and, with `expansion`, how many expand
    that of a search. Expanding is Rocchio's (1971) without negative feedback: scores are sums over words, so

        scores = BM25(query) + expansion * mean over the last titles of BM25(title)
    """

    k1: float = 1.5
    b: float = 0.75
    epsilon: float = 0.25  # floor of a negative idf, as a share of the mean idf
    history: int = 5
    expansion: float = 0.0  # weight of the last titles in a search; 0: a search is its query alone

    tasks: ClassVar[frozenset[str]] = frozenset({"search", "recommendation"})
    cohorts: ClassVar[frozenset[str]] = EVERY_COHORT
    version: ClassVar[int] = 1
    reads_truth: ClassVar[bool] = False
    examples_a_part: ClassVar[int] = 16_384  # distinct queries are found within a part, so parts are large
    search: ClassVar[Space] = {
        "k1": (0.6, 0.9, 1.2, 1.5, 2.0),
        "b": (0.25, 0.5, 0.75, 1.0),
        "history": (1, 3, 5, 10),
        "expansion": (0.0, 0.1, 0.3),
    }

    _indexed: tuple[Catalogue, Index] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse parameters for which the formula has no meaning."""
        if self.k1 <= 0 or not 0 <= self.b <= 1 or self.epsilon < 0 or self.history < 1 or self.expansion < 0:
            raise ConfigError(
                f"bm25: k1={self.k1}, b={self.b}, epsilon={self.epsilon}, history={self.history}, "
                f"expansion={self.expansion}; wanted k1 > 0, 0 <= b <= 1, epsilon >= 0, history >= 1, expansion >= 0"
            )

    def _index(self, view: Catalogue) -> Index:
        """The index of a catalogue, made once for all parts of a run."""
        if self._indexed is None or self._indexed[0] is not view:
            self._indexed = (view, Index.of(documents(view.items), self.k1, self.b, self.epsilon))
        return self._indexed[1]

    def _queries(self, task: str, examples: pl.DataFrame, view: Catalogue) -> pl.Series:
        if task == "search":
            return examples["query"].fill_null("")
        return pl.Series([" ".join(titles) for titles in self._titles(examples, view)], dtype=pl.String)

    def _titles(self, examples: pl.DataFrame, view: Catalogue) -> list[list[str]]:
        """Titles of each history's last items that have one."""
        titles = dict(view.items.select("item_id", "title").drop_nulls().iter_rows())
        last = past_items(examples).list.tail(self.history).to_list()
        return [[titles[i] for i in items or [] if i in titles] for items in last]

    def predict(self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context) -> Iterator[ScoreBlock]:
        """Score each distinct query once, then hand its row to everybody who asked it."""
        index = self._index(view)
        asked = examples.select("example_id", self._queries(task, examples, view).alias("query")).sort(
            "query", "example_id"
        )
        for block in blocks(asked.select("query").unique().sort("query"), view.items.height):
            rows = {query: row for row, query in enumerate(block["query"].to_list())}
            scores = index.scores(list(rows)).astype(np.float32)
            for some in blocks(asked.filter(pl.col("query").is_in(list(rows))), view.items.height):
                found = scores[[rows[query] for query in some["query"].to_list()]]
                if task == "search" and self.expansion > 0:
                    found = self._expanded(found, some, examples, view, index)
                yield ScoreBlock(some["example_id"].to_list(), found)

    def _expanded(
        self, scores: Scores, some: pl.DataFrame, examples: pl.DataFrame, view: Catalogue, index: Index
    ) -> Scores:
        """Scores of some of the examples with their histories' titles added."""
        asked = some.select("example_id").join(examples, on="example_id", how="left", maintain_order="left")
        titles = self._titles(asked, view)
        count = np.array([max(1, len(some)) for some in titles])[:, None]
        told = index.scores([" ".join(some) for some in titles])
        added: Scores = (scores + self.expansion * told / count).astype(np.float32)
        return added
