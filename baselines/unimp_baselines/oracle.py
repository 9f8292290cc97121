"""The ceiling of every metric on the synthetic shop, from its truth.

`oracle` knows every customer's true type, never the drawn target; `oracle_history` knows the shop but not the customer
and infers the type from the visible history alone (exact Bayes over all types). Neither learns anything. For every task
they give the answer that is best in expectation: probabilities for rankings, the conditional mean for ratings, the
sentence of highest expected ROUGE-L, the subset of highest expected F1. For pictures, whose metric compares
distributions, they draw an item from the true distribution.

Same-day purchases stand in keyed order, so the "last" item that an oracle goes by is the build's, not the shop's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, permutations
from typing import ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_baselines.common import EVERY_COHORT, LearnsNothing
from unimp_bench.data.sources.synthetic import truth
from unimp_bench.data.sources.synthetic.inference import UNKNOWN, Inference, Seen
from unimp_bench.data.sources.synthetic.reviews import kind_of
from unimp_bench.dataset import Catalogue
from unimp_bench.errors import ConfigError
from unimp_bench.keyed import string_keys, uniform
from unimp_bench.runners.protocol import Context, ScoreBlock
from unimp_bench.tasks.search import QUERY_STYLES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_ROWS = 256  # examples worked on together
_SHORTLIST = 8  # candidates of a selection that are weighed against each other; the rest cannot be chosen
_MOST_POSITIVES = 3
_UNEXPLAINED = 4.0  # mean rating of items that the truth does not explain


class _Oracle(LearnsNothing, ABC):
    """What both oracles share: everything but how much they know of the customer."""

    tasks: ClassVar[frozenset[str]] = frozenset(
        {"recommendation", "preference", "explanation", "selection", "search", "image_generation"}
    )
    cohorts: ClassVar[frozenset[str]] = EVERY_COHORT
    version: ClassVar[int] = 1
    reads_truth: ClassVar[bool] = True

    @abstractmethod
    def belief(self, shop: Inference, examples: pl.DataFrame, seen: Seen) -> Floats:
        """P(type, leniency) `(examples, types, leniencies)`."""

    def predict(
        self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context
    ) -> Iterator[pl.DataFrame | ScoreBlock]:
        """Answers, block by block.

        Raises:
            ConfigError: the dataset has no truth.
        """
        if context.truth is None:
            raise ConfigError("an oracle needs the truth of a synthetic shop; run it on a dataset of `build synthetic`")
        shop = Inference(truth.read(context.truth))
        desk = _Desk(shop, view, context)
        for block in examples.iter_slices(_ROWS):
            seen = shop.seen(block)
            if task in ("preference", "explanation"):
                target = shop.items(block["target_item_id"])
                # That the customer chose this item says something about them, too.
                belief = self.belief(shop, block, seen.followed_by(target))
                answer = desk.ratings if task == "preference" else desk.sentences
                yield answer(block, belief, target)
            else:
                belief = self.belief(shop, block, seen)
                if task == "selection":
                    yield desk.subsets(block, belief.sum(axis=2), seen)
                else:
                    chances = shop.next_items(belief.sum(axis=2), seen)
                    yield desk.pictures(block, chances) if task == "image_generation" else desk.ranking(block, chances)


@dataclass
class Oracle(_Oracle):
    """Knows every customer's true type."""

    def belief(self, shop: Inference, examples: pl.DataFrame, seen: Seen) -> Floats:
        """All belief on the truth."""
        del seen
        return shop.known_type(examples["user_id"])


@dataclass
class OracleHistory(_Oracle):
    """Infers the type from the example's history; never looks at whose it is."""

    def belief(self, shop: Inference, examples: pl.DataFrame, seen: Seen) -> Floats:
        """Exact posterior."""
        del examples
        return shop.posterior(seen)


