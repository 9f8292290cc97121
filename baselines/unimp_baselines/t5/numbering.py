"""Which number an item has: drawn, or by order of appearance, which is P5's leak.

P5's released data numbers items while it walks over users' whole sequences, held-out items among them, so that most
users' items are runs of consecutive numbers and the held-out item is often the next one (its pull request 3, and
`LLM-RecSys-ID` issue 3). Here `shuffled` numbers are drawn by a key and say nothing.

`sequential` shows the leak as far as a runner can: it walks over train rows *and validation answers*. Test answers are
not visible to any runner, so the leak can be seen on validation (`valid_ndcg10` of the curve, stage `best`) and never
on test, where what is left of it is that items of one user's train rows have near numbers (OpenP5 has that as well).
`ndcg10_by_number` measures what the numbers alone tell of validation answers, apart from whether a network finds it; it
is in the same curve.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl

from unimp_bench.keyed import string_keys

FIRST = 1_001  # of four digits; longer catalogues begin at 100,001 and so on


def drawn(items: pl.Series, seed: int) -> list[str]:
    """Item ids in an order that depends on each id and the seed alone."""
    return items.gather(np.argsort(string_keys(items, "p5 item", seed), kind="stable")).to_list()


def walks(interactions: pl.LazyFrame, valid: pl.LazyFrame) -> list[list[str]]:
    """Item ids of each user, by user id: train rows as they were bought, then validation answers."""
    train = interactions.sort("user_id", "position").group_by("user_id").agg(pl.col("item_id").alias("rows"))
    last = valid.select("user_id", "item_ids").group_by("user_id").agg(pl.col("item_ids").explode().alias("last"))
    both = train.join(last, on="user_id", how="left").sort("user_id")
    joined = pl.concat_list("rows", pl.col("last").fill_null([]))
    return both.select(joined.alias("walk")).collect()["walk"].to_list()


def by_appearance(walked: Iterable[Sequence[str]], rest: Sequence[str]) -> list[str]:
    """Item ids in the order in which walks come upon them, then the others of `rest` as they stand."""
    met = dict.fromkeys(item for walk in walked for item in walk)
    known = set(rest)
    return [*(item for item in met if item in known), *(item for item in rest if item not in met)]


def pairs(count: int) -> int:
    """How many pairs of digits every number has: two up to 8,999 items, three up to 899,999."""
    width = 2
    while count > 9 * 10 ** (2 * width - 1) - 1:
        width += 1
    return width


def split(place: int, width: int) -> list[int]:
    """The number of the item in this place as pairs of digits, each 0-99: 1001 is [10, 1]."""
    number = 10 ** (2 * width - 1) + 1 + place
    return [number // 100 ** (width - 1 - k) % 100 for k in range(width)]


def ndcg10_by_number(places: Mapping[str, int], asked: Iterable[tuple[Sequence[str], str]]) -> float | None:
    """What numbers alone tell: mean NDCG@10 of guessing the numbers that follow the history's last item, in order.

    Items of the history are skipped. With drawn numbers it is at chance; what it is above that is the leak, whether or
    not a network finds it.

    Args:
        places: number of each item, from 0.
        asked: items of each history, oldest first, and the right answer.
    """
    gains = []
    for past, right in asked:
        if not past:
            continue
        seen = {places[item] for item in past if item in places}
        last, wanted = places.get(past[-1]), places.get(right)
        if last is None or wanted is None or wanted <= last:
            gains.append(0.0)
            continue
        rank = sum(place not in seen for place in range(last + 1, wanted)) if wanted - last <= 10 + len(seen) else 10
        gains.append(1 / np.log2(rank + 2) if rank < 10 else 0.0)
    return float(np.mean(gains)) if gains else None
