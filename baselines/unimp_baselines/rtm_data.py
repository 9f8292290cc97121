"""Reviews for RTM: whose they are, of what, and which of them stand beside a question or a candidate.

Reviews are numbered from 1, train reviews first (oldest first), then each item's title as a review of its own, then
what histories tell that is not in the train reviews; 0 is none. Shapes: rows, and `most` reviews of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch

from unimp_baselines.recbole.feed import Lists, Numbers, numbered
from unimp_baselines.search_common import Asks, Corpus, Names, grouped, word_lists
from unimp_bench.errors import IncompleteError

REVIEWS = "reviews.npz"


@dataclass(frozen=True)
class Shelf:
    """All texts: words of reviews, then of titles, with the user number (0: a title) and item number of each."""

    texts: Lists
    users: Numbers
    items: Numbers
    count: int  # of items

    @classmethod
    def of(cls, corpus: Corpus) -> Shelf:
        """The train reviews and titles of a corpus."""
        titles = len(corpus.titles)
        return cls(
            joined(corpus.reviews, corpus.titles),
            np.concatenate([corpus.review_users, np.zeros(titles, dtype=np.int64)]),
            np.concatenate([corpus.review_items, np.arange(1, titles + 1)]),
            titles,
        )

    @property
    def written(self) -> int:
        """How many are reviews; the title of item k is number `written + k`."""
        return len(self.texts) - self.count

    def by_item(self) -> Lists:
        """Review numbers by item number, oldest first; list 0 is empty."""
        return grouped(self.items[: self.written], np.arange(1, self.written + 1), self.count + 1)

    def found(self, users: Numbers, items: Numbers) -> Numbers:
        """The number of each user's review of an item, 0 where there is none."""
        width = self.count + 1
        keys = self.users[: self.written] * width + self.items[: self.written]
        order = np.argsort(keys, kind="stable")
        wanted = users * width + items
        place = np.searchsorted(keys[order], wanted).clip(max=max(0, len(keys) - 1))
        if len(keys) == 0:
            return np.zeros(len(wanted), dtype=np.int64)
        return np.where((keys[order][place] == wanted) & (users > 0), order[place] + 1, 0)

    def write(self, folder: Path) -> None:
        """Keep it as `reviews.npz`."""
        with (folder / REVIEWS).open("wb") as file:
            np.savez(
                file,
                values=self.texts.values,
                starts=self.texts.starts,
                users=self.users,
                items=self.items,
                count=self.count,
            )

    @classmethod
    def read(cls, folder: Path) -> Shelf:
        """What `write` kept.

        Raises:
            IncompleteError: it is not there or not whole.
        """
        try:
            with np.load(folder / REVIEWS) as kept:
                texts = Lists(kept["values"], kept["starts"])
                return cls(texts, kept["users"], kept["items"], int(kept["count"]))
        except (OSError, ValueError, KeyError):
            raise IncompleteError(f"{folder / REVIEWS} cannot be read; run again with --force") from None


def joined(first: Lists, second: Lists) -> Lists:
    """The lists of both, one after another."""
    return Lists(
        np.concatenate([first.values, second.values]),
        np.concatenate([first.starts, second.starts[1:] + first.starts[-1]]),
    )


def past_in(shelf: Shelf, asks: Asks) -> Lists:
    """Numbers of the asking user's train reviews of the items of each history, oldest first."""
    lengths = np.diff(asks.histories.starts)
    rows = np.repeat(np.arange(len(asks)), lengths)
    found = shelf.found(asks.users[rows], asks.histories.values)
    return grouped(rows[found > 0], found[found > 0], len(asks))


def past_reviews(examples: pl.DataFrame, names: Names, shelf: Shelf) -> tuple[Lists, Lists]:
    """Review numbers of each example's history, oldest first, and the words of those that the shelf does not hold.

    A past purchase speaks by the user's train review of it, or else by the explanation that the history shows: so do
    users whom training never saw. One with neither is left out.
    """
    long = (
        examples.select("user_id", "history")
        .with_row_index("row")
        .explode("history", empty_as_null=False)
        .select(
            "row", "user_id", pl.col("history").struct.field("item_id"), pl.col("history").struct.field("explanation")
        )
    )
    found = shelf.found(numbered(long["user_id"], names.users), numbered(long["item_id"], names.items))
    told = word_lists(long["explanation"].fill_null("").filter(pl.Series(found == 0)), names.words)
    foreign = np.zeros(len(found), dtype=np.int64)
    foreign[found == 0] = np.arange(len(told)) + len(shelf.texts) + 1
    speaks = found > 0
    speaks[found == 0] = np.diff(told.starts) > 0
    numbers = np.where(found > 0, found, foreign)
    rows = long["row"].to_numpy().astype(np.int64)
    return grouped(rows[speaks], numbers[speaks], examples.height), told


def drawn(lists: Lists, rows: Numbers, most: int, generator: torch.Generator) -> Numbers:
    """At most `most` of each list in their order, `(rows, most)`, padded with 0.

    A longer list is cut into `most` equal stretches and gives one of each; where two fall on the same entry, it counts
    once.
    """
    begin, length = lists.starts[:-1][rows][:, None], np.diff(lists.starts)[rows][:, None]
    place = np.arange(most)
    luck = torch.rand((len(rows), most), generator=generator, dtype=torch.float64).numpy()
    long = np.floor((place + luck) * length / most).astype(np.int64)
    chosen = np.where(length > most, np.minimum(long, length - 1), place)
    again = np.zeros(chosen.shape, dtype=bool)
    again[:, 1:] = (chosen[:, 1:] == chosen[:, :-1]) & (length > most)
    real = (chosen < length) & ~again
    if len(lists.values) == 0:
        return np.zeros(chosen.shape, dtype=np.int64)
    return np.where(real, lists.values[np.where(real, begin + chosen, 0)], 0)


def latest(lists: Lists, rows: Numbers, most: int) -> Numbers:
    """The last `most` of each list in their order, `(rows, most)`, padded with 0 at the end, as `drawn` does it."""
    length = np.diff(lists.starts)[rows][:, None]
    place = np.arange(most)
    if len(lists.values) == 0:
        return np.zeros((len(rows), most), dtype=np.int64)
    real = place < length
    first = lists.starts[:-1][rows][:, None] + (length - most).clip(min=0)
    return np.where(real, lists.values[np.where(real, first + place, 0)], 0)


def not_by(reviews: Numbers, users: Numbers, shelf: Shelf) -> Numbers:
    """Reviews `(rows, most)` without those that the row's user `(rows,)` wrote: 0 in their place."""
    writers = np.concatenate([[0], shelf.users])[reviews]
    return np.where((writers == users[:, None]) & (users[:, None] > 0), 0, reviews)
