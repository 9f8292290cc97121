"""What a language model reads and should answer: versioned prompt styles, rendered by column expressions.

`paper` follows UniMP's appendix A.2 (attributes of an item in one chunk that opens with `<image>`, the item's own name
among them); `official_code` follows the released code (the name after `<answer>`, one question for rating and
explanation). Each `<image>` of `instruction` stands for the item of the same place in `image_item_ids`.

Unusual: text of shops and users may hold anything, special tokens among them. It is disarmed before it is used, so
what looks like `<image>` or `item_5` in a title never counts as one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from unimp_bench.errors import ConfigError

PROMPTS_VERSION = 1
_WORDS_A_FIELD = 20  # the paper's cut c; the released code takes 20 as well
_WORDS_OF_TEXT = 30  # explanations and queries
_PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Style:
    """One set of templates. Parts in braces are filled; a part that is missing falls away with its blank.

    Of an item: body (attributes), title, name (`item_<index>`), label (`s_<place>` of a candidate), rate (of a history
    row), why (its explanation). Of an example: target, candidates, query.
    """

    entry: Mapping[str, str]  # task -> one history item
    candidate: str
    target: str
    ask: Mapping[str, str]  # task -> what follows the history
    opening: Mapping[str, str]  # task -> what comes before it, where anything does
    joint: bool  # rating and explanation are answered together


_PAPER_ITEM = "<image> {body} ID {name} <|endofchunk|>"
_CODE_ITEM = "<image> {body} <answer> {name} <|endofchunk|>"
_CODE_OPINION = "<image> {body} <answer> {rate} {why} <|endofchunk|>"
_CODE_JOINT = "{target} What is the rating and explanation for the item? <answer>"

STYLES: Mapping[str, Style] = {
    "paper": Style(
        entry={
            "recommendation": _PAPER_ITEM,
            "preference": "<image> {body} ID {name} {rate} <|endofchunk|>",
            "explanation": "<image> {body} ID {name} {rate} {why} <|endofchunk|>",
            "selection": _PAPER_ITEM,
            "search": _PAPER_ITEM,
            "image_generation": _PAPER_ITEM,
        },
        candidate="<image> {label} {body} ID {name} <|endofchunk|>",
        target="<image> {body} ID {name}",
        ask={
            "recommendation": "What's the next item that the user may like? <answer>",
            "preference": "Given {target} can you predict the preference level of the user to the product? <answer>",
            "explanation": "Given {target} can you explain to the user why the product might be suitable or "
            "unsuitable? <answer>",
            "selection": "Given {candidates} can you select all the appropriate items for the user? <answer>",
            "search": "Query: {query} Can you retrieve the items that aligns with both the user's history and the "
            "given query? <answer>",
            "image_generation": "Query: {query} Can you generate the product figure that the user may be interested "
            "in? <answer>",
        },
        opening={},
        joint=False,
    ),
    "official_code": Style(
        entry={
            "recommendation": _CODE_ITEM,
            "preference": _CODE_OPINION,
            "explanation": _CODE_OPINION,
            "selection": "<image> {body} <|endofchunk|>",
            "search": _CODE_ITEM,
            "image_generation": "<image> Title {title} <|endofchunk|>",
        },
        candidate="<image> Selection {label} {body} <|endofchunk|>",
        target="<image> {body}",
        ask={
            "recommendation": "What is the next item recommended to the user? <answer>",
            "preference": _CODE_JOINT,
            "explanation": _CODE_JOINT,
            "selection": "Select from: {candidates} Can you select the suitable item from above for the user? <answer>",
            "search": "Query: {query} What is the related item ID to the query based on the history? <answer>",
            "image_generation": "Query: {query} What is the generated image ID to the query based on the history? "
            "<answer>",
        },
        opening={"selection": "User history:"},
        joint=True,
    ),
}


def style_named(name: str) -> Style:
    """The style of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in STYLES:
        raise ConfigError(f"unknown prompt style '{name}'; known: {', '.join(STYLES)}")
    return STYLES[name]


