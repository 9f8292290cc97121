"""From light rows to labelled interactions: nothing is lost uncounted, and what cannot be split is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from unimp_bench.config import BuildConfig
from unimp_bench.data.canonical import canonical
from unimp_bench.data.drops import DropLog
from unimp_bench.errors import ConfigError
from unimp_bench.progress import Progress, Silent
from unimp_bench.schemas import RAW_ITEMS, RAW_ROWS, RAW_TEXTS, conform, empty


class Notes(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


@dataclass(frozen=True)
class Table:
    """Rows (user, item, domain, day) as a source; `held` names items with a picture in the folder, if there is one."""

    bought: list[tuple[str, str, str, int]]
    addressed: tuple[str, ...] = ()
    held: tuple[str, ...] | None = None
    domains: tuple[str, ...] = ("toys", "office")

    def inputs(self) -> list[Path]:
        return []

    def rows(self, drops: DropLog, progress: Progress) -> pl.DataFrame:
        frame = pl.DataFrame(self.bought, schema=["user_id", "item_id", "domain", "timestamp"], orient="row")
        return conform(frame.with_row_index("source_row"), RAW_ROWS)

    def texts(self, rows: pl.DataFrame, progress: Progress) -> pl.DataFrame:
        return empty(RAW_TEXTS)

    def items(self, wanted: pl.DataFrame, drops: DropLog, progress: Progress) -> pl.DataFrame:
        urls = [["http://x/1.jpg"] if item in self.addressed else [] for item in wanted["item_id"].to_list()]
        return conform(wanted.with_columns(image_urls=pl.Series(urls, dtype=pl.List(pl.String))), RAW_ITEMS)

    def pictures(self, item_ids: list[str]) -> Mapping[str, Path] | None:
        return None if self.held is None else {item: Path(f"{item}.jpg") for item in self.held if item in item_ids}


TOYS = [(f"u{u}", f"i{i}", "toys", 10 * u + i) for u in range(4) for i in range(5)]
OFFICE = [(f"u{u}", f"o{i}", "office", 10 * u + i) for u in range(3) for i in range(4)]


def made(source: Table, **config: Any) -> tuple[pl.DataFrame, DropLog]:
    drops = DropLog()
    resolved = BuildConfig(**{"core_user": 3, "core_item": 2, "new_user_share": 0, **config}).resolved()
    return canonical(source, resolved, drops, Silent()).interactions, drops


def test_every_row_that_was_read_is_there_or_in_the_drop_log() -> None:
    dirt = [("u0", "i0", "toys", 900), ("u9", "i1", "toys", 5), ("u1", "i9", "toys", 5), ("u1", "i1", "office", 5)]
    source = Table([*TOYS, *dirt, *OFFICE])
    kept, drops = made(source, new_domains=("office",))
    assert drops.frame().rows() == [
        ("core", "toys", "below_core", 2),
        ("domains", "office", "item_of_training_domain", 1),
        ("duplicates", "toys", "duplicate_user_item", 1),
    ]
    for domain, read in (("toys", 23), ("office", 13)):
        lost = drops.frame().filter(pl.col("domain") == domain)["rows"].sum()
        assert kept.filter(pl.col("domain") == domain).height + lost == read


@pytest.mark.parametrize(
    ("source", "left"),
    [
        (Table(TOYS, addressed=("i0", "i1", "i2")), ["i0", "i1", "i2"]),
        # A folder of pictures decides, where there is one: addresses lead nowhere, and H&M names none at all.
        (Table(TOYS, held=("i1", "i2", "i3")), ["i1", "i2", "i3"]),
        (Table(TOYS, addressed=("i0", "i1"), held=("i1", "i2", "i3")), ["i1", "i2", "i3"]),
    ],
)
def test_a_required_picture_lies_in_the_folder_or_has_an_address(source: Table, left: list[str]) -> None:
    kept, _ = made(source, require=("image",))
    assert kept["item_id"].unique().sort().to_list() == left


@pytest.mark.parametrize(
    ("source", "config"),
    [
        (Table([(user, item, "toys", 5) for user, item, _, _ in TOYS]), {"protocol": "global_time"}),  # one time
        (Table([*TOYS[:5], *OFFICE]), {"new_domains": ("office",)}),  # the training domain has no core
        (Table(TOYS[:10]), {"new_user_share": 0.9}),
    ],
)
def test_a_split_that_leaves_nothing_to_train_on_is_refused(source: Table, config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"protocol '\w+' leaves no row to train on among \d+ interactions; lower"):
        made(source, **config)


def test_a_domain_without_survivors_is_named() -> None:
    notes = Notes()
    config = BuildConfig(core_user=3, core_item=2, new_domains=("office",)).resolved()
    canonical(Table([*TOYS, *OFFICE[:3]]), config, DropLog(), notes)
    assert "office: none of 3 interactions survives the core filter" in notes.said
