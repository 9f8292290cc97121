"""What RecBole is given: users' train sequences and validation targets as arrays of numbers.

Users and items are numbered from 1 in the order of `users` and `items`; 0 is RecBole's padding. Lists of unequal
length stand one after another in a flat array, with `starts` `(lists + 1,)` telling where each begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_baselines.common import past_items
from unimp_bench.errors import ConfigError, IncompleteError
from unimp_bench.runners.protocol import TaskData

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Lists:
    """Lists of numbers: list k is `values[starts[k] : starts[k + 1]]`."""

    values: Numbers
    starts: Numbers

    @classmethod
    def of(cls, column: pl.Series) -> Lists:
        """From a list column; null counts as an empty list, null elements are left out."""
        tidy = column.fill_null([]).list.drop_nulls()
        lengths = tidy.list.len().to_numpy()
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return cls(tidy.explode(empty_as_null=False).to_numpy().astype(np.int64), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1


@dataclass(frozen=True)
class Feed:
    """All that one fit learns from."""

    users: pl.Series  # user ids; user k has number k + 1
    items: pl.Series  # item ids; item k has number k + 1
    sequences: Lists  # items of each user's train rows, oldest first
    valid_users: Numbers  # (rows,); 0 for a user without train rows
    valid_targets: Numbers  # (rows,)
    valid_histories: Lists  # (rows) lists of items, oldest first
    attributes: Lists  # attribute numbers, from 1, of each item

    @classmethod
    def of(cls, data: TaskData, cohort: str, *, attributes: bool = False) -> Feed:
        """The train rows of a cohort's items, and what its validation examples ask for.

        Args:
            data: what may be learned.
            cohort: whose items form the catalogue, as in `Catalogue.members`.
            attributes: also number the items' categories (below the root) and brands.

        Raises:
            ConfigError: there is nothing to learn from.
        """
        members = data.catalogue.items.filter(pl.Series(data.catalogue.members(cohort)))
        items = members["item_id"]
        numbers = pl.DataFrame({"item_id": items, "number": np.arange(1, len(items) + 1)})
        rows = (
            data.interactions.select("user_id", "position", "item_id")
            .join(numbers.lazy(), on="item_id", how="inner")
            .sort("user_id", "position")
            .group_by("user_id", maintain_order=True)
            .agg("number")
            .collect()
        )
        if rows.height == 0:
            raise ConfigError(f"there are no train interactions with items of {cohort}; build the dataset with some")
        columns = ["user_id", "history", "item_ids"]
        asked = data.valid.select(columns).collect().explode("item_ids").rename({"item_ids": "item_id"})
        asked = asked.join(numbers, on="item_id", how="inner", maintain_order="left")
        users = rows["user_id"]
        return cls(
            users,
            items,
            Lists.of(rows["number"]),
            numbered(asked["user_id"], users),
            asked["number"].to_numpy().astype(np.int64),
            histories(asked, items),
            attributes_of(members) if attributes else Lists.of(pl.Series([[]] * len(items), dtype=pl.List(pl.Int64))),
        )

    def write(self, folder: Path) -> None:
        """Keep it as `feed.npz` (numbers, for the worker) and `names.parquet` (ids, for us)."""
        with (folder / "feed.npz").open("wb") as file:
            np.savez(
                file,
                users=len(self.users),
                items=len(self.items),
                sequences=self.sequences.values,
                sequence_starts=self.sequences.starts,
                valid_users=self.valid_users,
                valid_targets=self.valid_targets,
                valid_histories=self.valid_histories.values,
                valid_starts=self.valid_histories.starts,
                attributes=self.attributes.values,
                attribute_starts=self.attributes.starts,
            )
        write_names(folder / "names.parquet", self.users, self.items)


def write_names(path: Path, users: pl.Series, items: pl.Series) -> None:
    """Keep which ids the numbers stand for."""
    pl.DataFrame({"users": [users], "items": [items]}).write_parquet(path)


def read_names(path: Path) -> tuple[pl.Series, pl.Series]:
    """What `write_names` kept: user ids and item ids.

    Raises:
        IncompleteError: it is not there or not whole.
    """
    try:
        names = pl.read_parquet(path)
        return names["users"].explode(), names["items"].explode()
    except (OSError, pl.exceptions.PolarsError):
        raise IncompleteError(f"{path} cannot be read; run again with --force") from None


def numbered(ids: pl.Series, known: pl.Series) -> Numbers:
    """The number of each id: its place in `known` from 1, or 0 where it is not there."""
    if len(known) == 0:
        return np.zeros(len(ids), dtype=np.int64)
    return ids.replace_strict(known, np.arange(1, len(known) + 1), default=0, return_dtype=pl.Int64).to_numpy()


def histories(examples: pl.DataFrame, items: pl.Series) -> Lists:
    """Item numbers of each example's history, oldest first; items that are not in `items` are left out."""
    past = past_items(examples).rename("item_id")
    numbers = pl.DataFrame({"item_id": items, "number": np.arange(1, len(items) + 1)})
    long = past.to_frame().with_row_index("row").explode("item_id", empty_as_null=False)
    known = long.join(numbers, on="item_id", how="inner", maintain_order="left")
    lists = known.group_by("row", maintain_order=True).agg("number")
    rows = pl.DataFrame({"row": np.arange(len(past), dtype=np.uint32)})
    return Lists.of(rows.join(lists, on="row", how="left", maintain_order="left")["number"])


def attributes_of(items: pl.DataFrame) -> Lists:
    """Attribute numbers of each item, from 1: its categories without the root, and its brand."""
    named = items.select(
        pl.concat_list(
            pl.col("categories").list.slice(1).list.eval("category " + pl.element()).fill_null([]),
            pl.concat_list("brand " + pl.col("brand")).list.drop_nulls(),
        )
        .list.unique(maintain_order=True)
        .list.drop_nulls()
        .alias("attributes")
    )["attributes"]
    flat = named.explode(empty_as_null=False)
    starts = np.concatenate([[0], np.cumsum(named.list.len().to_numpy())]).astype(np.int64)
    return Lists(numbered(flat, flat.unique().sort()), starts)