@dataclass(frozen=True)
class _Desk:
    """Turns beliefs into answers in the form of each task."""

    shop: Inference
    view: Catalogue
    context: Context

    @cached_property
    def _columns(self) -> Ints:
        """The world's number of every item in `item_index` order `(items,)`."""
        return self.shop.items(self.view.items["item_id"])

    @cached_property
    def _categories(self) -> dict[str, NDArray[np.bool_]]:
        """Items in `item_index` order that carry a query, for the queries of every style."""
        world = self.shop.truth.world
        found: dict[str, NDArray[np.bool_]] = {}
        category = np.where(self._columns == UNKNOWN, -1, self._columns // world.each)
        for number, path in enumerate(world.category_paths):
            for style in QUERY_STYLES.values():
                query = style(list(path))
                if query is not None:
                    found[query] = found.get(query, np.zeros(len(category), dtype=bool)) | (category == number)
        return found

    def _in_view(self, block: pl.DataFrame, chances: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Chances in `item_index` order and which items fit the query, both `(examples, items)`."""
        known = self._columns != UNKNOWN
        ordered = np.where(known, chances[:, np.maximum(self._columns, 0)], 0.0)
        everything = np.ones(len(known), dtype=bool)
        fits = [everything if q is None else self._categories.get(q, everything) for q in block["query"].to_list()]
        return ordered, np.stack(fits)

    def ranking(self, block: pl.DataFrame, chances: Floats) -> ScoreBlock:
        """Items by probability, those of the query before all others."""
        ordered, fits = self._in_view(block, chances)
        return ScoreBlock(block["example_id"].to_list(), np.where(fits, ordered, ordered - 2.0).astype(np.float32))

    def ratings(self, block: pl.DataFrame, belief: Floats, target: Ints) -> pl.DataFrame:
        """Expected ratings."""
        expected = self.shop.expected_rating(belief, np.maximum(target, 0))
        rating = np.where(target == UNKNOWN, _UNEXPLAINED, expected)
        return block.select("example_id", pl.Series("rating", rating, dtype=pl.Float32))

    def sentences(self, block: pl.DataFrame, belief: Floats, target: Ints) -> pl.DataFrame:
        """For each example the sentence with the highest expected ROUGE-L."""
        bank = self.shop.truth.bank
        items = np.maximum(target, 0)
        kinds = kind_of(self.shop.truth.world, items)
        texts = [""] * block.height
        for kind in np.unique(kinds).tolist():
            rows, here = np.flatnonzero(bank.kind == kind), np.flatnonzero(kinds == kind)
            gain = self.shop.sentences(belief[here], items[here], rows) @ self._likeness(kind, rows)
            for example, best in zip(here.tolist(), gain.argmax(axis=1).tolist(), strict=True):
                texts[example] = bank.texts[rows[best]]
        return block.select("example_id", pl.Series("text", texts, dtype=pl.String))

    @cached_property
    def _likenesses(self) -> dict[int, Floats]:
        return {}

    def _likeness(self, kind: int, rows: Ints) -> Floats:
        """ROUGE-L of every sentence of a kind against every other `(S, S)`; worked out once a kind."""
        if kind not in self._likenesses:
            self._likenesses[kind] = rouge_l([self.shop.truth.bank.texts[row] for row in rows.tolist()])
        return self._likenesses[kind]

    def pictures(self, block: pl.DataFrame, chances: Floats) -> pl.DataFrame:
        """The picture of an item drawn from the distribution, among items of the query that have one."""
        ordered, fits = self._in_view(block, chances)
        image_ids = self.view.items["image_id"]
        weight = np.where(fits & image_ids.is_not_null().to_numpy(), ordered, 0.0)
        upto = np.cumsum(weight, axis=1)
        draw = uniform(string_keys(block["example_id"], "oracle picture", self.context.seed))
        place = (upto <= (draw * upto[:, -1])[:, None]).sum(axis=1)
        drawn = np.where(upto[:, -1] > 0, place, -1)
        chosen = [image_ids[i] if i >= 0 else None for i in drawn.tolist()]
        bytes_of = self.view.pictures(image for image in chosen if image is not None)
        images = [{"bytes": bytes_of[i], "path": None} if i in bytes_of else None for i in chosen]
        kind = pl.Struct({"bytes": pl.Binary, "path": pl.String})
        return block.select("example_id", pl.Series("image", images, dtype=kind))

    def subsets(self, block: pl.DataFrame, belief: Floats, seen: Seen) -> pl.DataFrame:
        """For each example the subset of candidates with the highest expected F1."""
        candidates = block["candidates"].to_list()
        width = max((len(c) for c in candidates), default=0)
        items = np.full((block.height, width), UNKNOWN)
        for row, ids in enumerate(candidates):
            items[row, : len(ids)] = self.shop.items(pl.Series(ids, dtype=pl.String))
        fair = self.shop.next_items(belief, seen)
        single = np.where(items == UNKNOWN, -1.0, np.take_along_axis(fair, np.maximum(items, 0), axis=1))
        short = np.argsort(-single, axis=1, kind="stable")[:, :_SHORTLIST]
        near = np.take_along_axis(items, short, axis=1)
        chosen, chance = self._best(near, belief, seen, block["cohort"].to_list(), width)
        rows = []
        for example, ids in enumerate(candidates):
            order = sorted(np.flatnonzero(chosen[example]).tolist(), key=lambda place: -chance[example, place])
            order = [place for place in order if short[example, place] < len(ids)]
            rows.append(
                {
                    "item_ids": [ids[short[example, place]] for place in order],
                    "scores": [float(chance[example, place]) for place in order],
                }
            )
        kinds = {"item_ids": pl.List(pl.String), "scores": pl.List(pl.Float32)}
        return pl.concat([block.select("example_id"), pl.DataFrame(rows, schema=kinds)], how="horizontal")

    def _best(
        self, near: Ints, belief: Floats, seen: Seen, cohorts: list[str], width: int
    ) -> tuple[NDArray[np.bool_], Floats]:
        """Which of the shortlisted candidates to take, and how likely each is a positive, both `(examples, near)`.

        A hypothesis is an ordered set of 1-3 positives, each number equally likely. It is weighed by the probability
        that the customer bought just these, at the place in the history where positives are missing, and that uniform
        draws gave the other candidates.
        """
        places = near.shape[1]
        subsets = [s for n in range(1, min(_MOST_POSITIVES, places) + 1) for s in combinations(range(places), n)]
        member = np.zeros((len(subsets), places), dtype=bool)
        for number, subset in enumerate(subsets):
            member[number, list(subset)] = True
        bought = self.shop.choice_of(near, seen)  # (E, near, T)
        open_items = max(len(self._columns), 2 * width)
        weight = np.zeros((len(near), len(subsets)))
        roads = self._roads(near, seen, np.array([cohort != "new_user" for cohort in cohorts]))
        for number, subset in enumerate(subsets):
            together = (belief * np.prod(bought[:, list(subset)], axis=1)).sum(axis=1)
            others = width - len(subset)
            # 1 / C(open, others), up to a factor common to all hypotheses.
            negatives = np.prod(np.arange(1, others + 1) / (open_items - np.arange(others)))
            weight[:, number] = together * negatives * sum(roads[order] for order in permutations(subset))
        weight /= np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)
        answers = [s for n in range(1, places + 1) for s in combinations(range(places), n)]
        offered = np.zeros((len(answers), places), dtype=bool)
        for number, answer in enumerate(answers):
            offered[number, list(answer)] = True
        hits = offered.astype(np.float64) @ member.T.astype(np.float64)
        f1 = 2 * hits / (offered.sum(axis=1)[:, None] + member.sum(axis=1)[None, :])
        best = (weight @ f1.T).argmax(axis=1)
        return offered[best], weight @ member

    def _roads(self, near: Ints, seen: Seen, validated: NDArray[np.bool_]) -> dict[tuple[int, ...], Floats]:
        """P(categories) `(examples,)` of every ordered set of positives, the latest last.

        Where there was a validation row it is the last of the history and stands between the withheld positives and the
        last positive; new users have none, and their positives follow the history one after the other.
        """
        world = self.shop.truth.world
        category = np.maximum(near, 0) // world.each
        behind = [np.full(len(near), -1) for _ in range(2)]  # categories of the last and the second-last entry
        for back, found in enumerate(behind):
            ends = np.flatnonzero(np.diff(seen.example, append=-1)) - back
            fits = ends >= 0
            same = seen.example[ends[fits]] == seen.example[ends[fits] + back]
            found[seen.example[ends[fits][same]]] = seen.item[ends[fits][same]] // world.each
        last, second = behind

        def step(before: Ints, after: Ints) -> Floats:
            return np.asarray(np.where(before < 0, world.start[after], world.transitions[before, after]))

        roads = {}
        between = np.where(validated & (last >= 0), last, 0)
        for count in range(1, min(_MOST_POSITIVES, near.shape[1]) + 1):
            for order in permutations(range(near.shape[1]), count):
                steps = [category[:, place] for place in order]
                plain = through = np.ones(len(near))
                here, there = last, second
                for after in steps[:-1]:
                    plain, here = plain * step(here, after), after
                    through, there = through * step(there, after), after
                plain = plain * step(here, steps[-1])
                through = through * step(there, between) * step(last, steps[-1])
                roads[order] = np.where(validated, through, plain)
        return roads


def rouge_l(texts: list[str]) -> Floats:
    """ROUGE-L F-measure (Lin 2004) of every text against every other `(S, S)`, lower-case, not stemmed."""
    words = ["".join(c if c.isalnum() else " " for c in text.lower()).split() for text in texts]
    numbers = {word: n for n, word in enumerate(sorted({w for ws in words for w in ws}))}
    longest = max((len(w) for w in words), default=0)
    table = np.full((len(words), longest), -1)
    for row, ws in enumerate(words):
        table[row, : len(ws)] = [numbers[w] for w in ws]
    lengths = (table >= 0).sum(axis=1)
    # Longest common subsequences of all pairs at once, by the usual recurrence.
    common = np.zeros((longest + 1, longest + 1, len(words), len(words)), dtype=np.int16)
    for i in range(longest):
        for j in range(longest):
            equal = (table[:, None, i] == table[None, :, j]) & (table[:, None, i] >= 0)
            step = np.maximum(common[i, j + 1], common[i + 1, j])
            common[i + 1, j + 1] = np.where(equal, common[i, j] + 1, step)
    total = np.maximum(lengths[:, None] + lengths[None, :], 1)
    return np.asarray(2.0 * common[longest, longest] / total)
