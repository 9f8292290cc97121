"""Probes: the same questions, with one thing that a system could look at taken away or exchanged at test time.

A probe is a variant of what the runner is *shown*; the fit, the questions, the answers and the items that may be ranked
stay the same. What a system loses by it, example by example, is what it gained by looking.

`probe:blank_pictures`, `probe:swapped_pictures` and `probe:no_text` are other views of the items, as noise variants of
rate 1 would be. `probe:other_history` gives each example the history of another user. The user's id stays: what a
system knows of a person by id it keeps, and no probe measures that.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_bench.data import noise
from unimp_bench.dataset import CLEAN, Catalogue, Dataset
from unimp_bench.errors import ConfigError
from unimp_bench.keyed import string_keys
from unimp_bench.provenance import digest
from unimp_bench.schemas import HISTORY

BLANK_PICTURES, SWAPPED_PICTURES = "probe:blank_pictures", "probe:swapped_pictures"
NO_TEXT, OTHER_HISTORY = "probe:no_text", "probe:other_history"
PROBES: dict[str, str] = {
    BLANK_PICTURES: "no item has a picture",
    SWAPPED_PICTURES: "every item shows another item's picture",
    NO_TEXT: "no item has title, brand, categories, price, description or attributes",
    OTHER_HISTORY: "every example shows another user's history",
}
_VERSION = 1  # raised when a probe shows something else
_NEAR = 64  # examples of like length among whom histories are exchanged; a cohort's last group may have twice as many
_SALT = "other history"

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Showing:
    """What a runner is shown: the items, and by example the history (example_id, history) where it is not the own."""

    catalogue: Catalogue
    histories: pl.DataFrame | None = None

    def shown(self, examples: pl.DataFrame) -> pl.DataFrame:
        """The examples with the history that is shown; their text must then be rendered anew."""
        if self.histories is None:
            return examples
        others = examples.drop("history").join(self.histories, on="example_id", how="left", maintain_order="left")
        return others.select(examples.columns)

    def seen(self, examples: pl.DataFrame) -> pl.DataFrame:
        """The examples with everything in `history` that is taken out of lists: the own history and the shown one.

        Own items stay out as they do without a probe; borrowed ones go out too, or a system that likes to repeat what
        it is shown would lose by that alone. So a probed list has a few rivals less, and the gain is a little too low.
        """
        if self.histories is None:
            return examples
        borrowed = self.shown(examples).select(pl.col("history").alias("borrowed"))
        return examples.hstack(borrowed).with_columns(pl.concat_list("history", "borrowed")).drop("borrowed")


def identity(variant: str) -> str | None:
    """What names a probe in a run's request; None for what is no probe."""
    return digest({"probe": variant, "version": _VERSION}) if variant in PROBES else None


def why_not(data: Dataset, variant: str) -> str:
    """Why a probe of a dataset would take nothing away; empty if it takes something."""
    if variant in (BLANK_PICTURES, SWAPPED_PICTURES) and not data.catalogue().images:
        return f"{data.name} has no pictures to take away"
    return ""


def showing(data: Dataset, task: str, variant: str = CLEAN) -> Showing:
    """What a runner is shown of a task's test examples, under any variant.

    Raises:
        UnknownNameError: there is no such variant.
        ConfigError: a cohort has one user, who can borrow from nobody.
    """
    if variant not in PROBES:
        return Showing(data.catalogue(variant))
    clean = data.catalogue()
    if variant == OTHER_HISTORY:
        return Showing(clean, _borrowed_of(data, task))
    if variant == BLANK_PICTURES:
        items = clean.items.with_columns(pl.lit(None, dtype=pl.String).alias("image_id"))
    else:
        items = noise.apply(clean.items, "NV" if variant == SWAPPED_PICTURES else "NT", 1.0)
    return Showing(dataclasses.replace(clean, items=items))


