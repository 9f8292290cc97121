"""What the systems of personalized search learn from: words, documents and questions as arrays of numbers.

Users, items and words are numbered from 1 in the order of `users`, `items` and `words`; 0 stands for what is unknown or
padding. Words come from train reviews, titles and train queries; no test or validation text is read for them. Titles
are learned from, so noise that a variant puts into them at test time reaches none of these systems but through BM25.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_baselines.recbole.feed import Lists, Numbers, histories, numbered
from unimp_bench.errors import ConfigError, IncompleteError
from unimp_bench.runners.protocol import TaskData

_NAMES = "names.parquet"


def spelled(text: pl.Expr) -> pl.Expr:
    """Words of a text, as `bm25.tokens` takes them: runs of letters and digits, lower-cased, without apostrophes."""
    plain = text.fill_null("").str.to_lowercase().str.replace_all("['\u2019`\u00b4]", "")
    return plain.str.extract_all(r"[\p{L}\p{N}]+")


def word_lists(texts: pl.Series, words: pl.Series) -> Lists:
    """Word numbers of each text, in order; words that are not in `words` are left out."""
    long = texts.rename("text").to_frame().with_row_index("row").select("row", spelled(pl.col("text")).alias("word"))
    long = long.explode("word", empty_as_null=False)
    known = pl.DataFrame({"word": words, "number": np.arange(1, len(words) + 1)})
    found = long.join(known, on="word", how="inner", maintain_order="left")
    return grouped(found["row"].to_numpy().astype(np.int64), found["number"].to_numpy().astype(np.int64), len(texts))


def grouped(rows: Numbers, values: Numbers, count: int) -> Lists:
    """`values` in `count` lists by their `rows` (from 0), each in the order given."""
    order = np.argsort(rows, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=count))])
    return Lists(values[order], starts.astype(np.int64))


@dataclass(frozen=True)
class Names:
    """What the numbers stand for."""

    users: pl.Series
    items: pl.Series
    words: pl.Series

    def write(self, folder: Path) -> None:
        """Keep them as `names.parquet`."""
        pl.DataFrame({"users": [self.users], "items": [self.items], "words": [self.words]}).write_parquet(
            folder / _NAMES
        )

    @classmethod
    def read(cls, folder: Path) -> Names:
        """What `write` kept.

        Raises:
            IncompleteError: it is not there or not whole.
        """
        try:
            kept = pl.read_parquet(folder / _NAMES)
            return cls(*(kept[name].explode(empty_as_null=False) for name in ("users", "items", "words")))
        except (OSError, pl.exceptions.PolarsError):
            raise IncompleteError(f"{folder / _NAMES} cannot be read; run again with --force") from None


@dataclass(frozen=True)
class Asks:
    """Questions: who asks `(rows,)`, the query and its words, items bought before, and the answer `(rows,)` or 0."""

    users: Numbers
    texts: pl.Series
    queries: Lists
    histories: Lists
    targets: Numbers

    @classmethod
    def of(cls, examples: pl.DataFrame, names: Names) -> Asks:
        """From examples in `schemas.EXAMPLES`, or labelled ones, whose first answer is the target."""
        if "item_ids" in examples.columns:
            targets = numbered(examples["item_ids"].list.first(), names.items)
        else:
            targets = np.zeros(examples.height, dtype=np.int64)
        # Queries repeat: each is cut into words once.
        asked = examples["query"].fill_null("").rename("query")
        texts = asked.unique().sort()
        queries = taken(word_lists(texts, names.words), numbered(asked, texts) - 1)
        return cls(
            numbered(examples["user_id"], names.users), asked, queries, histories(examples, names.items), targets
        )

    def __len__(self) -> int:
        return len(self.targets)

    def some(self, rows: Numbers) -> Asks:
        """Some of the questions."""
        queries, past = taken(self.queries, rows), taken(self.histories, rows)
        return Asks(self.users[rows], self.texts.gather(rows), queries, past, self.targets[rows])


def taken(lists: Lists, rows: Numbers) -> Lists:
    """Some of the lists, in the order of `rows`."""
    lengths = np.diff(lists.starts)[rows]
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    places = np.arange(starts[-1]) + np.repeat(lists.starts[:-1][rows] - starts[:-1], lengths)
    return Lists(lists.values[places], starts)


def padded(lists: Lists, rows: Numbers, most: int) -> Numbers:
    """The last `most` numbers of some lists as `(rows, most)`, padded with 0 at the front."""
    begin, end = lists.starts[:-1][rows], lists.starts[1:][rows]
    places = end[:, None] - most + np.arange(most)
    if len(lists.values) == 0:
        return np.zeros(places.shape, dtype=np.int64)
    return np.where(places >= begin[:, None], lists.values[places.clip(min=0)], 0)


@dataclass(frozen=True)
class Corpus:
    """All that one fit learns from.

    `reviews` are words of the train reviews (title, and text or else explanation) of `review_users` and `review_items`
    `(reviews,)`, oldest first; `titles` are words of each item's title.
    """

    names: Names
    asked: Asks
    valid: Asks
    reviews: Lists
    review_users: Numbers
    review_items: Numbers
    titles: Lists

    @classmethod
    def of(cls, data: TaskData, cohort: str, min_count: int) -> Corpus:
        """The train rows and questions about a cohort's items.

        Args:
            data: what may be learned.
            cohort: whose items form the catalogue, as in `Catalogue.members`.
            min_count: words that occur less often, in reviews, titles and train queries together, are unknown.

        Raises:
            ConfigError: there is nothing to learn from.
        """
        members = data.catalogue.items.filter(pl.Series(data.catalogue.members(cohort)))
        said = pl.coalesce("review_text", "explanation")  # some sources have the explanation alone
        text = pl.concat_str("review_title", said, separator=" ", ignore_nulls=True).alias("text")
        rows = (
            data.interactions.join(members.lazy().select("item_id"), on="item_id", how="semi")
            .select("user_id", "item_id", "timestamp", text)
            .sort("timestamp", "user_id", "item_id", nulls_last=False)
            .collect()
        )
        columns = ["user_id", "query", "history", "item_ids"]
        train, valid = data.train.select(columns).collect(), data.valid.select(columns).collect()
        if rows.height == 0 or train.height == 0:
            raise ConfigError(
                f"there are no train interactions or no train queries about items of {cohort}; "
                "build the dataset with some"
            )
        names = Names(
            rows["user_id"].unique().sort(),
            members["item_id"],
            vocabulary([rows["text"], members["title"], train["query"]], min_count),
        )
        asked, questions = Asks.of(train, names), Asks.of(valid, names)
        return cls(
            names,
            _answerable(asked),
            _answerable(questions),
            word_lists(rows["text"], names.words),
            numbered(rows["user_id"], names.users),
            numbered(rows["item_id"], names.items),
            word_lists(members["title"], names.words),
        )

    @property
    def item_counts(self) -> Numbers:
        """How often each item number `(items + 1,)` was bought; 0 for number 0."""
        return np.bincount(self.review_items, minlength=len(self.names.items) + 1)

    def documents(self, side: str, *, titles: bool) -> Lists:
        """Words by number from 0: those of each item's reviews, with its title where asked, or of each user's.

        List 0 is empty, so that list k belongs to number k.
        """
        owners, count = (
            (self.review_items, len(self.names.items)) if side == "item" else (self.review_users, len(self.names.users))
        )
        rows, values = np.repeat(owners, np.diff(self.reviews.starts)), self.reviews.values
        if titles:
            rows = np.concatenate([rows, np.repeat(np.arange(1, len(self.titles) + 1), np.diff(self.titles.starts))])
            values = np.concatenate([values, self.titles.values])
        return grouped(rows, values, count + 1)


def _answerable(asks: Asks) -> Asks:
    """The questions whose answer is an item of the catalogue at hand."""
    return asks.some(np.flatnonzero(asks.targets))


def vocabulary(texts: list[pl.Series], min_count: int) -> pl.Series:
    """Words that occur at least `min_count` times, in alphabetical order."""
    frames = [text.rename("text").to_frame().select(spelled(pl.col("text")).alias("word")) for text in texts]
    counts = pl.concat(frames).explode("word").drop_nulls().group_by("word").len()
    return counts.filter(pl.col("len") >= min_count)["word"].sort()


def spread(scores: NDArray[np.float32], places: Numbers, items: int) -> NDArray[np.float32]:
    """Scores `(rows, known)` as `(rows, items)`; known item k stands at `places[k]`, or nowhere at -1."""
    whole = np.full((len(scores), items), -np.inf, dtype=np.float32)
    whole[:, places[places >= 0]] = scores[:, places >= 0]
    return whole
