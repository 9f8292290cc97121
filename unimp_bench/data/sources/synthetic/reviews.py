"""What customers say of their purchases: ratings by the ordered logit, sentences by what pleased or disappointed.

Every kind of product has a bank of sentences, each about one aspect (style, brand, price, quality) and of one sign.
A review says at most one of them, among remarks that judge nothing; so the sentence a reader extracts is the one that
the truth knows the probability of. No sentence tells *which* style, brand or price level it is about.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unimp_bench.data.sources.synthetic.kinds import DEPARTMENTS, Kind
from unimp_bench.data.sources.synthetic.sampling import pick
from unimp_bench.data.sources.synthetic.world import BRAND, PRICE, QUALITY, STYLE, Floats, Ints, World

_SAYING = (0.4, 0.3, 0.2, 0.1)  # how often each of four ways to say a thing is used
_SILENT = 0.05  # share of reviews that judge nothing
_NOUNS: dict[int, tuple[str, ...]] = {STYLE: ("color", "pattern", "design"), BRAND: ("brand",), PRICE: ("price",)}
_WAYS: dict[tuple[int, bool], tuple[str, str, str, str]] = {
    (STYLE, True): (
        "The {noun} looks great and is exactly my taste.",
        "I love the {noun} of this {product}.",
        "Such a beautiful {noun}, even nicer than in the photo.",
        "The {noun} is gorgeous and gets many compliments.",
    ),
    (STYLE, False): (
        "The {noun} looks ugly and is not my taste.",
        "I dislike the {noun} of this {product}.",
        "Such a boring {noun}, much worse than in the photo.",
        "The {noun} is awful and I never want to see it.",
    ),
    (BRAND, True): (
        "This is a great brand that I trust for every {product}.",
        "I love this brand and always come back to it.",
        "The brand is excellent and never lets me down.",
        "My favorite brand makes the best {product}.",
    ),
    (BRAND, False): (
        "This is a bad brand and my usual {product} is better.",
        "I regret trying this brand instead of my usual one.",
        "The brand is disappointing next to what I know.",
        "A poor brand that makes a mediocre {product}.",
    ),
    (PRICE, True): (
        "The price is great for a {product} like this.",
        "Good price and just what I wanted to pay.",
        "The price is fair and fits my budget perfectly.",
        "I am happy with the price of this {product}.",
    ),
    (PRICE, False): (
        "The price is terrible for a {product} like this.",
        "Bad price and not what I wanted to pay.",
        "The price is wrong and made me unhappy.",
        "I am annoyed by the price of this {product}.",
    ),
    (QUALITY, True): (
        "The {noun} is excellent and feels well made.",
        "I like the {noun} very much, it is really good.",
        "The {noun} of this {product} is perfect.",
        "Wonderful {noun}, better than on my old {product}.",
    ),
    (QUALITY, False): (
        "The {noun} is poor and feels badly made.",
        "I hate the {noun}, it is really bad.",
        "The {noun} of this {product} is terrible.",
        "Horrible {noun}, worse than on my old {product}.",
    ),
}
# They judge nothing; entities stand as they do in raw dumps.
REMARKS: tuple[str, ...] = (
    "I bought this for my sister.",
    "It came on a Tuesday.",
    "We ordered two of them in spring.",
    "It&#8217;s my second one.",
    "Ordered on Monday &amp; opened on Friday.",
    "My mother-in-law has one too.",
    'My son calls it "the thing".',
    "I read about it in a magazine.",
)
SUMMARIES: dict[int, tuple[str, ...]] = {
    1: ("One Star", "Don't buy", "Sent it back"),
    2: ("Two Stars", "Not for me", "Expected more"),
    3: ("Three Stars", "It's okay", "So-so"),
    4: ("Four Stars", "Good buy", "Pretty &amp; practical"),
    5: ("Five Stars", "Love it!", "Just what I wanted"),
}
NO_REMARK, NO_SENTENCE = -1, -1


@dataclass(frozen=True)
class Bank:
    """All sentences of all kinds, `(S,)` each, sorted by kind.

    `share` is P(sentence | kind, aspect, sign).
    """

    texts: tuple[str, ...]
    kind: Ints  # department * 5 + kind
    aspect: Ints
    positive: Ints  # 0 or 1
    share: Floats


def make_bank() -> Bank:
    """The sentences, in a fixed order."""
    rows = [
        (number, aspect, int(positive), way.format(noun=noun, product=kind.noun), share / len(nouns))
        for number, kind in enumerate(k for department in DEPARTMENTS for k in department.kinds)
        for (aspect, positive), ways in _WAYS.items()
        for nouns in [_nouns(aspect, kind)]
        for noun in nouns
        for way, share in zip(ways, _SAYING, strict=True)
    ]
    kinds, aspects, positives, texts, shares = zip(*rows, strict=True)
    return Bank(texts, np.array(kinds), np.array(aspects), np.array(positives), np.array(shares))


def _nouns(aspect: int, kind: Kind) -> tuple[str, ...]:
    return kind.features if aspect == QUALITY else _NOUNS[aspect]


def kind_of(world: World, items: Ints) -> Ints:
    """Number of the items' kind, as in `Bank.kind`."""
    numbers = np.array([department * 5 + kind for department, kind in world.category_kinds])
    return numbers[items // world.each]


@dataclass(frozen=True)
class Reviews:
    """Reviews of purchases, `(N,)` each."""

    ratings: Ints  # 1-5
    sentences: Ints  # row of the bank, or NO_SENTENCE
    before: Ints  # row of `REMARKS`, or NO_REMARK
    after: Ints


def draw_reviews(
    world: World, bank: Bank, types: Ints, lenient: Ints, items: Ints, rng: np.random.Generator
) -> Reviews:
    """Ratings and sentences of purchases, given who bought what."""
    count = len(items)
    ratings = pick(world.ratings(types, lenient, items), rng) + 1
    positive = (rng.random(count) < np.asarray(world.tastes.praise)[ratings - 1]).astype(np.int64)
    aspect = pick(world.topics(types, items)[np.arange(count), positive], rng)
    # Sentences of one group (kind, aspect, sign) stand together; one is found in the running sum of their shares.
    group = (bank.kind * 4 + bank.aspect) * 2 + bank.positive
    order = np.argsort(group, kind="stable")
    ends = np.cumsum(bank.share[order])  # every group adds 1
    wanted = (kind_of(world, items) * 4 + aspect) * 2 + positive
    first, last = (np.searchsorted(group[order], wanted, side=side) for side in ("left", "right"))
    place = np.searchsorted(ends, ends[last - 1] - rng.random(count))
    sentences = np.where(rng.random(count) < _SILENT, NO_SENTENCE, order[place.clip(first, last - 1)])
    before, after = (_remark(count, share, rng) for share in (0.5, 0.4))
    return Reviews(ratings, sentences, before, after)


def _remark(count: int, share: float, rng: np.random.Generator) -> Ints:
    return np.where(rng.random(count) < share, rng.integers(0, len(REMARKS), count), NO_REMARK)
