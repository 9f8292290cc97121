"""Raw files of the synthetic shop in the exact form of Amazon 2014, dirt included, equal byte by byte for equal seeds.

Dirt: reviews written twice, second reviews of an item bought before, customers and items too rare for a 5-core, empty
and missing texts, held-out-domain reviews of training items, metadata of items that nobody buys, records in two files.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import BinaryIO

import numpy as np

from unimp_bench.data.sources.synthetic import listings
from unimp_bench.data.sources.synthetic.kinds import DEPARTMENTS, NEW_DOMAIN, Department
from unimp_bench.data.sources.synthetic.reviews import (
    NO_REMARK,
    NO_SENTENCE,
    REMARKS,
    SUMMARIES,
    Bank,
    draw_reviews,
)
from unimp_bench.data.sources.synthetic.sampling import Customers, Purchases
from unimp_bench.data.sources.synthetic.world import Ints, World, item_code, rng_of
from unimp_bench.progress import Progress

_BLOCK = 20_000  # lines written at once
_TWICE, _AGAIN, _EMPTY = 0.005, 0.005, 0.01  # shares of reviews
_NAMES: tuple[str | None, ...] = (
    *("A. Reader", "Bea", "Chris P.", "Dana", "Eli O'Neill", "Fay & Gus", 'Jo "JJ" Hill', "Kim", "Lee M.", "Max"),
    *("N. Okafor", "Pat", "Quinn", "Rosa", "S. Lind", "Tariq", "Uma", "Vic", "Wes T.", "Yuki", None),
)
_COLUMNS = ("user", "item", "day", "rating", "sentence", "before", "after", "summary", "helpful")


@dataclass(frozen=True)
class Rows:
    """Reviews of one domain or of all, one array `(N,)` a column of `_COLUMNS`.

    `user` counts customers, `item` the world's items and behind them the rare ones.
    """

    columns: dict[str, Ints]

    def take(self, rows: Ints) -> Rows:
        """The rows by number or mask."""
        return Rows({name: values[rows] for name, values in self.columns.items()})

    @staticmethod
    def concat(parts: Iterable[Rows]) -> Rows:
        """All rows, one part after the other."""
        found = list(parts)
        return Rows({name: np.concatenate([part.columns[name] for part in found]) for name in _COLUMNS})

    def __len__(self) -> int:
        return len(self.columns["user"])


def rare_items(world: World) -> tuple[str, ...]:
    """Ids of items with too few buyers to survive a 5-core."""
    return tuple(item_code(world.seed, f"rare {i}") for i in range(max(3, len(world.item_ids) // 50)))


def reviews_of(world: World, customers: Customers, bank: Bank, bought: Purchases, stage: str) -> Rows:
    """Reviews of purchases that the truth explains."""
    rng = rng_of(world.seed, "reviews", world.size, stage)
    types, lenient = customers.types[bought.users], customers.lenient[bought.users]
    said = draw_reviews(world, bank, types, lenient, bought.items, rng)
    count = len(bought.items)
    sentence, before, after = said.sentences, said.before, said.after
    empty = rng.random(count) < _EMPTY
    values = (bought.users, bought.items, bought.days, said.ratings, sentence, before, after)
    for column in values[4:]:
        column[empty] = -1
    return Rows(dict(zip(_COLUMNS, (*values, *_decoration(count, rng)), strict=True)))


def _decoration(count: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Summary and helpful votes: noise."""
    return rng.integers(0, 3, count), np.where(rng.random(count) < 0.2, rng.integers(1, 9, count), 0)


def dirt_of(world: World, rows: Rows, stage: str) -> Rows:
    """Rows that a careful reader drops again: reviews written twice, and second reviews at a later day."""
    rng = rng_of(world.seed, "dirt", world.size, stage)
    twice = rows.take(np.flatnonzero(rng.random(len(rows)) < _TWICE))
    again = rows.take(np.flatnonzero(rng.random(len(rows)) < _AGAIN))
    changed = {
        "day": again.columns["day"] + rng.integers(1, 300, len(again)),
        "rating": rng.integers(1, 6, len(again)),
        "sentence": np.full(len(again), NO_SENTENCE),
    }
    return Rows.concat([twice, Rows({**again.columns, **changed})])


def rare_rows(world: World, customers: Customers) -> Rows:
    """Reviews of rare items, one to three each."""
    rng = rng_of(world.seed, "rare", world.size)
    buyers = rng.integers(1, 4, len(rare_items(world)))
    items = len(world.item_ids) + np.repeat(np.arange(len(buyers)), buyers)
    return _strange(rng.integers(0, len(customers.user_ids), len(items)), items, rng)


def stray_rows(world: World, bought: Purchases) -> Rows:
    """Reviews in the held-out domain's file of items of the training domains."""
    rng = rng_of(world.seed, "stray", world.size)
    count = max(2, len(bought.users) // 500)
    users = bought.users[rng.integers(0, len(bought.users), count)]
    training = np.flatnonzero(~world.held_out)
    items = training[rng.integers(0, len(training), count)] * world.each + rng.integers(0, world.each, count)
    return _strange(users, items, rng)


def _strange(users: Ints, items: Ints, rng: np.random.Generator) -> Rows:
    """Reviews that no truth explains."""
    count = len(items)
    nothing = np.full(count, -1)
    days = 15_000 + rng.integers(0, 1_500, count)
    ratings, remark = rng.integers(3, 6, count), rng.integers(0, len(REMARKS), count)
    values = (users, items, days, ratings, nothing, remark, nothing.copy(), *_decoration(count, rng))
    return Rows(dict(zip(_COLUMNS, values, strict=True)))


@contextmanager
def packed(path: Path) -> Iterator[BinaryIO]:
    """A gzip file without name and time in its header, so that equal content gives equal bytes."""
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=5, mtime=0) as file,
    ):
        yield file  # type: ignore[misc]  # a GzipFile is a binary stream in all but its type


