"""What a prompt says of an item: which fields, in which words.

The released code has a template a shop: `Category … Price … Brand … Title …` for Amazon, `Name … Appearance … Color …
Section …` for H&M. Style `paper` takes the first and leaves out what no item of the catalogue has; attributes that the
shop does name stand in. Fields are chosen from the clean catalogue, once: what noise takes away is `Unknown`, not gone.

Unusual: text of shops and users may hold anything, special tokens among them. It is disarmed before it is used, so
what looks like `<image>` or `item_5` in a title never counts as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

_WORDS_A_FIELD = 20  # the paper's cut c; the released code takes 20 as well
_MOST_ATTRIBUTES = 4
_LEAST_SHARE = 0.5  # of the items; an attribute that most lack would say little but `Unknown`


@dataclass(frozen=True)
class TextField:
    """One field of an item's text.

    `source` is a column of `schemas.ITEMS`, `categories:<level>` (0 is the root) or `attributes:<name>`.
    """

    label: str
    source: str


AMAZON = (
    TextField("Category", "categories"),
    TextField("Price", "price_usd"),
    TextField("Brand", "brand"),
    TextField("Title", "title"),
)
HM = (
    TextField("Name", "title"),
    TextField("Appearance", "attributes:graphical appearance"),
    TextField("Color", "attributes:perceived colour value"),
    TextField("Section", "categories:1"),
)


def text_fields(items: pl.DataFrame, style: str) -> tuple[TextField, ...]:
    """The fields by which a style describes the items of a clean catalogue (`schemas.ITEMS`).

    `official_code` keeps the released templates: H&M's where the catalogue has all that it names, else Amazon's.
    `paper` keeps of Amazon's what some item has; where that is not all, up to four attributes follow.
    """
    if style == "official_code":
        return HM if all(_present(items, field) for field in HM) else AMAZON
    kept = tuple(field for field in AMAZON if _present(items, field))
    return kept if kept == AMAZON else (*kept, *_attributes(items))


def _present(items: pl.DataFrame, field: TextField) -> bool:
    return items.select(_text(field.source)).to_series().null_count() < items.height


def _attributes(items: pl.DataFrame) -> list[TextField]:
    """Attributes that half of the items give in words and not all in the same ones, in the shop's own order."""
    listed = items.select("item_id", "attributes", place=pl.int_ranges(pl.col("attributes").list.len().fill_null(0)))
    entries = listed.filter(pl.col("attributes").list.len() > 0).explode("attributes", "place").unnest("attributes")
    worded = entries.filter(pl.col("value").str.contains(r"\pL")).unique(["item_id", "name"], keep="first")
    told = worded.group_by("name").agg(items=pl.len(), values=pl.col("value").n_unique(), place=pl.col("place").mean())
    enough = (pl.col("items") >= _LEAST_SHARE * items.height) & (pl.col("values") > 1)
    names = told.filter(enough).sort("place", "name").head(_MOST_ATTRIBUTES)["name"]
    labels = pl.DataFrame({"name": names}).select(cut(disarmed(pl.col("name")), _WORDS_A_FIELD)).to_series()
    return [
        TextField(label[:1].upper() + label[1:], f"attributes:{name}")
        for name, label in zip(names, labels, strict=True)
        if label
    ]


def disarmed(text: pl.Expr) -> pl.Expr:
    """Foreign text in which no special token is left: `<image>` becomes `(image)`, `item_5` becomes `item-5`."""
    return text.str.replace_all(r"<([^<>\s]*)>", "(${1})").str.replace_all(r"_([0-9])", "-${1}")


def cut(text: pl.Expr, words: int) -> pl.Expr:
    """The first words, joined by single blanks; null where there are none."""
    kept = text.str.extract_all(r"\S+").list.head(words).list.join(" ")
    return pl.when(kept != "").then(kept)


def _text(source: str) -> pl.Expr:
    """A field's words; null where the item has none."""
    column, _, part = source.partition(":")
    if column == "price_usd":
        return _dollars(pl.col(column))
    if column == "attributes":
        values = pl.element().filter(pl.element().struct.field("name") == part).struct.field("value")
        text = pl.col(column).list.eval(values).list.first()
    elif part:
        text = pl.col(column).list.get(int(part), null_on_oob=True)
    elif column == "categories":
        text = pl.col(column).list.join(" ", ignore_nulls=True)
    else:
        text = pl.col(column)
    return cut(disarmed(text), _WORDS_A_FIELD)


def _dollars(price: pl.Expr) -> pl.Expr:
    cents = (price * 100).round().cast(pl.Int64, strict=False)
    return pl.concat_str((cents // 100).cast(pl.String), (cents % 100).cast(pl.String).str.zfill(2), separator=".")


@dataclass(frozen=True)
class ItemTexts:
    """A catalogue ready for rendering: `rows` has body, title and name of every item in the order of `ids`."""

    ids: pl.Enum
    rows: pl.DataFrame

    @classmethod
    def of(cls, items: pl.DataFrame, fields: Sequence[TextField]) -> ItemTexts:
        """Texts of a catalogue (`schemas.ITEMS`), 20 words a field, `Unknown` where an item says nothing.

        Without fields there is no body.
        """
        unknown = pl.lit("Unknown")
        body = [
            part
            for field in fields
            for part in (pl.lit(field.label, dtype=pl.String), _text(field.source).fill_null(unknown))
        ]
        rows = items.select(
            (pl.concat_str(body, separator=" ") if body else pl.lit(None, dtype=pl.String)).alias("body"),
            _text("title").fill_null(unknown).alias("title"),
            pl.format("item_{}", "item_index").alias("name"),
        )
        return cls(pl.Enum(items["item_id"]), rows)

    def places(self, ids: pl.Series) -> pl.Series:
        """Rows of item ids, null for null."""
        return ids.cast(self.ids).to_physical()

    def at(self, ids: pl.Series) -> pl.DataFrame:
        """Body, title and name of each id; nulls for null."""
        place = self.places(ids)
        return pl.DataFrame([column.gather(place) for column in self.rows.iter_columns()])
