"""Does a rendered instruction hold its own answer?

A streamed search finds rows whose text contains the target; those few are then looked at closely, because an item's
title or an older explanation of the same user may lawfully hold the same words.
"""

from __future__ import annotations

import re
from typing import Any

import polars as pl

from unimp_bench.audit.findings import HISTORY_ITEMS, Check, Evidence, listing, silent, verdict

_ASKED_FOR = ("recommendation", "search", "image_generation")  # tasks whose answer is an item
_WORDED = ("preference", "explanation")
_SHORTEST_ID = 5  # characters; a shorter bare id may be any number of a text, so only its token form is looked for
_CLOSE_LOOKS = 10_000  # rows a task and split; a real leak shows in the first ones


def target_not_in_prompt(evidence: Evidence) -> Check:
    """No instruction holds its answer: the target's id or `item_<id or index>` token, or the answer's text.

    Looked for are ids in recommendation, search and image_generation, texts in preference and explanation, in all
    splits that are rendered.
    """
    name = "target_not_in_prompt"
    found, rendered = {}, 0
    for task, split, rows in evidence.labelled(*_ASKED_FOR, *_WORDED):
        prompts = rows.filter(pl.col("instruction").is_not_null())
        rendered += int(prompts.select(pl.len()).collect(engine="streaming").item())
        suspects = _with_item(prompts, evidence.items) if task in _ASKED_FOR else _with_text(prompts)
        found[f"{task} {split}"] = _unlawful(suspects, evidence.items)
    if rendered == 0:
        return silent(name, "no instruction is rendered")
    total = sum(found.values())
    return verdict(
        name, total == 0, total, f"prompts with their answer: {listing(found)}" if total else f"{rendered:,} prompts"
    )


def _suspects(rows: pl.LazyFrame, contains: pl.Expr) -> pl.DataFrame:
    """The first rows for which `contains` holds, as `needle`, `instruction`, items shown, `query`, `said` before."""
    said = pl.col("history").list.eval(pl.element().struct.field("explanation"))
    shown = pl.concat_list(pl.col("image_item_ids").fill_null([]), HISTORY_ITEMS.fill_null([]), "target_item_id")
    hit = rows.filter(contains.fill_null(False)).select(
        "needle", "instruction", "query", said.alias("said"), shown.alias("shown")
    )
    return hit.head(_CLOSE_LOOKS).collect(engine="streaming")


def _with_item(rows: pl.LazyFrame, items: pl.DataFrame) -> pl.DataFrame:
    index = items.lazy().select("item_id", token="item_" + pl.col("item_index").cast(pl.String))
    # A target that stands in the history is shown with it; that is what `target_not_in_history` finds.
    fresh = HISTORY_ITEMS.list.set_intersection("item_ids").list.len() == 0
    target = rows.filter(fresh.fill_null(True)).with_columns(needle=pl.col("item_ids").list.first())
    target = target.join(index, left_on="needle", right_on="item_id", how="left", maintain_order="left")
    tokens = pl.col("instruction").str.extract_all(r"\bitem_[0-9A-Za-z]+")
    bare = (pl.col("needle").str.len_chars() >= _SHORTEST_ID) & pl.col("instruction").str.contains(
        pl.col("needle"), literal=True
    )
    by_token = tokens.list.contains(pl.col("token")) | tokens.list.contains("item_" + pl.col("needle"))
    return pl.concat(
        [
            _suspects(target, bare),
            _suspects(target.with_columns(needle="token"), by_token),
        ]
    )


def _with_text(rows: pl.LazyFrame) -> pl.DataFrame:
    answer = rows.with_columns(needle=pl.col("text").str.strip_chars()).filter(pl.col("needle").str.len_chars() > 0)
    return _suspects(answer, pl.col("instruction").str.contains(pl.col("needle"), literal=True))


def _unlawful(suspects: pl.DataFrame, items: pl.DataFrame) -> int:
    """How many suspects hold their needle as a whole word that nothing else in their prompt accounts for."""
    if suspects.height == 0:
        return 0
    shown = items.filter(pl.col("item_id").is_in(suspects["shown"].explode().unique().implode()))
    words = {str(row["item_id"]): _texts(row) for row in shown.iter_rows(named=True)}
    leaks = 0
    for row in suspects.iter_rows(named=True):
        needle = str(row["needle"])
        lawful = [text for item in row["shown"] for text in words.get(item, ())] + [row["query"], *(row["said"] or ())]
        whole = re.search(rf"(?<!\w){re.escape(needle)}(?!\w)", row["instruction"])
        leaks += whole is not None and not any(needle in text for text in lawful if text)
    return leaks


def _texts(item: dict[str, Any]) -> list[str]:
    """Everything that an item's own description may say."""
    categories: list[str] = item["categories"] or []
    values = [str(attribute["value"]) for attribute in item["attributes"] or []]
    plain = [str(item[name]) for name in ("title", "brand", "description") if item[name] is not None]
    return [*plain, *categories, " ".join(categories), *values]
