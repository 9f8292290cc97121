"""The truth of the synthetic shop: what is sold, what kinds of customers there are, and with what probability they buy.

A customer of choice type t = (style, brand house, price level) who last bought from category a buys item i with

    p(i | t, a, bought) = T[a, c(i)] / sum_open T[a, c]  *  exp u(t, i) / sum_{j in c(i), not bought} exp u(t, j)

where `open` are the categories with something not yet bought and u = weights . (style fit, brand fit, price fit) +
appeal(i). All of it is in closed form, so that an oracle can be exact. Ratings follow an ordered logit of the same
fits, the item's quality and the customer's leniency, the fifth part of a full type.

Items are held sorted by category, every category has equally many, so tables are `(types, categories, items each)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from unimp_bench.data.sources.synthetic.kinds import BRAND_GROUPS, DEPARTMENTS, NEW_DOMAIN
from unimp_bench.keyed import string_key

GENERATOR_VERSION = 1
STYLES, HOUSES, PRICES, LENIENCIES = 8, len(BRAND_GROUPS), 3, 2
TYPES = STYLES * HOUSES * PRICES  # choice types
STYLE, BRAND, PRICE, QUALITY = range(4)  # aspects of a purchase that a review may speak of
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Size:
    """How large a shop is."""

    users: int
    sections: int  # per domain; times 5 kinds (or `kinds`) gives its categories
    kinds: int
    items_a_category: int
    rows: tuple[int, int]  # fewest and most purchases of a regular customer in the training domains
    new_domain_rows: tuple[int, int]
    new_domain_share: float  # of customers who also buy in the held-out domain
    picture_pixels: int
    pictures: int  # at most so many


SIZES: dict[str, Size] = {
    "tiny": Size(120, 1, 2, 7, (8, 13), (7, 9), 0.5, 48, 10_000),
    "small": Size(2_000, 1, 5, 28, (8, 20), (7, 12), 0.4, 96, 10_000),
    "large": Size(100_000, 4, 5, 80, (7, 15), (7, 9), 0.2, 64, 2_000),
}


@dataclass(frozen=True)
class Tastes:
    """The numbers behind every choice, rating and sentence; frozen with the generator's version."""

    choice: tuple[float, float, float] = (2.1, 1.3, 1.2)  # weights of style, brand and price fit in u
    appeal: float = 0.65  # standard deviation over items
    style_fit: tuple[float, float] = (1.0, 0.4)  # of the own style and of the one kindred to it; 0 for others
    price_fit: tuple[float, float, float] = (1.0, 0.4, 0.0)  # by distance in levels
    price_levels: tuple[float, float, float] = (0.35, 0.4, 0.25)  # shares of customers and items
    followers: tuple[float, ...] = (0.58, 0.17)  # probabilities of a category's two own successors
    rating: tuple[float, float, float, float] = (2.4, 1.0, 1.0, 1.0)  # style, brand, price fit, quality
    leniency: tuple[float, float] = (-1.0, 1.0)
    cuts: tuple[float, float, float, float] = (
        -1.2,
        0.1,
        1.3,
        3.0,
    )  # P(rating <= k) = sigmoid(cut_k - z)
    praise: tuple[float, ...] = (0.02, 0.08, 0.45, 0.92, 0.98)  # P(positive sentence | rating)
    aspects: tuple[float, float, float, float] = (0.4, 0.2, 0.2, 0.2)
    off_topic: float = 0.15  # weight of an aspect whose own verdict differs from the sentence's


