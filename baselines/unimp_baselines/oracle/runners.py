"""The oracles as runners: they differ only in what they believe and see of the customer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from unimp_baselines.common import EVERY_COHORT, LearnsNothing
from unimp_baselines.oracle.answers import Desk
from unimp_baselines.oracle.subsets import best_subsets
from unimp_bench.data.sources.synthetic import truth
from unimp_bench.data.sources.synthetic.inference import Inference, Seen
from unimp_bench.data.sources.synthetic.world import Floats
from unimp_bench.dataset import Catalogue
from unimp_bench.errors import ConfigError
from unimp_bench.runners.protocol import Context, ScoreBlock

_ROWS = 256  # examples worked on together


class _Oracle(LearnsNothing, ABC):
    """What the oracles share: everything but how much they know of the customer."""

    tasks: ClassVar[frozenset[str]] = frozenset(
        {"recommendation", "preference", "explanation", "selection", "search", "image_generation"}
    )
    cohorts: ClassVar[frozenset[str]] = EVERY_COHORT
    version: ClassVar[int] = 1
    reads_truth: ClassVar[bool] = True
    ordered: ClassVar[bool] = True  # whether it sees what was bought last

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
        desk = Desk(shop, view, context)
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
                    yield best_subsets(shop, block, belief.sum(axis=2), seen)
                else:
                    chances = shop.next_items(belief.sum(axis=2), seen, ordered=self.ordered)
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


@dataclass
class OracleUnordered(Oracle):
    """Knows the true type and what was bought, not in which order: for systems that learn from a set of purchases.

    A reference, no bound: it takes each purchase for the last one with the same chance, where a set may tell more.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"recommendation"})
    ordered: ClassVar[bool] = False