def _borrowed_of(data: Dataset, task: str) -> pl.DataFrame:
    """The borrowed histories of all test examples of a task, whoever of them is asked.

    The sealed answers are opened for one thing: what a question asks for must not stand in the history beside it.
    """
    columns = ("example_id", "user_id", "cohort", "history", "target_item_id", "candidates")
    examples = data.examples(task, "test").select(columns).collect()
    answers = data.sealed_answers(task).select("example_id", item_id="item_ids")
    about = [
        examples.select("example_id", item_id="target_item_id"),
        *(
            lists.filter(pl.col("item_id").list.len() > 0).explode("item_id")
            for lists in (examples.select("example_id", item_id="candidates"), answers)
        ),
    ]
    return borrowed(examples, pl.concat(about).drop_nulls().unique())


def borrowed(examples: pl.DataFrame, asked_for: pl.DataFrame) -> pl.DataFrame:
    """For each example the history of another user of its cohort and of like length: example_id, history.

    In each cohort examples are ordered by the length of their history, equal ones by a keyed hash, and cut into groups
    of `_NEAR`; everybody takes the history of the next in the group, the last that of the first. Where the next one is
    the same user, or nothing is left of the history without the items that the example asks for, it is the one after.

    Args:
        examples: example_id, user_id, cohort, history.
        asked_for: pairs (example_id, item_id) that must not be shown.

    Raises:
        ConfigError: a user has no other one to borrow from.
    """
    order, start, size = _groups(examples)
    ids, users = examples["example_id"].gather(order), examples["user_id"].gather(order).to_numpy()
    histories = examples["history"].gather(order)
    todo, at = np.arange(len(order)), np.arange(len(order)) - start
    found: list[pl.DataFrame] = []
    stranger = np.zeros(len(order), dtype=bool)  # has met another user
    for shift in range(1, int(size.max(initial=0))):
        todo = todo[shift < size[todo]]
        donor = start[todo] + (at[todo] + shift) % size[todo]
        other = users[donor] != users[todo]
        stranger[todo[other]] = True
        offered = pl.DataFrame({"example_id": ids.gather(todo[other]), "history": histories.gather(donor[other])})
        left = _without(offered, asked_for)
        found.append(left)
        todo = np.concatenate([todo[~other], todo[other][~offered["example_id"].is_in(left["example_id"].implode())]])
        if not len(todo):
            break
    if not stranger.all():
        alone = users[~stranger][0]
        raise ConfigError(f"user '{alone}' is the only one of a cohort; {OTHER_HISTORY} needs two")
    taken = pl.concat(found) if found else pl.DataFrame(schema={"example_id": pl.String, "history": HISTORY})
    return (
        examples.select("example_id")
        .join(taken, on="example_id", how="left", maintain_order="left")
        .with_columns(
            pl.col("history").fill_null(
                pl.lit([], dtype=HISTORY)
            )  # a group in which everybody had nothing but the answer
        )
    )


def _groups(examples: pl.DataFrame) -> tuple[Places, Places, Places]:
    """Order of the rows, and for each place in it where its group begins and how many are in it."""
    keys = string_keys(examples["example_id"], _SALT) if examples.height else np.empty(0, np.uint64)
    lengths = examples["history"].list.len().to_numpy()
    cohort = examples["cohort"].rank("dense").to_numpy()
    order = np.lexsort((keys, lengths, cohort))
    start, size = np.empty(len(order), dtype=np.int64), np.empty(len(order), dtype=np.int64)
    ordered = cohort[order]
    for name in np.unique(ordered):
        first, count = int(np.searchsorted(ordered, name)), int((ordered == name).sum())
        group = np.minimum(np.arange(count) // _NEAR, max(count // _NEAR - 1, 0))
        start[first : first + count] = first + group * _NEAR
        size[first : first + count] = np.bincount(group)[group]
    return order, start, size


def _without(offered: pl.DataFrame, asked_for: pl.DataFrame) -> pl.DataFrame:
    """The histories without the items that their example asks for; rows whose history is empty then are left out."""
    entries = (
        offered.filter(pl.col("history").list.len() > 0)
        .explode("history")
        .with_columns(item_id=pl.col("history").struct.field("item_id"))
    )
    kept = entries.join(asked_for, on=["example_id", "item_id"], how="anti", maintain_order="left")
    return kept.group_by("example_id", maintain_order=True).agg("history")