@dataclass(frozen=True)
class World:
    """Everything true of one shop, customers apart.

    C categories, n items each, I = C n items; item i = c n + k is the k-th of category c.
    """

    size: str
    seed: int
    tastes: Tastes
    category_domains: tuple[str, ...]  # (C,)
    category_kinds: tuple[tuple[int, int], ...]  # (C,) department and kind, indices into `DEPARTMENTS`
    category_paths: tuple[tuple[str, ...], ...]  # (C,) root first
    start: Floats  # (C,) P(first category), summing to 1 over the training domains and over the held-out one
    transitions: Floats  # (C, C) row: the category before
    item_ids: tuple[str, ...]  # (I,)
    style: Ints  # (I,)
    house: Ints  # (I,) brand house
    brand: Ints  # (I,) brand within its house
    price: Ints  # (I,) price level
    appeal: Floats  # (I,)
    quality: Floats  # (I,)

    @property
    def categories(self) -> int:
        """C."""
        return len(self.category_domains)

    @property
    def each(self) -> int:
        """Items a category, n."""
        return len(self.item_ids) // self.categories

    @cached_property
    def held_out(self) -> NDArray[np.bool_]:
        """Which categories `(C,)` belong to the held-out domain."""
        return np.array([domain == NEW_DOMAIN for domain in self.category_domains])

    @cached_property
    def index(self) -> dict[str, int]:
        """Item id to i."""
        return {item: i for i, item in enumerate(self.item_ids)}

    def fits(self, types: Ints, items: Ints) -> tuple[Floats, Floats, Floats]:
        """Style, brand and price fit of choice types to items, broadcast against each other; each in [0, 1]."""
        style, house, price = split_type(types)
        own, kindred = self.tastes.style_fit
        gap = (self.style[items] - style) % STYLES
        style_fit = np.where(gap == 0, own, np.where(gap == 3, kindred, 0.0))
        brand_fit = (self.house[items] == house).astype(np.float64)
        price_fit = np.asarray(self.tastes.price_fit)[np.abs(self.price[items] - price)]
        return style_fit, brand_fit, price_fit

    @cached_property
    def weights(self) -> Floats:
        """Weights exp u of all items for all choice types, as `(TYPES, C, n)`."""
        fits = self.fits(np.arange(TYPES)[:, None], np.arange(len(self.item_ids))[None, :])
        utility = sum(w * fit for w, fit in zip(self.tastes.choice, fits, strict=True)) + self.appeal
        return np.asarray(np.exp(utility)).reshape(TYPES, self.categories, self.each)

    def ratings(self, types: Ints, lenient: Ints, items: Ints) -> Floats:
        """P(rating = 1..5) as `(..., 5)` for choice types, leniencies and items, broadcast against each other."""
        *fit_weights, quality_weight = self.tastes.rating
        z = sum(w * fit for w, fit in zip(fit_weights, self.fits(types, items), strict=True))
        z = z + quality_weight * self.quality[items] + np.asarray(self.tastes.leniency)[lenient]
        below = 1.0 / (1.0 + np.exp(z[..., None] - np.asarray(self.tastes.cuts)))
        return np.diff(below, axis=-1, prepend=0.0, append=1.0)

    def verdicts(self, types: Ints, items: Ints) -> NDArray[np.bool_]:
        """Whether each aspect pleases, `(..., 4)`."""
        style, brand, price = self.fits(types, items)
        quality = np.broadcast_to(self.quality[items] > 0, style.shape)
        return np.stack([style > 0.3, brand > 0.5, price > 0.3, quality], axis=-1)

    def topics(self, types: Ints, items: Ints) -> Floats:
        """P(aspect | sentence negative, positive; type, item) as `(..., 2, 4)`."""
        pleases = self.verdicts(types, items)
        agree = np.stack([~pleases, pleases], axis=-2)
        weight = np.asarray(self.tastes.aspects) * np.where(agree, 1.0, self.tastes.off_topic)
        return np.asarray(weight / weight.sum(axis=-1, keepdims=True))


def split_type(types: Ints) -> tuple[Ints, Ints, Ints]:
    """Style, brand house and price level of choice types."""
    return types // (HOUSES * PRICES), types // PRICES % HOUSES, types % PRICES


def join_type(style: Ints, house: Ints, price: Ints) -> Ints:
    """The choice type of a style, a brand house and a price level."""
    return (style * HOUSES + house) * PRICES + price


def rng_of(seed: int, *stage: str) -> np.random.Generator:
    """A generator of that stage's own."""
    return np.random.default_rng([seed, GENERATOR_VERSION, *"/".join(stage).encode()])


def code(prefix: str, digits: int, *what: str | int) -> str:
    """An id that looks like a shop's own, drawn by hash: prefix and so many of 0-9, A-Z."""
    key = string_key("/".join(map(str, what)), "synthetic", GENERATOR_VERSION)
    letters = []
    for _ in range(digits):
        key, place = divmod(key, len(_ALPHABET))
        letters.append(_ALPHABET[place])
    return prefix + "".join(letters)


