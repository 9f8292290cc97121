"""Words of explanations as MRG reads and writes them: a written text is its words, one after another.

A word brings the blank before it along, so that joining words gives back the text but for the width of its blanks, and
punctuation stands where people put it. Numbers: 0 is a word that is not known, words count from 1. What is written ends
with `END`, which is 0 as well: an unknown word is read but never written, the end is written but never read.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimp_baselines.recbole.feed import Lists, numbered

END = 0
LEFT_OUT = -100  # a target that does not count
_WORD = r" ?[\p{L}\p{N}][\p{L}\p{N}'\u{2019}-]*| ?\S"


def spelled(texts: pl.Series) -> pl.Series:
    """Words of each text, each with the blank before it; none for null."""
    plain = pl.col("text").fill_null("").str.replace_all(r"\s+", " ").str.strip_chars()
    return texts.rename("text").to_frame().select(plain.str.extract_all(_WORD)).to_series()


def vocabulary(texts: pl.Series, min_count: int) -> pl.Series:
    """Words that occur at least so often, in alphabetical order."""
    counts = spelled(texts).explode().drop_nulls().rename("word").to_frame().group_by("word").len()
    return counts.filter(pl.col("len") >= min_count)["word"].sort()


def word_lists(texts: pl.Series, words: pl.Series) -> Lists:
    """Word numbers of each text, 0 for those that are not known."""
    lists = spelled(texts)
    starts = np.concatenate([[0], np.cumsum(lists.list.len().to_numpy())]).astype(np.int64)
    return Lists(numbered(lists.explode(empty_as_null=False), words), starts)


def lessons(texts: Lists, rows: NDArray[np.int64], most: int, start: int) -> tuple[Tensor, Tensor]:
    """What is read and what is to be written at each step, both `(rows, steps)`, of the first `most` words of texts.

    Read is `start`, then word for word; to be written the word after it, and at last `END` where the text was not cut.
    Unknown words and what lies behind the end do not count.
    """
    begin = texts.starts[:-1][rows]
    lengths = np.minimum(texts.starts[1:][rows] - begin, most)
    cut = texts.starts[1:][rows] - begin > most
    step = np.arange(int(lengths.max(initial=0)) + 1)
    inside = step < lengths[:, None]
    values = np.append(texts.values, 0)  # so that there is something to gather where there is no text at all
    words = np.where(inside, values[np.where(inside, begin[:, None] + step, -1)], 0)
    written = np.where(inside & (words > 0), words, LEFT_OUT)
    written[(step == lengths[:, None]) & ~cut[:, None]] = END
    read = np.concatenate([np.full((len(rows), 1), start), words[:, :-1]], axis=1)
    return torch.from_numpy(read), torch.from_numpy(written)


def texts_of(said: list[list[int]], words: list[str]) -> list[str | None]:
    """Texts of word numbers up to the first `END`; None where there is no word."""
    ends = [row.index(END) if END in row else len(row) for row in said]
    return ["".join(words[k - 1] for k in row[:end]).strip() or None for row, end in zip(said, ends, strict=True)]
