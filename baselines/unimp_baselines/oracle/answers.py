"""From beliefs about customers to rankings, ratings, sentences and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_bench.data.sources.synthetic.inference import UNKNOWN, Inference
from unimp_bench.data.sources.synthetic.reviews import kind_of
from unimp_bench.data.sources.synthetic.world import Floats, Ints
from unimp_bench.dataset import Catalogue
from unimp_bench.keyed import string_keys, uniform
from unimp_bench.runners.protocol import Context, ScoreBlock
from unimp_bench.schemas import IMAGE
from unimp_bench.tasks.search import QUERY_STYLES

_DIGITS = 9  # of an expected score; what lies behind depends on how many examples are multiplied at once
_UNEXPLAINED = 4.0  # mean rating of items that the truth does not explain


@dataclass(frozen=True)
class Desk:
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
            gain = gain.round(_DIGITS)  # so that equal sentences are equal in any company
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
        return block.select("example_id", pl.Series("image", images, dtype=IMAGE))


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