def item_code(seed: int, number: int | str) -> str:
    """An id in the form of an Amazon item's."""
    return code("B0", 8, "item", seed, number)


def user_code(seed: int, number: int | str) -> str:
    """An id in the form of an Amazon reviewer's: 13 places, of which a 64-bit hash fills 12."""
    return code("A1", 12, "user", seed, number)


def make_world(size: str, seed: int, tastes: Tastes | None = None) -> World:
    """Draw the truth of a shop."""
    tastes = tastes or Tastes()
    shape = SIZES[size]
    rng = rng_of(seed, "world", size)
    leaves = [
        (d, k, (department.root, department.sections[(s + k) % 4], department.kinds[k].leaf))
        for d, department in enumerate(DEPARTMENTS)
        for k in range(shape.kinds)
        for s in range(shape.sections)
    ]
    domains = tuple(DEPARTMENTS[d].domain for d, _, _ in leaves)
    held_out = np.array([domain == NEW_DOMAIN for domain in domains])
    crowd = _crowd(held_out, rng)
    count, each = len(leaves), shape.items_a_category
    total = count * each
    # Every category has all styles, houses and price levels in drawn order, each drawn apart from the others.
    styles = _dealt(np.arange(each) % STYLES, count, rng)
    houses = _dealt(np.arange(each) % HOUSES, count, rng)
    steps = np.searchsorted(np.cumsum(tastes.price_levels), (np.arange(each) + 0.5) / each)
    prices = _dealt(steps, count, rng)
    item_ids = tuple(item_code(seed, i) for i in range(total))
    assert len(set(item_ids)) == total, "two items drew one id; take another seed"
    return World(
        size=size,
        seed=seed,
        tastes=tastes,
        category_domains=domains,
        category_kinds=tuple((d, k) for d, k, _ in leaves),
        category_paths=tuple(path for _, _, path in leaves),
        start=crowd,
        transitions=_transitions(domains, held_out, crowd, tastes.followers, rng),
        item_ids=item_ids,
        style=styles,
        house=houses,
        brand=rng.integers(0, [len(BRAND_GROUPS[h]) for h in houses]),
        price=prices,
        appeal=rng.normal(0.0, tastes.appeal, total),
        quality=rng.normal(0.0, 1.0, total).round(3),
    )


def _dealt(cards: Ints, times: int, rng: np.random.Generator) -> Ints:
    """The cards once a category, each time in a drawn order, one after the other."""
    return rng.permuted(np.tile(cards.astype(np.int64), (times, 1)), axis=1).ravel()


def _crowd(held_out: NDArray[np.bool_], rng: np.random.Generator) -> Floats:
    """How often each category is entered at random, falling by rank; sums to 1 on each side of the held-out wall."""
    crowd = np.zeros(held_out.size)
    for part in (held_out, ~held_out):
        weight = 1.0 / (np.arange(part.sum()) + 2.0)
        crowd[part] = rng.permutation(weight / weight.sum())
    return crowd


def _transitions(
    domains: tuple[str, ...],
    held_out: NDArray[np.bool_],
    crowd: Floats,
    followers: tuple[float, ...],
    rng: np.random.Generator,
) -> Floats:
    """P(category | category before): a few own successors, the rest spread as the crowd goes.

    Successors are drawn as cycles, so no category is everybody's next one. The first leads anywhere on the same side of
    the held-out wall, the second stays in the domain.
    """
    count = len(domains)
    table = np.zeros((count, count))
    for part in (held_out, ~held_out):
        members = np.flatnonzero(part)
        table[np.ix_(members, members)] = (1.0 - sum(followers)) * crowd[members]
        for rank, share in enumerate(followers):
            for group in _groups(members, domains) if rank == 1 else [members]:
                # A random cycle through the group: a permutation without fixed points.
                cycle = rng.permutation(group)
                table[cycle, np.roll(cycle, -1)] += share
    return table


def _groups(members: Ints, domains: tuple[str, ...]) -> list[Ints]:
    """The members apart by domain."""
    names = np.array([domains[m] for m in members])
    return [members[names == name] for name in sorted(set(names.tolist()))]
