"""Amazon 2014 (He & McAuley 2016): reviews as JSON lines, metadata as Python dict literals, times in whole days."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from unimp_bench.data import values
from unimp_bench.data.drops import DropLog
from unimp_bench.data.records import Record
from unimp_bench.data.sources import addresses, dumps
from unimp_bench.progress import Progress

COLUMNS = dumps.Columns("reviewerID", "asin", "overall", "unixReviewTime", "summary", "reviewText", seconds=1)


def fields(record: Record) -> dict[str, Any]:
    """A metadata record as fields of `schemas.RAW_ITEMS`; `related` and `salesRank` are left out on purpose.

    Both say what others bought: they would leak popularity and co-purchases of the test period into the items.
    """
    return {
        "title": values.name(record.get("title")),
        "brand": values.name(record.get("brand")),
        "categories": values.best_path(record.get("categories")),
        "price_usd": values.price_usd(record.get("price")),
        "description": values.description(record.get("description")),
        "image_urls": values.urls(record.get("imUrl")),
    }


@dataclass(frozen=True)
class Amazon2014:
    """`reviews_<Official>_5.json.gz` and `meta_<Official>.json.gz` a domain; pictures in `<raw>/images/<asin>.<ext>`.

    Raises:
        UnknownNameError: a domain that the release does not have.
    """

    raw: Path
    domains: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "domains", addresses.domains("2014", self.domains))

    def _dumps(self) -> list[dumps.Dump]:
        return dumps.locate(self.raw, "2014", self.domains)

    def inputs(self) -> list[Path]:
        """The review files and the metadata files there are."""
        return dumps.files(self._dumps())

    def rows(self, drops: DropLog, progress: Progress) -> pl.DataFrame:
        """See `base.Source`."""
        return dumps.read_all(self._dumps(), COLUMNS, drops, progress)

    def texts(self, rows: pl.DataFrame, progress: Progress) -> pl.DataFrame:
        """See `base.Source`."""
        return dumps.read_texts(self._dumps(), COLUMNS, rows, progress)

    def items(self, wanted: pl.DataFrame, drops: DropLog, progress: Progress) -> pl.DataFrame:
        """See `base.Source`."""
        return dumps.read_items(self._dumps(), "asin", fields, wanted, drops, progress)

    def pictures(self, item_ids: list[str]) -> Mapping[str, Path] | None:
        """See `base.Source`."""
        return dumps.pictures(self.raw / "images", item_ids)
