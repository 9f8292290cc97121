"""Bring your own tables: interactions, items and a folder of pictures, in CSV, JSON lines or Parquet.

Columns are found under their usual names (`_ALIASES`) or named by hand. Nothing but user and item is needed; a table
without times keeps the order given by `position`, else the order of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from unimp_bench.data import values
from unimp_bench.data.drops import DropLog
from unimp_bench.data.foreign import ForeignTable, open_table
from unimp_bench.data.paths import first_path, listed
from unimp_bench.data.records import as_text
from unimp_bench.data.sources import dumps
from unimp_bench.data.times import milliseconds
from unimp_bench.errors import ConfigError, InputError
from unimp_bench.progress import Progress, Silent
from unimp_bench.schemas import RAW_ITEMS, RAW_TEXTS, empty

DOMAIN = "shop"  # where the table has no column `domain`

_ALIASES: Mapping[str, tuple[str, ...]] = {
    "user_id": ("user_id", "user", "userid", "uid", "reviewerid", "reviewer_id", "customer_id", "customer"),
    "item_id": ("item_id", "item", "itemid", "iid", "parent_asin", "asin", "article_id", "product_id", "product"),
    "timestamp": ("timestamp", "unixreviewtime", "time", "datetime", "date", "t_dat", "created_at"),
    "rating": ("rating", "overall", "stars", "score"),
    "review_title": ("review_title", "summary", "title"),
    "review_text": ("review_text", "reviewtext", "text", "review", "comment"),
    "position": ("position", "sequence", "order"),
    "domain": ("domain",),
}
_ITEM_ALIASES: Mapping[str, tuple[str, ...]] = {
    "item_id": _ALIASES["item_id"],
    "title": ("title", "name", "item_name", "product_name", "prod_name"),
    "brand": ("brand", "store", "manufacturer"),
    "categories": ("categories", "category", "category_path"),
    "price_usd": ("price_usd", "price", "formatted_price"),
    "description": ("description", "detail_desc", "details"),
    "image_urls": ("image_urls", "image_url", "images", "image", "imurl", "medium_image_url", "imageurlhighres"),
    "domain": ("domain",),
}


def _named(table: ForeignTable, aliases: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Our names to the table's, by alias; a column serves once."""
    there = {column.casefold().strip(): column for column in reversed(table.columns)}
    found: dict[str, str] = {}
    for name, known in aliases.items():
        match = next((there[one] for one in known if one in there and there[one] not in found.values()), None)
        if match is not None:
            found[name] = match
    return found


def _needed(table: ForeignTable, found: Mapping[str, str], names: Iterable[str]) -> None:
    for name in names:
        if name not in found:
            near = get_close_matches(name, table.columns, n=2, cutoff=0.5) or list(table.columns)
            raise InputError(
                f"no column for {name}", table.path, f"name it with --columns {name}=<one of {', '.join(near)}>"
            )


