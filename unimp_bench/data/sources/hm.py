"""H&M (Kaggle 2022): transactions, articles, pictures; no ratings, no reviews, times in whole days.

An article is one colour of a product: the first seven digits of `article_id` are the product. At product level the
colours are one item with the attributes of the smallest article id. Ids are text: their leading zeros matter. Prices
are scaled and in no currency, so the price of an item's first sale is an attribute, not `price_usd`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from unimp_bench.data import values
from unimp_bench.data.drops import DropLog
from unimp_bench.data.foreign import open_table
from unimp_bench.data.sources import dumps
from unimp_bench.data.times import milliseconds
from unimp_bench.errors import InputError, UnknownNameError
from unimp_bench.progress import Progress
from unimp_bench.schemas import RAW_ITEMS, RAW_TEXTS, empty

DOMAIN = "hm"
LEVELS = ("product", "article")
_PRODUCT_DIGITS, _ARTICLE_DIGITS = 7, 10
_PATH = ("index_group_name", "section_name", "product_type_name")
_ATTRIBUTES = (
    *("product_group_name", "graphical_appearance_name", "colour_group_name", "perceived_colour_value_name"),
    *("perceived_colour_master_name", "department_name", "index_name", "garment_group_name"),
)


@dataclass(frozen=True)
class HM:
    """The Kaggle layout in one folder; `item_level` says whether an item is a product or an article.

    Raises:
        UnknownNameError: another level.
    """

    raw: Path
    item_level: str = "product"
    domains: ClassVar[tuple[str, ...]] = (DOMAIN,)

    def __post_init__(self) -> None:
        if self.item_level not in LEVELS:
            raise UnknownNameError("item level", self.item_level, LEVELS)

    def _file(self, name: str) -> Path:
        return dumps.need(self.raw, [f"{name}.csv"], name)

    def _columns(self, name: str, columns: list[str], progress: Progress) -> pl.DataFrame:
        table = open_table(self._file(name))
        if missing := [column for column in columns if column not in table.columns]:
            raise InputError(
                f"no column {', '.join(missing)}", table.path, "expected the columns of the Kaggle release"
            )
        return table.read(columns, progress)

    def _item(self) -> pl.Expr:
        article = pl.col("article_id").str.zfill(_ARTICLE_DIGITS)  # table programs eat leading zeros
        return article.str.slice(0, _PRODUCT_DIGITS) if self.item_level == "product" else article

    def inputs(self) -> list[Path]:
        """Transactions, articles and, where they are apart, descriptions."""
        apart = dumps.find(self.raw, ["product_descriptions.csv"])
        return [self._file("transactions_train"), self._file("articles"), *([apart] if apart else [])]

    def rows(self, drops: DropLog, progress: Progress) -> pl.DataFrame:
        """See `base.Source`."""
        frame = self._columns("transactions_train", ["t_dat", "customer_id", "article_id"], progress)
        frame = frame.select(
            pl.col("customer_id").alias("user_id"),
            self._item().alias("item_id"),
            pl.lit(DOMAIN).alias("domain"),
            milliseconds(frame["t_dat"], self._file("transactions_train")).alias("timestamp"),
            pl.lit(None, dtype=pl.Float64).alias("rating"),
            pl.lit(None, dtype=pl.Int64).alias("sequence"),
            "source_row",
        )
        return values.valid_rows(frame, drops, ratings=False, times=True)

    def texts(self, rows: pl.DataFrame, progress: Progress) -> pl.DataFrame:
        """None: this shop has no reviews."""
        return empty(RAW_TEXTS)

    def items(self, wanted: pl.DataFrame, drops: DropLog, progress: Progress) -> pl.DataFrame:
        """See `base.Source`."""
        table = open_table(self._file("articles"))
        held = [c for c in ("prod_name", "detail_desc", *_PATH, *_ATTRIBUTES) if c in table.columns]
        articles = self._columns("articles", ["article_id", *held], progress).with_columns(
            self._item().alias("item_id")
        )
        ids = wanted["item_id"].unique()
        articles = articles.filter(pl.col("item_id").is_in(ids.implode())).sort("article_id")
        articles = articles.unique("item_id", keep="first", maintain_order=True)
        prices = self._prices(ids, progress)
        described = self._descriptions(progress)
        rows = [_fields(record, prices, described) for record in articles.iter_rows(named=True)]
        return pl.DataFrame(rows, schema=dict(RAW_ITEMS), orient="row")

    def _prices(self, ids: pl.Series, progress: Progress) -> dict[str, float]:
        frame = self._columns("transactions_train", ["article_id", "price", "t_dat"], progress)
        prices = (  # of the first sale: a median over all would be a statistic of rows that become test
            frame.select(self._item().alias("item_id"), "t_dat", pl.col("price").cast(pl.Float64, strict=False))
            .filter(pl.col("item_id").is_in(ids.implode()) & pl.col("price").is_finite())
            .sort("t_dat", maintain_order=True)
            .unique("item_id", keep="first", maintain_order=True)
            .select("item_id", "price")
        )
        return dict(prices.iter_rows())

    def _descriptions(self, progress: Progress) -> dict[str, str]:
        """By product, where they stand in a file of their own."""
        if dumps.find(self.raw, ["product_descriptions.csv"]) is None:
            return {}
        frame = self._columns("product_descriptions", ["product_code", "detail_desc"], progress)
        code = pl.col("product_code").str.zfill(_PRODUCT_DIGITS)
        return dict(frame.select(code, "detail_desc").drop_nulls().iter_rows())

    def pictures(self, item_ids: list[str]) -> Mapping[str, Path] | None:
        """`images/<product_code>.jpg`, or Kaggle's `images/<first 3 digits>/<article_id>.jpg` (smallest article)."""
        folder = self.raw / "images"
        flat = dumps.pictures(folder, item_ids)
        if flat is None:
            return None
        wanted, found = set(item_ids), dict(flat)
        for path in sorted(folder.glob("[0-9][0-9][0-9]/*.jpg")):
            item = path.stem[:_PRODUCT_DIGITS] if self.item_level == "product" else path.stem
            if item in wanted:
                found.setdefault(item, path)
        if self.item_level == "article":  # a picture of the product will do
            products = dumps.pictures(folder, {item[:_PRODUCT_DIGITS] for item in item_ids}) or {}
            for item in item_ids:
                if item[:_PRODUCT_DIGITS] in products:
                    found.setdefault(item, products[item[:_PRODUCT_DIGITS]])
        return found


def _fields(record: Mapping[str, Any], prices: Mapping[str, float], described: Mapping[str, str]) -> dict[str, Any]:
    item_id = str(record["item_id"])
    price = prices.get(item_id)
    pairs = [(name.removesuffix("_name").replace("_", " "), record.get(name)) for name in _ATTRIBUTES]
    return values.item(
        item_id,
        DOMAIN,
        title=values.name(record.get("prod_name")),
        categories=values.path([record.get(name) for name in _PATH]),
        description=values.description(record.get("detail_desc") or described.get(item_id[:_PRODUCT_DIGITS])),
        attributes=values.attributes([*pairs, ("price", None if price is None else f"{price:.6g}")]),
    )
