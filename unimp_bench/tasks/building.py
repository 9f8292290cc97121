"""From labelled interactions to the examples of all six tasks, a chunk of whole users at a time.

The catalogue's texts, queries and pools of negatives are made once; then every chunk is a pure function of its rows, so
one chunk or many give the same examples.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import polars as pl

from unimp_bench.errors import ConfigError
from unimp_bench.schemas import LABELLED_EXAMPLES, conform
from unimp_bench.tasks import explanation, image_generation, preference, recommendation, search, selection
from unimp_bench.tasks.candidates import HARDNESS, Pools
from unimp_bench.tasks.histories import Chunk
from unimp_bench.tasks.item_texts import ItemTexts, text_fields
from unimp_bench.tasks.prompts import rendered
from unimp_bench.tasks.search import QUERY_STYLES, queries
from unimp_bench.tasks.spec import TASKS
from unimp_bench.tasks.styles import STYLES, style_named


@dataclass(frozen=True)
class Settings:
    """How examples are made. Only candidates, positives and halves of selection depend on `seed`.

    Raises:
        ConfigError: an unknown name or an impossible number.
    """

    seed: int = 0
    history: int = 5  # entries of a training history, and entries that any prompt shows
    long_history: int = 50  # entries of a validation or test history
    prompts: str = "paper"
    query: str = "ai2017"
    n_candidates: int = 5
    hardness: str = "random"
    lean: bool = False  # leave the text of training rows to the same renderer at run time

    def __post_init__(self) -> None:
        for what, name, known in (
            ("prompt style", self.prompts, STYLES),
            ("query form", self.query, QUERY_STYLES),
            ("hardness", self.hardness, HARDNESS),
        ):
            if name not in known:
                raise ConfigError(f"unknown {what} '{name}'; known: {', '.join(known)}")
        if not selection.MOST_POSITIVES < self.n_candidates <= 64:
            raise ConfigError(f"n_candidates is {self.n_candidates}; give 4 to 64, since up to 3 of them are positives")
        if self.history < 1 or self.long_history < self.history:
            raise ConfigError(
                f"history is {self.history} and long_history {self.long_history}; give 1 <= history <= long_history"
            )


def missing(items: pl.DataFrame, ratings: int, explanations: int, query: str = "ai2017") -> dict[str, str]:
    """Why tasks cannot be had from a source: task -> reason, for those that cannot.

    `items` has the columns of `schemas.ITEMS`; `ratings` and `explanations` count the interactions that have one.
    """
    found = queries(items, query)["query"]
    asked = found.is_not_null()
    pictured = items["image_id"].is_not_null()
    lacks: dict[str, str] = {}
    if ratings == 0:
        lacks["ratings"] = "no interaction has a rating"
    if explanations == 0:
        lacks["explanations"] = "no interaction has a review sentence that explains it"
    if not asked.any():
        levels = " of two or more levels" if query == "ai2017" else ""
        lacks["categories"] = f"no item has a category path{levels}, so there are no queries"
    if not pictured.any():
        lacks["images"] = "no item has a picture"
    elif not (asked & pictured).any() and asked.any():
        lacks["images"] = "no item has both a picture and a query"
    # `needs` is a set: a fixed order keeps the sentence the same in every run.
    reasons = {
        name: " and ".join(lacks[need] for need in sorted(spec.needs) if need in lacks) for name, spec in TASKS.items()
    }
    if not reasons["search"] and found.drop_nulls().n_unique() == 1:
        # A query that says nothing would make search a second recommendation under another name.
        reasons["search"] = f"every item answers one query, '{found.drop_nulls()[0]}', so a search finds nothing"
    return {name: reason for name, reason in reasons.items() if reason}


class Builder:
    """Builds examples against one catalogue.

    `items` has the columns of `schemas.ITEMS`, each interaction's item among them; `new_domains` names the domains that
    are held out as a whole, whose items are never negatives of others or the other way round.
    """

    def __init__(self, items: pl.DataFrame, settings: Settings, new_domains: Collection[str]) -> None:
        items = items.sort("item_index")
        self._items = items
        self._settings = settings
        self._style = style_named(settings.prompts)
        self.fields = text_fields(items, settings.prompts)  # of an item's text
        self._texts = ItemTexts.of(items, self.fields)
        self._per_item = queries(items, settings.query).select("query").hstack([items["image_id"]])
        self._pools = Pools.of(items, frozenset(new_domains), settings.hardness)

    def missing(self, ratings: int, explanations: int) -> dict[str, str]:
        """Tasks that this catalogue cannot yield with so many ratings and explanations, with the reason."""
        return missing(self._items, ratings, explanations, self._settings.query)

    def examples(self, task: str, split: str, interactions: pl.DataFrame) -> pl.DataFrame:
        """Examples of one task and split in the columns of `schemas.LABELLED_EXAMPLES`, sorted by example_id.

        `interactions` (`schemas.SEALED_INTERACTIONS`) holds all rows of some users, sorted by user_id and position.

        Raises:
            ValueError: rows of a user stand apart, or an item is not in the catalogue.
        """
        frame = conform(self._rows(task, split, interactions), LABELLED_EXAMPLES.columns).sort("example_id")
        if split == "train" and self._settings.lean:
            return frame
        return conform(
            rendered(task, frame, self._style, self._texts, self._settings.history), LABELLED_EXAMPLES.columns
        )

    def _rows(self, task: str, split: str, interactions: pl.DataFrame) -> pl.DataFrame:
        settings = self._settings
        length = settings.history if split == "train" else settings.long_history
        chunk = self._chunk(interactions)
        match task:
            case "recommendation":
                return recommendation.build(chunk, split, length)
            case "preference":
                return preference.build(chunk, split, length, joint=self._style.joint)
            case "explanation":
                return explanation.build(chunk, split, length, joint=self._style.joint)
            case "search":
                return search.build(chunk, split, length)
            case "image_generation":
                return image_generation.build(chunk, split, length)
            case "selection":
                return selection.build(
                    chunk,
                    split,
                    length,
                    item_ids=self._items["item_id"],
                    pools=self._pools,
                    n_candidates=settings.n_candidates,
                    seed=settings.seed,
                )
        raise ValueError(f"no task {task}; known: {', '.join(TASKS)}")

    def _chunk(self, interactions: pl.DataFrame) -> Chunk:
        try:
            place = self._texts.places(interactions["item_id"])
        except pl.exceptions.InvalidOperationError:
            raise ValueError("an interaction's item is not in the catalogue") from None
        columns = ["user_id", "position", "item_id", "rating", "explanation", "split", "cohort"]
        per_row = [column.gather(place) for column in self._per_item.iter_columns()]
        return Chunk.of(interactions.select(columns).hstack(per_row), place.cast(pl.Int64).to_numpy())