@dataclass(frozen=True)
class Files:
    """One table of interactions, perhaps one of items, perhaps a folder of pictures `<item_id>.<ext>`.

    `columns` maps our names (`user_id`, `item_id`, `timestamp`, `rating`, `review_title`, `review_text`, `position`,
    `domain`) to those of the interactions table, where the usual names do not do.
    """

    interactions: Path
    items_path: Path | None = None
    images: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _table(self) -> ForeignTable:
        return open_table(self.interactions)

    @cached_property
    def _found(self) -> dict[str, str]:
        table = self._table
        for name, column in self.columns.items():
            if name not in _ALIASES:
                near = get_close_matches(name, _ALIASES, n=2, cutoff=0.5) or list(_ALIASES)
                raise ConfigError(f"no field '{name}' to map a column to; did you mean {' or '.join(near)}?")
            if column not in table.columns:
                near = get_close_matches(column, table.columns, n=2, cutoff=0.5) or list(table.columns)
                raise ConfigError(f"{table.path} has no column '{column}'; did you mean {' or '.join(near)}?")
        named = _named(table, {k: v for k, v in _ALIASES.items() if k not in self.columns})
        found = {k: v for k, v in named.items() if v not in self.columns.values()} | dict(self.columns)
        _needed(table, found, ("user_id", "item_id"))
        return found

    @cached_property
    def domains(self) -> tuple[str, ...]:
        """The distinct values of the column `domain` in alphabetic order, else the one domain "shop"."""
        if "domain" not in self._found:
            return (DOMAIN,)
        column = self._table.read([self._found["domain"]], Silent())[self._found["domain"]]
        return tuple(column.cast(pl.String).drop_nulls().unique().sort().to_list())

    def inputs(self) -> list[Path]:
        """The tables; pictures are named by their own hash."""
        paths = [self.interactions, *([self.items_path] if self.items_path else [])]
        for path in paths:
            if not path.is_file():
                raise InputError("no such file", path, "check the path")
        return paths

    def rows(self, drops: DropLog, progress: Progress) -> pl.DataFrame:
        """See `base.Source`."""
        names = self._found
        light = [n for n in ("user_id", "item_id", "timestamp", "rating", "position", "domain") if n in names]
        frame = self._table.read([names[n] for n in light], progress)
        if frame.height == 0:
            raise InputError("no row", self.interactions, "the table is empty")
        frame = frame.select("source_row", *(pl.col(names[n]).alias(n) for n in light))
        told: Mapping[str, Callable[[pl.Series], pl.Series]] = {
            "user_id": lambda column: self._cast(column, pl.String),
            "item_id": lambda column: self._cast(column, pl.String),
            "domain": lambda column: self._cast(column, pl.String).fill_null(""),
            "rating": lambda column: self._cast(column, pl.Float64),
            "position": lambda column: self._cast(column, pl.Float64).cast(pl.Int64, strict=False),
            "timestamp": lambda column: milliseconds(column, self.interactions),
        }
        frame = frame.with_columns(*(told[n](frame[n]).alias(n) for n in light))
        absent = {"timestamp": pl.Int64, "rating": pl.Float64, "position": pl.Int64}
        frame = frame.with_columns(
            *(pl.lit(None, dtype=kind).alias(n) for n, kind in absent.items() if n not in light),
            *([] if "domain" in light else [pl.lit(DOMAIN).alias("domain")]),
        )
        if "domain" in light:
            unsafe = ~pl.col("domain").str.contains(r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")
            frame = drops.sift(frame, "read", [("unsafe_domain", unsafe)])
        frame = frame.rename({"position": "sequence"})
        return values.valid_rows(frame, drops, ratings="rating" in light, times="timestamp" in light)

    def _cast(self, column: pl.Series, kind: type[pl.DataType]) -> pl.Series:
        try:
            return column.cast(kind, strict=False)
        except pl.exceptions.PolarsError:
            what = f"column for {column.name} holds {column.dtype}"
            raise InputError(what, self.interactions, "give text or numbers") from None

    def texts(self, rows: pl.DataFrame, progress: Progress) -> pl.DataFrame:
        """See `base.Source`."""
        names = {n: self._found[n] for n in ("review_title", "review_text") if n in self._found}
        if not names or rows.is_empty():
            return empty(RAW_TEXTS)
        frame = self._table.read(list(names.values()), progress, rows["source_row"])
        frame = frame.select(
            "source_row",
            *(
                pl.col(names[n]).cast(pl.String).alias(n) if n in names else pl.lit(None, dtype=pl.String).alias(n)
                for n in ("review_title", "review_text")
            ),
        )
        cleaned = values.raw_texts(frame, DOMAIN).drop("domain")
        named = rows.select("domain", "source_row").unique()
        return cleaned.join(named, on="source_row", maintain_order="left").select(list(RAW_TEXTS))

    def items(self, wanted: pl.DataFrame, drops: DropLog, progress: Progress) -> pl.DataFrame:
        """See `base.Source`. Columns that have no place of their own become attributes."""
        if self.items_path is None:
            return empty(RAW_ITEMS)
        table = open_table(self.items_path)
        found = _named(table, _ITEM_ALIASES)
        _needed(table, found, ("item_id",))
        others = [column for column in table.columns if column not in found.values()]
        domains: dict[str, list[str]] = {}
        for item_id, domain in wanted.select("item_id", "domain").unique().sort("item_id", "domain").iter_rows():
            domains.setdefault(item_id, []).append(domain)
        seen: set[tuple[str, str]] = set()
        rows: list[dict[str, Any]] = []
        for record in table.records(progress):
            told = record.get(found["item_id"])
            item_id = as_text(told) if table.kind == "json" else str(told)
            if told is None or item_id is None:
                continue
            named = record.get(found["domain"]) if "domain" in found else None
            for domain in domains.get(item_id, ()):
                if named is not None and named != domain:
                    continue
                if (item_id, domain) in seen:
                    drops.add("items", domain, "second_metadata_record")
                    continue
                seen.add((item_id, domain))
                rows.append(values.item(item_id, domain, **_fields(record, found, others)))
        return pl.DataFrame(rows, schema=dict(RAW_ITEMS), orient="row")

    def pictures(self, item_ids: list[str]) -> Mapping[str, Path] | None:
        """See `base.Source`."""
        return None if self.images is None else dumps.pictures(self.images, item_ids)


def _fields(record: Mapping[str, Any], found: Mapping[str, str], others: Iterable[str]) -> dict[str, Any]:
    def of(name: str) -> Any:
        return record.get(found[name]) if name in found else None

    return {
        "title": values.name(of("title")),
        "brand": values.name(of("brand")),
        "categories": first_path(of("categories")),
        "price_usd": values.price_usd(of("price_usd")),
        "description": values.description(listed(of("description"))),
        "attributes": values.attributes((name, record.get(name)) for name in others),
        "image_urls": values.urls(listed(of("image_urls"))),
    }
