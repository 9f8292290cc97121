"""The explanation of an interaction: one sentence of its review that says something of a feature.

Own extractor: a sentence of 3-30 words with a feature noun and an opinion word. Feature nouns are mined from training
reviews (the word that ends `the …`, `my …` before a verb or a stop); opinion words are those of VADER's lexicon (Hutto
& Gilbert, ICWSM 2014) whose mean valence is at least 1 in size. Where Sentires files are at hand, as P5 and UniMP use
them, their sentences can be taken instead (`sentires.py`).

Unusual: all reviews of a slice become one flat column of tokens, and everything is counted on that column.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib.resources import files

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["EXTRACTOR", "extract", "mine_features", "opinion_words"]

EXTRACTOR = "feature noun + opinion word, version 1"
_LEAST_WORDS, _MOST_WORDS = 3, 30
_SLICE = 20_000  # reviews whose tokens are held at once
_LONGEST = 20_000  # characters of a review that are read

_DETERMINERS = frozenset(["the", "its", "it's", "this", "my", "their", "these", "those", "your"])
_INTENSIFIERS = frozenset(["very", "too", "so", "pretty", "quite", "extremely", "super"])
_AFTER_NOUN_TEXT = """
. ! ? , ; : is are was were has have had does do did isn't aren't wasn't weren't doesn't don't didn't works work worked
feels feel felt looks look looked sounds sound sounded seems seem seemed comes came stays holds fits fit will would can
could should and but or which that on in for with when
"""
_AFTER_NOUN = frozenset(_AFTER_NOUN_TEXT.split())
_VERB_AND_NOUN = frozenset(["feel", "fit", "look", "sound"])  # `its feel is` says something of a feature
# Words that are neither a feature nor an opinion, though they stand where one does.
_NO_FEATURE_TEXT = """
a about above after again ago all almost along already also although always am amount an and another any anyone
anything are around as at back be because been before being below best better between bit both but by can cannot
could day days did different do does doing done down during each else end enough entire even ever every everything
exact extra fact few first for former found from full further get gets getting go goes going got had half has have
having he her here him his hour hours how however i idea if in instead into is isn it item items its itself just
kind know last latter least left less let little long looks lot lots made main make makes many may maybe me mean
might mine minute minutes month months more most much must my myself need never new next night no nor not nothing
now number of off often old on once one ones only or order other others our out over own pair part past people
person place point previous probably product products put quite rather re real really reason rest review reviewer
reviewers reviews right said same say says second see seem seems set several she should side since single so some
someone something still stuff such sure take than that the their them then there these they thing things third this
those though thought time times to today together too toward try trying two type under until up upon us use used
user using usual very via want was way ways we week weeks well went were what when where whether which while who
whole whom whose why will with within without word words world would year years yes yesterday yet you your yours
"""
_NO_FEATURE = frozenset(_NO_FEATURE_TEXT.split())
# In reviews of goods these are seldom meant as VADER's raters read them.
_NO_OPINION_TEXT = """
alone arrest bother chance cut cuts cutting double fire fires gift gifts giving honest honestly hopefully interest join
kind like likes matter natural no number play played player players playing plays please positive positively pressure
share shares sharp shot shots sir thank thanks toy united vision warm warning wish yes
"""
_NO_OPINION = frozenset(_NO_OPINION_TEXT.split())

_WORD_OR_STOP = r"[a-z]+(?:['\u2019][a-z]+)?|[.!?,;:\n]"


def opinion_words() -> list[str]:
    """Words of VADER's lexicon with a mean valence of at least 1 in size, sorted; only letters.

    Only its table is read: importing the package would start a network library.
    """
    table = files("vaderSentiment").joinpath("vader_lexicon.txt").read_text(encoding="utf-8")
    entries = (line.split("\t") for line in table.splitlines())
    words = {entry[0] for entry in entries if entry[0].isascii() and entry[0].isalpha() and abs(float(entry[1])) >= 1}
    return sorted(words - _NO_OPINION)


def _sentences(texts: pl.Series) -> pl.DataFrame:
    """Columns row (place in `texts`), sentence: in order, blanks tidied, empty ones left out."""
    column = pl.col("text").str.slice(0, _LONGEST)
    marked = (
        column.str.replace_all(r"\[\[ASIN:\S+ ([^\]]*)\]\]", "${1}")  # a link to another product keeps its name
        .str.replace_all(r"\[\[[^\]]{0,200}\]\]|</?[a-zA-Z][^<>]{0,200}>|https?://\S+", "\n")
        .str.replace_all(r"([.!?]+[\x22')\]]*)\s", "${1}\n")
        .str.replace_all(r"([a-z)][.!?]+)([A-Z])", "${1}\n${2}")  # many reviews have no blank after a full stop
        .str.replace_all(r"\.{2,}|\s--+\s", "\n")
    )
    split = (
        pl.DataFrame({"row": np.arange(len(texts)), "text": texts.cast(pl.String)})
        .select("row", marked.str.split("\n").alias("sentence"))
        .explode("sentence")
        .drop_nulls()
    )
    tidy = pl.col("sentence").str.replace_all(r"\s+", " ").str.strip_chars(" \"'*-_~=#>\u2022\u00b7")
    return split.select("row", tidy.alias("sentence")).filter(pl.col("sentence") != "")


def _tokens(texts: pl.Series) -> tuple[pl.Series, NDArray[np.int64]]:
    """Lower-case words and stops of all texts in one column, and how many each text has."""
    found = texts.str.to_lowercase().str.extract_all(_WORD_OR_STOP).fill_null([])
    return found.explode(empty_as_null=False), found.list.len().cast(pl.Int64).to_numpy()


def mine_features(train_texts: pl.Series, minimum: int = 5, most: int = 2000) -> list[str]:
    """Feature nouns of training reviews, the most frequent first.

    A word counts where it ends a phrase that a determiner opens (`the sound is`, `my old strings,`), with one word
    between at most; it must do so `minimum` times and be neither an opinion nor a function word. A word that stands
    after `very` or the like a fifth as often is an adjective (`cheap`) and left out.
    """
    refused = pl.Series(sorted(_NO_FEATURE | _DETERMINERS | (_AFTER_NOUN - _VERB_AND_NOUN) | set(opinion_words())))
    counts: list[pl.DataFrame] = []
    for start in range(0, len(train_texts), _SLICE):
        # A stop after every review keeps phrases from reaching over into the next one.
        words, _ = _tokens(train_texts.slice(start, _SLICE).cast(pl.String).str.slice(0, _LONGEST) + " .")
        frame = pl.DataFrame({"word": words})
        opens = pl.col("word").is_in(sorted(_DETERMINERS))
        middle = pl.col("word").shift(1).str.contains("^[a-z]")
        closed = pl.col("word").shift(-1).is_in(sorted(_AFTER_NOUN))
        marked = frame.select(
            "word",
            ((opens.shift(1) | (opens.shift(2) & middle)) & closed).fill_null(False).alias("noun"),
            pl.col("word").shift(1).is_in(sorted(_INTENSIFIERS)).fill_null(False).alias("adjective"),
        ).filter((pl.col("noun") | pl.col("adjective")) & (pl.col("word").str.len_bytes() > 2))
        kept = marked.filter(~pl.col("word").is_in(refused.implode()))
        counts.append(kept.group_by("word").agg(pl.col("noun", "adjective").sum().cast(pl.Int64)))
    if not counts:
        return []
    total = pl.concat(counts).group_by("word").agg(pl.col("noun", "adjective").sum())
    nouns = total.filter((pl.col("noun") >= minimum) & (pl.col("adjective") * 5 < pl.col("noun")))
    return nouns.sort("noun", "word", descending=[True, False])["word"].head(most).to_list()


def _hits(words: pl.Series, lengths: NDArray[np.int64], wanted: Collection[str]) -> NDArray[np.int64]:
    """How many words of each sentence are wanted `(sentences,)`."""
    known = words.is_in(pl.Series(sorted(wanted), dtype=pl.String).implode()).to_numpy()
    total = np.concatenate([[0], np.cumsum(known)])
    ends = np.cumsum(lengths)
    hits: NDArray[np.int64] = total[ends] - total[ends - lengths]
    return hits


def extract(texts: pl.Series, features: Collection[str]) -> pl.Series:
    """The explaining sentence of each review (null where none has both a feature and an opinion).

    Of several, the one with most opinion words; of equals, the first.
    """
    opinions = opinion_words()
    pieces = [_extract(texts.slice(start, _SLICE), features, opinions) for start in range(0, len(texts), _SLICE)]
    return pl.concat(pieces) if pieces else pl.Series("explanation", [], dtype=pl.String)


def _extract(texts: pl.Series, features: Collection[str], opinions: Collection[str]) -> pl.Series:
    found = _sentences(texts)
    count = found["sentence"].str.count_matches(r"\S+")
    found = found.filter(count.is_between(_LEAST_WORDS, _MOST_WORDS))
    words, lengths = _tokens(found["sentence"])
    scored = found.with_columns(
        pl.Series("features", _hits(words, lengths, features)), pl.Series("opinions", _hits(words, lengths, opinions))
    )
    best = (
        scored.filter((pl.col("features") > 0) & (pl.col("opinions") > 0))
        .sort("row", pl.col("opinions").neg(), maintain_order=True)
        .unique("row", keep="first", maintain_order=True)
    )
    explanation = np.full(len(texts), None, dtype=object)
    explanation[best["row"].to_numpy()] = best["sentence"].to_numpy()
    return pl.Series("explanation", explanation.tolist(), dtype=pl.String)
