"""Filling prompts: what a language model reads and should answer, rendered by column expressions.

Templates are in `styles.py`, the words for an item in `item_texts.py`. Each `<image>` of `instruction` stands for the
item of the same place in `image_item_ids`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import polars as pl

from unimp_bench.tasks.item_texts import ItemTexts, TextField, cut, disarmed, text_fields
from unimp_bench.tasks.styles import Style, style_named

_WORDS_OF_TEXT = 30  # explanations and queries
_PLACE = re.compile(r"\{(\w+)\}")


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


def _history(frame: pl.DataFrame, template: str, style: Style, texts: ItemTexts, width: int) -> list[pl.Series]:
    """Text of the last `width` entries, oldest first; null where a history is shorter."""
    pieces = []
    for back in range(width, 0, -1):
        entry = frame.select(pl.col("history").list.get(-back, null_on_oob=True).alias("entry")).unnest("entry")
        opinion = entry.select(_rate(pl.col("rating")).alias("rate"), _sentence(pl.col("explanation")).alias("why"))
        # The paper writes an item as names and values.
        if not style.joint:
            opinion = opinion.select(
                pl.concat_str(pl.lit("Rating "), "rate").alias("rate"),
                pl.concat_str(pl.lit("Review "), "why").alias("why"),
            )
        pieces.append(_item(template, texts, entry["item_id"], opinion.to_dict()))
    return pieces


def _candidates(frame: pl.DataFrame, style: Style, texts: ItemTexts) -> pl.Series:
    width = int(frame["candidates"].list.len().max() or 0)  # type: ignore[arg-type]
    pieces = []
    for place in range(width):
        ids = frame["candidates"].list.get(place, null_on_oob=True)
        label = pl.Series([f"s_{place}"]).new_from_index(0, frame.height)
        pieces.append(_item(style.candidate, texts, ids, {"label": label}))
    return _joined(pieces, frame.height)


def _response(task: str, frame: pl.DataFrame, style: Style, texts: ItemTexts) -> pl.Series:
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
        shown = ["rate", "why"] if style.joint else ["rate" if task == "preference" else "why"]
        return _joined([answer[name] for name in shown], frame.height)
    return texts.at(frame["item_ids"].list.first())["name"]


def rendered(task: str, frame: pl.DataFrame, style: Style, texts: ItemTexts, history: int = 5) -> pl.DataFrame:
    """`render` for a catalogue whose texts were made before."""
    shown = pl.col("history").list.tail(history).list.eval(pl.element().struct.field("item_id"))
    pictures = [shown]
    parts: dict[str, pl.Series] = {}
    if task in ("preference", "explanation"):
        parts["target"] = _item(style.target, texts, frame["target_item_id"], {})
        pictures.append(pl.concat_list("target_item_id"))
    if task == "selection":
        parts["candidates"] = _candidates(frame, style, texts)
        pictures.append(pl.col("candidates"))
    if task in ("search", "image_generation"):
        parts["query"] = frame.select(_sentence(pl.col("query")).alias("query"))["query"]
    width = min(int(frame["history"].list.len().max() or 0), history)  # type: ignore[arg-type]
    pieces = _history(frame, style.entry[task], style, texts, width)
    if task in style.opening:
        pieces.insert(0, pl.Series([style.opening[task]]).new_from_index(0, frame.height))
    pieces.append(_filled(style.ask[task], parts, frame.height))
    made = [_joined(pieces, frame.height).alias("instruction")]
    if "item_ids" in frame.columns:
        made.append(_response(task, frame, style, texts).alias("response"))
    return frame.with_columns(pl.concat_list(pictures).alias("image_item_ids"), *made)


def render(
    task: str,
    frame: pl.DataFrame,
    items: pl.DataFrame,
    style: str = "paper",
    history: int = 5,
    fields: Sequence[TextField] | None = None,
) -> pl.DataFrame:
    """Fill `instruction`, `image_item_ids` and, where answers are there, `response` from the structured columns.

    `frame` has the columns of `schemas.EXAMPLES` or `schemas.LABELLED_EXAMPLES`; `items` those of `schemas.ITEMS` (of
    any noise variant); the last `history` entries of a history are shown. `fields` are those of the clean catalogue,
    which `items` is taken for without them.

    Raises:
        ConfigError: unknown style.
    """
    known = style_named(style)
    texts = ItemTexts.of(items, text_fields(items, style) if fields is None else fields)
    return rendered(task, frame, known, texts, history)
