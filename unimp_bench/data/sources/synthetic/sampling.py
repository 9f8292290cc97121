"""What customers of known types buy, one after the other: draws from the closed form in `world.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unimp_bench.data.sources.synthetic.world import (
    HOUSES,
    LENIENCIES,
    PRICES,
    SIZES,
    STYLES,
    Floats,
    Ints,
    World,
    join_type,
    rng_of,
    user_code,
)

_ROWS = 4096  # customers drawn together: bounds the table of what each has bought
_DAY_0, _DAYS = 14_610, 1_600  # 2010-01-01 and the span in which customers first come, in days
_SAME_DAY = 0.12  # share of purchases on the day of the one before


@dataclass(frozen=True)
class Customers:
    """Who buys: ids and full types, `(U,)` each."""

    user_ids: tuple[str, ...]
    types: Ints  # choice types
    lenient: Ints


@dataclass(frozen=True)
class Purchases:
    """Who bought what when, `(N,)` each, in the drawn order of every customer."""

    users: Ints
    items: Ints
    days: Ints  # since 1970-01-01


def draw_customers(world: World) -> Customers:
    """Regular customers, then passers-by; each part of a type is drawn apart from the others."""
    rng = rng_of(world.seed, "customers", world.size)
    count = SIZES[world.size].users + passers_by(world.size)
    style, house = rng.integers(0, STYLES, count), rng.integers(0, HOUSES, count)
    price = np.searchsorted(np.cumsum(world.tastes.price_levels), rng.random(count)).clip(max=PRICES - 1)
    ids = tuple(user_code(world.seed, u) for u in range(count))
    return Customers(ids, join_type(style, house, price), rng.integers(0, LENIENCIES, count))


def passers_by(size: str) -> int:
    """How many customers buy too little to survive a 5-core."""
    return SIZES[size].users // 20


def draw_items(
    world: World,
    types: Ints,
    lengths: Ints,
    held_out: bool,
    rng: np.random.Generator,
    done: Callable[[int], None] = lambda _: None,
) -> Ints:
    """Sequences of items `(users, longest)`, -1 behind the end of each."""
    start = np.where(world.held_out == held_out, world.start, 0.0)
    parts = []
    for low in range(0, len(types), _ROWS):
        part = slice(low, low + _ROWS)
        parts.append(_draw_chunk(world, types[part], lengths[part], start, rng))
        done(int(lengths[part].sum()))
    width = int(lengths.max(initial=0))
    return np.concatenate([np.pad(p, ((0, 0), (0, width - p.shape[1])), constant_values=-1) for p in parts])


def _draw_chunk(world: World, types: Ints, lengths: Ints, start: Floats, rng: np.random.Generator) -> Ints:
    users, steps = len(types), int(lengths.max(initial=0))
    bought = np.zeros((users, world.categories, world.each), dtype=bool)
    left = np.full((users, world.categories), world.each)
    items = np.full((users, steps), -1, dtype=np.int64)
    before = np.empty(users, dtype=np.int64)
    for step in range(steps):
        who = np.flatnonzero(lengths > step)
        chances = np.broadcast_to(start, (len(who), start.size)) if step == 0 else world.transitions[before[who]]
        category = pick(np.where(left[who] > 0, chances, 0.0), rng)
        place = pick(np.where(bought[who, category], 0.0, world.weights[types[who], category]), rng)
        bought[who, category, place] = True
        left[who, category] -= 1
        before[who] = category
        items[who, step] = category * world.each + place
    return items


def pick(weights: Floats, rng: np.random.Generator) -> Ints:
    """One column a row, drawn by the row's weights (not all zero); a weight of zero is never drawn."""
    upto = np.cumsum(weights, axis=1)
    return np.asarray((upto <= rng.random(len(weights))[:, None] * upto[:, -1:]).sum(axis=1))


def draw_purchases(
    world: World, customers: Customers, held_out: bool, done: Callable[[int], None] = lambda _: None
) -> Purchases:
    """All purchases in the training domains, or in the held-out one, from where passers-by stay away."""
    size = SIZES[world.size]
    rng = rng_of(world.seed, "purchases", world.size, str(held_out))
    low, high = size.new_domain_rows if held_out else size.rows
    count = len(customers.user_ids)
    lengths = rng.integers(low, high + 1, count)
    if held_out:
        lengths = np.where(rng.random(count) < size.new_domain_share, lengths, 0)
    lengths[size.users :] = 0 if held_out else rng.integers(1, 5, count - size.users)
    items = draw_items(world, customers.types, lengths, held_out, rng, done)
    real = items >= 0
    days = draw_days(real, rng)
    users = np.broadcast_to(np.arange(count)[:, None], items.shape)
    return Purchases(users[real], items[real], days[real])


def draw_days(real: NDArray[np.bool_], rng: np.random.Generator) -> Ints:
    """Days of purchases `(users, longest)`: whole days only, some shared with the purchase before."""
    gaps = rng.geometric(1 / 25, real.shape)
    gaps[rng.random(real.shape) < _SAME_DAY] = 0
    gaps[:, 0] = _DAY_0 + rng.integers(0, _DAYS, len(real))
    return np.cumsum(np.where(real, gaps, 0), axis=1)
