"""What the truth of a shop says about a customer's next step: the posterior over types and what follows from it.

Exact for everything that a history shows: which items were chosen among those still open, how they were rated, and what
aspect the review spoke of. Category transitions depend on no type, so they say nothing about it.

Shapes: E examples, M history entries of all of them, I = C n items, T choice types, L leniencies.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from unimp_bench.data.sources.synthetic.reviews import kind_of
from unimp_bench.data.sources.synthetic.truth import Truth
from unimp_bench.data.sources.synthetic.world import LENIENCIES, TYPES, Floats, Ints, split_type

UNKNOWN = -1  # an item that the world does not know, a rating or sentence that is not there


@dataclass(frozen=True)
class Seen:
    """Histories as flat columns `(M,)`, by example, oldest first; items that the world does not know are left out."""

    examples: int
    example: Ints
    item: Ints
    rating: Ints  # 1-5
    sentence: Ints  # row of the bank

    def followed_by(self, item: Ints) -> Seen:
        """The same with one more choice an example `(E,)`, of which neither rating nor sentence is known."""
        known = np.flatnonzero(item != UNKNOWN)
        nothing = np.full(len(known), UNKNOWN)
        example = np.concatenate([self.example, known])
        order = np.argsort(example, kind="stable")
        columns = ((self.item, item[known]), (self.rating, nothing), (self.sentence, nothing))
        return Seen(self.examples, example[order], *(np.concatenate(pair)[order] for pair in columns))


def sums(values: Floats, example: Ints, examples: int) -> Floats:
    """Sums of rows of `values` `(M, ...)` by example, `(E, ...)`; `example` ascends."""
    total = np.zeros((examples, *values.shape[1:]))
    if len(example):
        starts = np.flatnonzero(np.diff(example, prepend=-1))
        total[example[starts]] = np.add.reduceat(values, starts, axis=0)
    return total


@dataclass(frozen=True)
class Inference:
    """Reasoning with one truth."""

    truth: Truth

    def items(self, item_ids: pl.Series) -> Ints:
        """Numbers of items in the world, UNKNOWN for others."""
        index = self.truth.world.index
        return np.array([index.get(item, UNKNOWN) for item in item_ids.to_list()], dtype=np.int64)

    def seen(self, examples: pl.DataFrame) -> Seen:
        """The histories of examples."""
        flat = (
            examples.select(pl.int_range(pl.len(), dtype=pl.Int64).alias("example"), "history")
            .filter(pl.col("history").list.len() > 0)
            .explode("history")
            .unnest("history")
        )
        item = self.items(flat["item_id"])
        flat = flat.with_columns(pl.Series("item", item)).filter(pl.col("item") != UNKNOWN)
        kinds = pl.Series("kind", kind_of(self.truth.world, flat["item"].to_numpy()), dtype=pl.Int64)
        flat = flat.with_columns(kinds).join(
            self._sentences,
            left_on=["kind", "explanation"],
            right_on=["kind", "text"],
            how="left",
            maintain_order="left",
        )
        rating, sentence = (flat[name].cast(pl.Int64).fill_null(UNKNOWN).to_numpy() for name in ("rating", "sentence"))
        rating = np.where((rating >= 1) & (rating <= 5), rating, UNKNOWN)
        return Seen(examples.height, flat["example"].to_numpy(), flat["item"].to_numpy(), rating, sentence)

    @cached_property
    def _sentences(self) -> pl.DataFrame:
        bank = self.truth.bank
        rows = np.arange(len(bank.texts))
        frame = pl.DataFrame({"kind": bank.kind, "text": list(bank.texts), "sentence": rows})
        return frame.unique(["kind", "text"], keep="first", maintain_order=True)

    @cached_property
    def _by_item(self) -> Floats:
        """Weights exp u as `(I, T)`."""
        return np.ascontiguousarray(self.truth.world.weights.reshape(TYPES, -1).T)

    @cached_property
    def _totals(self) -> Floats:
        """Weights of whole categories, `(C, T)`."""
        return np.ascontiguousarray(self.truth.world.weights.sum(axis=2).T)

    @cached_property
    def _ratings(self) -> Floats:
        """P(rating = 1..5) as `(I, T, L, 5)`."""
        types, lenient = np.arange(TYPES)[None, :, None], np.arange(LENIENCIES)[None, None, :]
        return self.truth.world.ratings(types, lenient, np.arange(len(self.truth.world.item_ids))[:, None, None])

    @cached_property
    def _topics(self) -> Floats:
        """P(aspect | sign) as `(I, T, 2, 4)`."""
        return self.truth.world.topics(np.arange(TYPES)[None, :], np.arange(len(self.truth.world.item_ids))[:, None])

    def prior(self) -> Floats:
        """P(type, leniency) `(T, L)`."""
        _, _, price = split_type(np.arange(TYPES))
        share = np.asarray(self.truth.world.tastes.price_levels)[price]
        return np.repeat((share / share.sum())[:, None], LENIENCIES, axis=1) / LENIENCIES

    def posterior(self, seen: Seen) -> Floats:
        """P(type, leniency | history) `(E, T, L)`."""
        rated = np.where(seen.rating == UNKNOWN, 1, seen.rating) - 1
        evidence = np.log(self._ratings[seen.item, :, :, rated])  # (M, T, L)
        evidence[seen.rating == UNKNOWN] = 0.0
        spoken, bank = np.maximum(seen.sentence, 0), self.truth.bank
        topic = np.log(self._topics[seen.item, :, bank.positive[spoken], bank.aspect[spoken]])  # (M, T)
        topic[seen.sentence == UNKNOWN] = 0.0
        evidence += (self._choices(seen) + topic)[:, :, None]
        score = np.log(self.prior()) + sums(evidence, seen.example, seen.examples)
        score = np.exp(score - score.max(axis=(1, 2), keepdims=True))
        return np.asarray(score / score.sum(axis=(1, 2), keepdims=True))

    def _choices(self, seen: Seen) -> Floats:
        """Log P(item | category, type, what was bought before) `(M, T)`."""
        category = seen.item // self.truth.world.each
        order = np.lexsort((np.arange(len(category)), category, seen.example))
        weight = self._by_item[seen.item[order]]
        # What was bought of the same category before: a running sum that starts anew with every (example, category).
        running = np.cumsum(weight, axis=0) - weight
        same = (np.diff(seen.example[order], prepend=-1) == 0) & (np.diff(category[order], prepend=-1) == 0)
        starts = np.maximum.accumulate(np.where(same, 0, np.arange(len(order))))
        rest = self._totals[category[order]] - (running - running[starts])
        found = np.empty_like(weight)
        found[order] = np.log(weight) - np.log(np.maximum(rest, weight))
        return found

    def _open(self, seen: Seen, *, ordered: bool = True) -> tuple[Floats, Floats]:
        """Weight of what is not yet bought `(E, C, T)`, and P(next category) `(E, C)`."""
        world = self.truth.world
        category = seen.item // world.each
        rest = np.broadcast_to(self._totals, (seen.examples, *self._totals.shape)).copy()
        count = np.zeros((seen.examples, world.categories))
        np.subtract.at(rest, (seen.example, category), self._by_item[seen.item])
        np.add.at(count, (seen.example, category), 1)
        chance = np.broadcast_to(world.start, count.shape).copy()
        if ordered:
            last = np.flatnonzero(np.diff(seen.example, append=-1))
            chance[seen.example[last]] = world.transitions[category[last]]
        else:
            some = count.sum(axis=1) > 0
            chance[some] = count[some] @ world.transitions
        chance[count >= world.each] = 0.0
        # Rounding may leave a used-up category a little below or above nothing.
        rest = np.where((count < world.each)[:, :, None], np.maximum(rest, 1e-9), np.inf)
        return rest, chance / np.maximum(chance.sum(axis=1, keepdims=True), 1e-300)

    def next_items(self, belief: Floats, seen: Seen, *, ordered: bool = True) -> Floats:
        """P(next item) `(E, I)` under beliefs about choice types `(E, T)`; 0 for what is bought already.

        Not `ordered`: each item of a history is as likely as any other to have been the last one.
        """
        world = self.truth.world
        rest, chance = self._open(seen, ordered=ordered)
        share = (belief[:, None, :] / rest).transpose(1, 0, 2)  # (C, E, T)
        found = (share @ world.weights.transpose(1, 0, 2)).transpose(1, 0, 2)  # (E, C, n)
        found = (found * chance[:, :, None]).reshape(seen.examples, -1)
        found[seen.example, seen.item] = 0.0
        return found

    def choice_of(self, items: Ints, seen: Seen) -> Floats:
        """P(item | its category comes next, type) `(E, K, T)` of items `(E, K)`; 0 for unknown ones."""
        rest, _ = self._open(seen)
        known = np.maximum(items, 0)
        rest = np.take_along_axis(rest, (known // self.truth.world.each)[:, :, None], axis=1)
        return np.asarray(np.where((items != UNKNOWN)[:, :, None], self._by_item[known] / rest, 0.0))

    def expected_rating(self, belief: Floats, items: Ints) -> Floats:
        """E(rating) `(E,)` of items `(E,)` under beliefs `(E, T, L)`: what minimises squared error."""
        means = self._ratings[items] @ np.arange(1.0, 6.0)
        return np.asarray((means * belief).sum(axis=(1, 2)))

    def sentences(self, belief: Floats, items: Ints, rows: Ints) -> Floats:
        """P(sentence) `(E, S)` of bank rows `(S,)` about items `(E,)` of their kind, under beliefs `(E, T, L)`."""
        bank = self.truth.bank
        praise = self._ratings[items] @ np.asarray(self.truth.world.tastes.praise)  # (E, T, L)
        sign = np.stack([((1.0 - praise) * belief).sum(axis=2), (praise * belief).sum(axis=2)], axis=-1)  # (E, T, 2)
        topic = (sign[..., None] * self._topics[items]).sum(axis=1)  # (E, 2, 4)
        return np.asarray(topic[:, bank.positive[rows], bank.aspect[rows]] * bank.share[rows])

    def known_type(self, user_ids: pl.Series) -> Floats:
        """All belief on the customers' true types `(E, T, L)`; a held-out domain's `<user>@<domain>` is the person."""
        customers, index = self.truth.customers, self.truth.user_index
        who = np.array([index[user.partition("@")[0]] for user in user_ids.to_list()], dtype=np.int64)
        belief = np.zeros((len(who), TYPES, LENIENCIES))
        belief[np.arange(len(who)), customers.types[who], customers.lenient[who]] = 1.0
        return belief