def write_reviews(
    path: Path, rows: Rows, user_ids: tuple[str, ...], item_ids: tuple[str, ...], bank: Bank, progress: Progress
) -> None:
    """Write reviews as JSON lines, grouped by item as real dumps are."""
    sentences, remarks = _quoted(bank.texts), _quoted(REMARKS)
    summaries = {rating: _quoted(texts) for rating, texts in SUMMARIES.items()}
    days = {day: _day(day) for day in np.unique(rows.columns["day"]).tolist()}
    with packed(path) as file:
        for low in range(0, len(rows), _BLOCK):
            columns = (rows.columns[name][low : low + _BLOCK].tolist() for name in _COLUMNS)
            lines = []
            for user, item, day, rating, sentence, before, after, summary, helpful in zip(*columns, strict=True):
                said = [
                    *([remarks[before]] if before != NO_REMARK else ()),
                    *([sentences[sentence]] if sentence != NO_SENTENCE else ()),
                    *([remarks[after]] if after != NO_REMARK else ()),
                ]
                name = _NAMES[user % len(_NAMES)]
                called = "" if name is None else f'"reviewerName": {json.dumps(name)}, '
                lines.append(
                    f'{{"reviewerID": "{user_ids[user]}", "asin": "{item_ids[item]}", {called}'
                    f'"helpful": [{helpful // 2}, {helpful}], "reviewText": "{" ".join(said)}", '
                    f'"overall": {rating}.0, "summary": "{summaries[rating][summary]}", {days[day]}}}\n'
                )
            file.write("".join(lines).encode())
            progress.advance(len(lines))


def _quoted(texts: tuple[str, ...]) -> list[str]:
    """Texts as the inside of JSON strings."""
    return [json.dumps(text)[1:-1] for text in texts]


def _day(day: int) -> str:
    when = date(1970, 1, 1) + timedelta(days=day)
    return f'"unixReviewTime": {day * 86_400}, "reviewTime": "{when:%m} {when.day}, {when.year}"'


def file_order(rows: Rows, item_ids: tuple[str, ...], seed: int, domain: str) -> Rows:
    """Rows sorted by item id, then day, then by chance; so a second review never stands before the first."""
    by_name = np.argsort(np.argsort(np.array(item_ids), kind="stable"), kind="stable")
    chance = rng_of(seed, "file order", domain).random(len(rows))
    return rows.take(np.lexsort((chance, rows.columns["day"], by_name[rows.columns["item"]])))


def write_metadata(path: Path, world: World, department: Department, borrowed: list[str], progress: Progress) -> int:
    """Write a domain's metadata: of its items, of rare and never bought ones, and of some of other domains.

    Returns how many lines there are.
    """
    own = [i for i in range(len(world.item_ids)) if world.category_domains[i // world.each] == department.domain]
    shown = [listings.listing_of(world, i) for i in own]
    unsold = [item_code(world.seed, f"unsold {department.domain} {i}") for i in range(max(3, len(own) // 6))]
    strangers = [listings.listing_of_stranger(world, item) for item in (*rare_items(world), *unsold)]
    shown += [s for s in strangers if world.category_domains[s.category] == department.domain]
    shown += [listings.listing_of(world, world.index[item]) for item in borrowed]
    shown = [one for one in shown if listings.has_record(one.item_id)]
    shown += shown[:: max(len(shown) // 2, 1)]  # some stand there twice
    shown.sort(key=lambda one: one.item_id)
    with packed(path) as file:
        for one in shown:
            file.write(listings.line(listings.record(world, one)).encode())
            progress.advance()
    return len(shown)


def write_dump(
    folder: Path, world: World, customers: Customers, bank: Bank, bought: dict[bool, Purchases], progress: Progress
) -> dict[str, int]:
    """Write the review and metadata file of every domain; returns rows by file."""
    item_ids = (*world.item_ids, *rare_items(world))
    trained = reviews_of(world, customers, bank, bought[False], "training")
    held_out = reviews_of(world, customers, bank, bought[True], "held out")
    trained = Rows.concat([trained, dirt_of(world, trained, "training"), rare_rows(world, customers)])
    held_out = Rows.concat([held_out, dirt_of(world, held_out, "held out"), stray_rows(world, bought[True])])
    categories = np.array(
        [
            *(np.arange(len(world.item_ids)) // world.each),
            *(listings.listing_of_stranger(world, item).category for item in rare_items(world)),
        ]
    )
    progress.start("synthetic reviews", len(trained) + len(held_out))
    counts = {}
    for department in DEPARTMENTS:
        if department.domain == NEW_DOMAIN:
            rows = held_out
        else:
            here = np.array([domain == department.domain for domain in world.category_domains])
            rows = trained.take(np.flatnonzero(here[categories[trained.columns["item"]]]))
        rows = file_order(rows, item_ids, world.seed, department.domain)
        name = f"reviews_{department.official}_5.json.gz"
        write_reviews(folder / name, rows, customers.user_ids, item_ids, bank, progress)
        counts[name] = len(rows)
    progress.finish()
    progress.start("synthetic metadata", unit="items")
    for number, department in enumerate(DEPARTMENTS):
        # Every domain's file also lists a few items of the domain before it.
        before = DEPARTMENTS[number - 1].domain
        borrowed = [
            item
            for i, item in enumerate(world.item_ids)
            if world.category_domains[i // world.each] == before and i % 50 == 0 and before != NEW_DOMAIN
        ]
        name = f"meta_{department.official}.json.gz"
        counts[name] = write_metadata(folder / name, world, department, borrowed, progress)
    progress.finish()
    return counts
