"""Text by TF-IDF and a truncated SVD: latent semantic analysis (Deerwester et al., JASIS 1990). No weights are needed.

    n items, v words, k <= 128 directions

A word w of an item i weighs (1 + ln tf(w, i)) (ln((1 + n) / (1 + df(w))) + 1), rows are brought to length 1, and an
item is its row times the leading right singular vectors, brought to length 1 again. Words of one item alone say nothing
of any other and are left out. Words, weights and directions are those of the catalogue without noise.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix

from unimp_bench.dataset import Catalogue
from unimp_bench.features.content import texts
from unimp_bench.features.projection import WIDTH, directions, unit
from unimp_bench.features.protocol import Modality, Present, Values
from unimp_bench.runners.protocol import Context

_LEAST_ITEMS = 2  # that have a word


class TfidfSvd:
    """Words that tell items apart, brought to 128 numbers at most."""

    modality: ClassVar[Modality] = "text"

    def identity(self) -> str:
        """Version and settings."""
        return f"tfidf_svd 1 width={WIDTH} least_items={_LEAST_ITEMS}"

    def encode(self, view: Catalogue, context: Context) -> tuple[Values, Present]:
        """Features `(items, k)` and which items have one; the catalogue without noise gives words and directions."""
        learned = counted(texts(view.clean.items))
        words = vocabulary(learned, view.clean.items.height)
        basis = directions(weighted(learned, words, view.clean.items.height))
        return unit(weighted(counted(texts(view.items)), words, view.items.height) @ basis)


def counted(texts: list[str]) -> pl.DataFrame:
    """How often each word stands in each text, in lower case: row, word, times."""
    words = pl.DataFrame({"text": texts}, schema={"text": pl.String}).select(
        row=pl.int_range(pl.len(), dtype=pl.Int64), word=pl.col("text").str.to_lowercase().str.extract_all(r"\w+")
    )
    long = words.filter(pl.col("word").list.len() > 0).explode("word")
    return long.group_by("row", "word").agg(times=pl.len()).sort("row", "word")


def vocabulary(counts: pl.DataFrame, items: int) -> pl.DataFrame:
    """The words of at least two of so many items, in order: word, column, idf."""
    shares = counts.group_by("word").agg(items=pl.len()).filter(pl.col("items") >= _LEAST_ITEMS).sort("word")
    idf = ((1 + items) / (1 + pl.col("items"))).log() + 1
    return shares.select("word", column=pl.int_range(pl.len(), dtype=pl.Int64), idf=idf)


def weighted(counts: pl.DataFrame, words: pl.DataFrame, items: int) -> Any:
    """Weights as a sparse matrix `(items, words)` with rows of length 1; words that are not known do not count."""
    known = counts.join(words, on="word", how="inner").sort("row", "column")
    row, column = known["row"].to_numpy(), known["column"].to_numpy()
    weights = (1 + np.log(known["times"].to_numpy())) * known["idf"].to_numpy()
    lengths = np.sqrt(np.bincount(row, weights=weights**2, minlength=items))
    return csr_matrix((weights / lengths[row], (row, column)), shape=(items, words.height))
