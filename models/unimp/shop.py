"""A shop as the model learns it: items with their words and pictures, and who bought what, as plain arrays.

Nothing here knows where the data came from: `folders.py` reads a built dataset with pyarrow alone, `runner.py` converts
what the benchmark hands out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

TASKS = ("recommendation", "search", "preference", "explanation", "selection", "image_generation")
IN_HISTORY = TASKS[:4]  # tasks whose training answers are rows of the log


@dataclass(frozen=True)
class Items:
    """A catalogue, in `item_index` order.

    `bodies` are attributes as text (`Category … Title …`), `picture_ids` name pictures or are None; `pictures` fetches
    encoded pictures by id.
    """

    ids: tuple[str, ...]
    bodies: tuple[str, ...]
    titles: tuple[str, ...]
    domains: tuple[str, ...]
    picture_ids: tuple[str | None, ...]
    pictures: Callable[[Sequence[str]], Mapping[str, bytes]]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Log:
    """Train interactions, user after user, oldest first.

    Rows of user u are `offsets[u] : offsets[u + 1]`. `item`, `rating` (NaN: none given) are `(rows,)`, `why` holds
    explanations, `query` indexes `queries` (-1: none). `learned[task]` `(rows,)` says which rows are training answers.
    """

    offsets: Ints
    item: Ints
    rating: NDArray[np.float32]
    why: Sequence[str | None]
    query: Ints
    queries: Sequence[str]
    learned: Mapping[str, NDArray[np.bool_]]

    @property
    def users(self) -> int:
        """How many users there are."""
        return len(self.offsets) - 1


@dataclass(frozen=True)
class Example:
    """One question about one user; its answer where it may be known.

    `history` are item indices, oldest first, with `ratings` (NaN: none) and `whys`. Indices name items of `Items`.
    """

    id: str
    cohort: str
    history: Ints
    ratings: NDArray[np.float32]
    whys: Sequence[str | None]
    query: str | None = None
    target: int | None = None
    candidates: tuple[int, ...] = ()
    answer_items: tuple[int, ...] = ()
    answer_rating: float | None = None
    answer_text: str | None = None


@dataclass(frozen=True)
class Shop:
    """All that may be learned from: the catalogue, the log, selection's own examples, and examples for validation."""

    items: Items
    log: Log
    selection: Sequence[Example] = ()
    valid: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    reviews: Sequence[str] = ()  # train-visible text, for pre-training

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks there is something to learn for."""
        told = {task for task, rows in self.log.learned.items() if rows.any()}
        return tuple(task for task in TASKS if task in told or (task == "selection" and self.selection))