def disarmed(text: pl.Expr) -> pl.Expr:
    """Foreign text in which no special token is left: `<image>` becomes `(image)`, `item_5` becomes `item-5`."""
    return text.str.replace_all(r"<([^<>\s]*)>", "(${1})").str.replace_all(r"_([0-9])", "-${1}")


def cut(text: pl.Expr, words: int) -> pl.Expr:
    """The first words, joined by single blanks; null where there are none."""
    kept = text.str.extract_all(r"\S+").list.head(words).list.join(" ")
    return pl.when(kept != "").then(kept)


def _dollars(price: pl.Expr) -> pl.Expr:
    cents = (price * 100).round().cast(pl.Int64, strict=False)
    return pl.concat_str((cents // 100).cast(pl.String), (cents % 100).cast(pl.String).str.zfill(2), separator=".")


@dataclass(frozen=True)
class ItemTexts:
    """A catalogue ready for rendering: `rows` has body, title and name of every item in the order of `ids`."""

    ids: pl.Enum
    rows: pl.DataFrame
    style: Style

    @classmethod
    def of(cls, items: pl.DataFrame, style: str) -> ItemTexts:
        """Texts of a catalogue (`schemas.ITEMS`).

        Item text is `Category … Price … Brand … Title …`, 20 words a field, `Unknown` where the source says nothing.

        Raises:
            ConfigError: unknown style.
        """
        unknown = pl.lit("Unknown")

        def field(text: pl.Expr) -> pl.Expr:
            return cut(disarmed(text), _WORDS_A_FIELD).fill_null(unknown)

        parts = {
            "Category": field(pl.col("categories").list.join(" ", ignore_nulls=True)),
            "Price": _dollars(pl.col("price_usd")).fill_null(unknown),
            "Brand": field(pl.col("brand")),
            "Title": field(pl.col("title")),
        }
        body = [part for name, text in parts.items() for part in (pl.lit(name), text)]
        rows = items.select(
            pl.concat_str(body, separator=" ").alias("body"),
            parts["Title"].alias("title"),
            pl.format("item_{}", "item_index").alias("name"),
        )
        return cls(pl.Enum(items["item_id"]), rows, style_named(style))

    def places(self, ids: pl.Series) -> pl.Series:
        """Rows of item ids, null for null."""
        return ids.cast(self.ids).to_physical()

    def at(self, ids: pl.Series) -> pl.DataFrame:
        """Body, title and name of each id; nulls for null."""
        place = self.places(ids)
        return pl.DataFrame([column.gather(place) for column in self.rows.iter_columns()])


def _filled(template: str, parts: Mapping[str, pl.Series], rows: int) -> pl.Series:
    """`template` with its parts put in; a null part leaves no trace."""
    pieces: list[pl.Series] = []
    for place, text in enumerate(_PLACE.split(template)):
        if place % 2:
            pieces.append(parts[text])
        elif text.strip():
            pieces.append(pl.Series([text.strip()]).new_from_index(0, rows))
    return _joined(pieces, rows)


def _joined(pieces: list[pl.Series], rows: int) -> pl.Series:
    named = {str(i): piece for i, piece in enumerate(pieces)}
    frame = pl.DataFrame(named) if named else pl.DataFrame({"0": [""] * rows})
    return frame.select(pl.concat_str(frame.columns, separator=" ", ignore_nulls=True).alias("text"))["text"]


def _item(template: str, texts: ItemTexts, ids: pl.Series, more: Mapping[str, pl.Series]) -> pl.Series:
    """The template for each item; null where the id is."""
    filled = _filled(template, {**texts.at(ids).to_dict(), **more}, len(ids))
    return filled.to_frame().select(pl.when(ids.is_not_null()).then(pl.col("text")).alias("text"))["text"]


def _rate(rating: pl.Expr) -> pl.Expr:
    """`rate_1` to `rate_5`; halves round up."""
    whole = (rating.cast(pl.Float64) + 0.5).floor().clip(1, 5).cast(pl.Int32, strict=False)
    return pl.when(rating.is_not_null()).then(pl.format("rate_{}", whole))


def _sentence(text: pl.Expr) -> pl.Expr:
    return cut(disarmed(text), _WORDS_OF_TEXT)


def _history(frame: pl.DataFrame, template: str, texts: ItemTexts, width: int) -> list[pl.Series]:
    """Text of the last `width` entries, oldest first; null where a history is shorter."""
    pieces = []
    for back in range(width, 0, -1):
        entry = frame.select(pl.col("history").list.get(-back, null_on_oob=True).alias("entry")).unnest("entry")
        opinion = entry.select(_rate(pl.col("rating")).alias("rate"), _sentence(pl.col("explanation")).alias("why"))
        # The paper writes an item as names and values.
        if not texts.style.joint:
            opinion = opinion.select(
                pl.concat_str(pl.lit("Rating "), "rate").alias("rate"),
                pl.concat_str(pl.lit("Review "), "why").alias("why"),
            )
        pieces.append(_item(template, texts, entry["item_id"], opinion.to_dict()))
    return pieces


def _candidates(frame: pl.DataFrame, texts: ItemTexts) -> pl.Series:
    width = int(frame["candidates"].list.len().max() or 0)  # type: ignore[arg-type]
    pieces = []
    for place in range(width):
        ids = frame["candidates"].list.get(place, null_on_oob=True)
        label = pl.Series([f"s_{place}"]).new_from_index(0, frame.height)
        pieces.append(_item(texts.style.candidate, texts, ids, {"label": label}))
    return _joined(pieces, frame.height)


def _response(task: str, frame: pl.DataFrame, texts: ItemTexts) -> pl.Series:
    if task == "selection":
        width = int(frame["candidates"].list.len().max() or 0)  # type: ignore[arg-type]
        chosen = [
            pl.when(pl.col("item_ids").list.contains(pl.col("candidates").list.get(place, null_on_oob=True)))
            .then(pl.lit(f"s_{place}"))
            .alias(str(place))
            for place in range(width)
        ]
        return _joined(frame.select(chosen).get_columns(), frame.height)
    if task in ("preference", "explanation"):
        answer = frame.select(_rate(pl.col("rating")).alias("rate"), _sentence(pl.col("text")).alias("why"))
        shown = ["rate", "why"] if texts.style.joint else ["rate" if task == "preference" else "why"]
        return _joined([answer[name] for name in shown], frame.height)
    return texts.at(frame["item_ids"].list.first())["name"]


def rendered(task: str, frame: pl.DataFrame, texts: ItemTexts, history: int = 5) -> pl.DataFrame:
    """`render` for a catalogue whose texts were made before."""
    style = texts.style
    shown = pl.col("history").list.tail(history).list.eval(pl.element().struct.field("item_id"))
    pictures = [shown]
    parts: dict[str, pl.Series] = {}
    if task in ("preference", "explanation"):
        parts["target"] = _item(style.target, texts, frame["target_item_id"], {})
        pictures.append(pl.concat_list("target_item_id"))
    if task == "selection":
        parts["candidates"] = _candidates(frame, texts)
        pictures.append(pl.col("candidates"))
    if task in ("search", "image_generation"):
        parts["query"] = frame.select(_sentence(pl.col("query")).alias("query"))["query"]
    width = min(int(frame["history"].list.len().max() or 0), history)  # type: ignore[arg-type]
    pieces = _history(frame, style.entry[task], texts, width)
    if task in style.opening:
        pieces.insert(0, pl.Series([style.opening[task]]).new_from_index(0, frame.height))
    pieces.append(_filled(style.ask[task], parts, frame.height))
    made = [_joined(pieces, frame.height).alias("instruction")]
    if "item_ids" in frame.columns:
        made.append(_response(task, frame, texts).alias("response"))
    return frame.with_columns(pl.concat_list(pictures).alias("image_item_ids"), *made)


def render(task: str, frame: pl.DataFrame, items: pl.DataFrame, style: str = "paper", history: int = 5) -> pl.DataFrame:
    """Fill `instruction`, `image_item_ids` and, where answers are there, `response` from the structured columns.

    `frame` has the columns of `schemas.EXAMPLES` or `schemas.LABELLED_EXAMPLES`; `items` those of `schemas.ITEMS` (of
    any noise variant); the last `history` entries of a history are shown.

    Raises:
        ConfigError: unknown style.
    """
    return rendered(task, frame, ItemTexts.of(items, style), history)
