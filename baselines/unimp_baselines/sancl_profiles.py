"""What SANCL reads: an item's words and picture on the left, on the right what a user said and bought before.

Tokens: 0 is padding, 1 a rating that was not given, 2 to 6 are one to five stars, word k of the vocabulary is k + 6. A
profile is a run of entries, oldest first, each a rating, the first words of the item's title, and the explanation; all
entries of all profiles stand one after another in one flat array, so a profile's last tokens are one stretch of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_baselines.recbole.feed import Lists, Numbers, numbered
from unimp_baselines.search_common import spelled, word_lists
from unimp_bench.dataset import Catalogue
from unimp_bench.features.content import texts

if TYPE_CHECKING:
    from torch import Tensor

STARS, WORDS = 2, 7  # tokens of one star and of the first word
_TITLE, _SAID = 10, 30  # words of an entry's title and explanation


@dataclass(frozen=True)
class Shelf:
    """A catalogue in `item_index` order: tokens of each item's text and of its title, and pictures `(items, width)`.

    Pictures are zeros where there are none, so an item without one is an item of which nothing is seen.
    """

    ids: pl.Series
    text: Lists
    title: Lists
    pictures: NDArray[np.float32]

    @classmethod
    def of(cls, view: Catalogue, words: pl.Series, pictures: NDArray[np.float32]) -> Shelf:
        """Of a catalogue and the features of its pictures."""
        items = view.items
        return cls(items["item_id"], _tokens(pl.Series(texts(items)), words), _tokens(items["title"], words), pictures)


def _tokens(written: pl.Series, words: pl.Series) -> Lists:
    lists = word_lists(written, words)
    return Lists(lists.values + WORDS - 1, lists.starts)


def vocabulary(items: pl.DataFrame, rows: pl.DataFrame, min_count: int) -> pl.Series:
    """Words that train rows show so often, in alphabetical order: a word of an item counts once a row of it.

    Args:
        items: `schemas.ITEMS`.
        rows: train rows, with `item_id` and `explanation`.
        min_count: rarer words are unknown.
    """
    bought = rows.group_by("item_id").len("count")
    shown = pl.DataFrame({"item_id": items["item_id"], "text": texts(items)}).join(bought, on="item_id")
    said = rows.select(pl.col("explanation").alias("text"), pl.lit(1, dtype=pl.UInt32).alias("count")).drop_nulls()
    both = pl.concat([shown.select("text", "count"), said]).with_columns(spelled(pl.col("text")).alias("word"))
    counts = both.explode("word").drop_nulls("word").group_by("word").agg(pl.col("count").sum())
    return counts.filter(pl.col("count") >= min_count)["word"].sort()


def _first(lists: Lists, rows: Numbers, most: int) -> Lists:
    """The first numbers of some lists; none for row -1."""
    begin = lists.starts[:-1][rows]
    lengths = np.where(rows >= 0, np.minimum(lists.starts[1:][rows] - begin, most), 0)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    places = np.arange(starts[-1]) + np.repeat(begin - starts[:-1], lengths)
    return Lists(lists.values[places], starts)


@dataclass(frozen=True)
class Batch:
    """Items: tokens `(B, P)`, picture `(B, features)`. Profiles: tokens `(B, L)`, pictures `(B, N, features)`.

    `stars` `(B, N)` are tokens of the ratings that go with the pictures, 0 where there is no entry. `users` and `items`
    `(B,)` tell what is no negative of what.
    """

    left: Tensor
    left_picture: Tensor
    right: Tensor
    right_pictures: Tensor
    stars: Tensor
    users: Tensor
    items: Tensor


@dataclass(frozen=True)
class Profiles:
    """Profiles `(rows,)` as stretches `begin` to `end` of all entries, with the item asked about.

    `tokens` are those of each entry, `items` and `stars` its `item_index` (-1: unknown) and the token of its rating,
    `(entries,)`; `users` `(rows,)` tell rows of one user apart from others', `targets` are `item_index` or -1.
    """

    tokens: Lists
    items: Numbers
    stars: Numbers
    begin: Numbers
    end: Numbers
    users: Numbers
    targets: Numbers

    def __len__(self) -> int:
        return len(self.targets)

    @classmethod
    def before(cls, rows: pl.DataFrame, shelf: Shelf, words: pl.Series) -> Profiles:
        """Of train rows, sorted by user and position: what the user did before each."""
        user = rows["user_id"].rle_id().cast(pl.Int64).to_numpy()
        first = np.flatnonzero(np.diff(user, prepend=-1))
        return cls(*_entries(rows, shelf, words), first[user], np.arange(rows.height), user, _places(rows, shelf))

    @classmethod
    def shown(cls, examples: pl.DataFrame, shelf: Shelf, words: pl.Series) -> Profiles:
        """Of examples: their histories."""
        lengths = examples["history"].list.len().fill_null(0).to_numpy()
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        entries = examples.select(pl.col("history").explode(empty_as_null=False)).unnest("history")
        targets = _places(examples.select(pl.col("target_item_id").alias("item_id")), shelf)
        user = examples["user_id"].rank("dense").cast(pl.Int64).to_numpy()
        return cls(*_entries(entries, shelf, words), starts[:-1], starts[1:], user, targets)

    def batch(self, rows: Numbers, shelf: Shelf, sizes: tuple[int, int, int], device: str) -> Batch:
        """Some of the rows; `sizes` are the most tokens of an item, of a profile, and the most entries with pictures.

        All rows have these shapes, so that an answer does not depend on its neighbours.
        """
        import torch

        item, words, entries = sizes
        targets = self.targets[rows]
        left = _first(shelf.text, targets, item)
        begin, end = self.begin[rows], self.end[rows]
        right = _stretch(self.tokens.values, self.tokens.starts[begin], self.tokens.starts[end], words, 0)
        bought = _stretch(self.items, begin, end, entries, -1)
        stars = _stretch(self.stars, begin, end, entries, 0)
        parts = (
            _stretch(left.values, left.starts[:-1], left.starts[1:], item, 0),
            _pictures(shelf, targets),
            right,
            _pictures(shelf, bought),
            stars,
            self.users[rows],
            targets,
        )
        return Batch(*(torch.from_numpy(part).to(device) for part in parts))


def _pictures(shelf: Shelf, places: Numbers) -> NDArray[np.float32]:
    """Features `(..., width)` of pictures by place; zeros for -1."""
    return np.where(places[..., None] >= 0, shelf.pictures[places], np.float32(0))


def _stretch(values: Numbers, begin: Numbers, end: Numbers, most: int, padding: int) -> Numbers:
    """The last `most` values of each stretch `(rows, most)`, padded in front."""
    places = end[:, None] - most + np.arange(most)
    inside = places >= begin[:, None]
    return np.where(inside, np.append(values, padding)[np.where(inside, places, -1)], padding)


def _places(rows: pl.DataFrame, shelf: Shelf) -> Numbers:
    return numbered(rows["item_id"], shelf.ids) - 1


def _entries(rows: pl.DataFrame, shelf: Shelf, words: pl.Series) -> tuple[Lists, Numbers, Numbers]:
    """Tokens, items and ratings of entries with `item_id`, `rating` and `explanation`."""
    places = _places(rows, shelf)
    stars = rows["rating"].round().clip(1, 5).cast(pl.Int64).fill_null(0).to_numpy() + STARS - 1
    said = _tokens(rows["explanation"], words)
    title, said = _first(shelf.title, places, _TITLE), _first(said, np.arange(len(said)), _SAID)
    lengths = np.stack([np.ones(len(places), dtype=np.int64), np.diff(title.starts), np.diff(said.starts)], axis=1)
    begin = np.concatenate([[0], np.cumsum(lengths)])  # of each part of each entry
    tokens = np.empty(begin[-1], dtype=np.int64)
    tokens[begin[:-1:3]] = stars
    for part, lists in ((1, title), (2, said)):
        at = np.arange(len(lists.values)) + np.repeat(begin[part:-1:3] - lists.starts[:-1], lengths[:, part])
        tokens[at] = lists.values
    return Lists(tokens, begin[::3]), places, stars
