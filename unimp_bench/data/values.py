"""Cleaning of single values, the same for every source.

What says nothing becomes null: empty text, placeholders, page code that a crawler took for a value. HTML entities are
unescaped once, here and nowhere else. Rows are checked here too, so that every source drops for the same reasons.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import polars as pl

from unimp_bench.data.drops import DropLog
from unimp_bench.data.literals import joined_surrogates
from unimp_bench.schemas import RAW_ROWS, RAW_TEXTS, conform

_TAG = re.compile(r"<(?:/?[a-zA-Z][^<>]*|!--.{0,300}?--)>")
_OPEN_TAG = re.compile(r"</?[a-zA-Z!][^<>]*$")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_PAGE_CODE = re.compile(r"getTime\(|function\s*\(|\bvar \w+ ?=|\{[^{}:]*:[^{};]*;[^{}]*\}|^\s*[.#][\w-]+\s*[,{]")
_PROSE = re.compile(r"^(?:\S+ ){2}.*[a-z]{3}[.!]$|^.{81}")  # Amazon 2018 puts selling points behind the path
_PLACEHOLDERS = frozenset(
    {"none", "null", "nan", "n/a", "no title", "no title available", "title", "unknown", "untitled", "undefined", "tbd"}
)
_MONEY = re.compile(
    r"(?:from\s+)?(?:USD|US)?\s*\$?\s*(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?(?:\s*-\s*\$?\s*[\d,]+(?:\.\d+)?)?"
)
_LONGEST_NAME, _LONGEST_VALUE = 60, 200  # characters; longer attributes are prose
_LONGEST_PRICE = 100  # characters
_LONGEST_TEXT = 100_000  # characters that are read
_LONGEST_ID = 256
_LAST_TIME = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp() * 1000)  # ms
_UNSAFE = r"[\x00-\x1f\x7f-\x9f/\\]|\.\.|^[\[{]"  # a path, a control character, or a JSON value that is no text


def text(value: object) -> str | None:
    """One paragraph: tags taken out, entities unescaped once, white space collapsed; None where nothing is left."""
    if not isinstance(value, str):
        return None
    plain = _CONTROL.sub("", html.unescape(_OPEN_TAG.sub(" ", _TAG.sub(" ", value[:_LONGEST_TEXT]))))
    return joined_surrogates(" ".join(plain.split())) or None


def name(value: object) -> str | None:
    """A title or brand: `text`, without placeholders and page code."""
    if not isinstance(value, str) or _PAGE_CODE.search(value):
        return None
    found = text(value)
    if found is None or found.casefold() in _PLACEHOLDERS or not any(c.isalnum() for c in found):
        return None
    return found


def description(value: object) -> str | None:
    """A text or a list of paragraphs as one text."""
    parts = value if isinstance(value, list) else [value]
    kept = [p for p in map(text, parts) if p and not _PAGE_CODE.search(p)]
    return " ".join(kept) or None


def price_usd(value: object) -> float | None:
    """A price in dollars: a number, `$1,234.56`, or the lower end of a range; None for anything else."""
    if isinstance(value, str):
        plain = value.strip()
        match = _MONEY.fullmatch(plain) if len(plain) <= _LONGEST_PRICE else None
        if match is None:
            return None
        value = float(match[1].replace(",", "") + (match[2] or ""))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and 0 <= value < 1e7 else None


def path(value: object) -> list[str] | None:
    """A category path, root first, cut where page code or prose begins."""
    levels: list[str] = []
    for level in value if isinstance(value, list) else ():
        found = name(level)
        if isinstance(level, str) and ("</" in level or (found and _PROSE.search(found))):
            break
        if found is not None:
            levels.append(found)
    return levels or None


def best_path(value: object) -> list[str] | None:
    """Of several category paths the first with at least two levels, else the first."""
    paths = [found for one in (value if isinstance(value, list) else ()) if (found := path(one)) is not None]
    return next((one for one in paths if len(one) > 1), paths[0] if paths else None)


def urls(*values: object) -> list[str]:
    """Web addresses in the order given (texts or lists of them), each once; `//host/…` is asked by https."""
    flat = (one for value in values for one in (value if isinstance(value, list) else [value]))
    cleaned = (one.strip() for one in flat if isinstance(one, str))
    whole = (f"https:{one}" if one.startswith("//") else one for one in cleaned)
    return list(dict.fromkeys(one for one in whole if one.lower().startswith(("http://", "https://"))))


def attributes(pairs: Iterable[tuple[object, object]]) -> list[dict[str, str]]:
    """Short named values in the order given; the first of a name wins, prose and empty ones are left out."""
    found: dict[str, str] = {}
    for key, value in pairs:
        label, content = text(key), value
        if isinstance(content, list):
            content = ", ".join(v for v in content if isinstance(v, str))
        elif isinstance(content, int | float) and not isinstance(content, bool):
            content = str(content)
        content = name(content)
        content = content.removesuffix(" (") if content else None  # "3 ounces (<a>View shipping rates</a>"
        label = label.strip(" :") if label else None
        if label and content and len(label) <= _LONGEST_NAME and len(content) <= _LONGEST_VALUE:
            found.setdefault(label, content)
    return [{"name": label, "value": content} for label, content in found.items()]


def unescaped(column: pl.Series) -> pl.Series:
    """Review texts: entities unescaped once, control characters taken out, trimmed; empty ones become null."""
    column = column.str.replace_all(_CONTROL.pattern, "")
    hits = column.str.contains("&", literal=True).fill_null(False).arg_true()
    if len(hits):
        fixed = [_CONTROL.sub("", html.unescape(one)) for one in column.gather(hits).to_list()]
        column = column.scatter(hits, pl.Series(fixed, dtype=pl.String))
    column = column.str.strip_chars()
    return column.set(column == "", None)


def raw_texts(frame: pl.DataFrame, domain: str) -> pl.DataFrame:
    """`schemas.RAW_TEXTS` of a frame with `source_row`, `review_title` and `review_text` as they stand in the file."""
    cleaned = [unescaped(frame[column]) for column in ("review_title", "review_text")]
    return conform(frame.with_columns(*cleaned, domain=pl.lit(domain)), RAW_TEXTS)


def _id_checks(column: str) -> list[tuple[str, pl.Expr]]:
    value = pl.col(column)
    return [
        (f"empty_{column}", value.is_null() | (value.str.strip_chars() == "")),
        (f"unsafe_{column}", (value.str.len_chars() > _LONGEST_ID) | value.str.contains(_UNSAFE)),
    ]


def valid_rows(frame: pl.DataFrame, drops: DropLog, *, ratings: bool, times: bool) -> pl.DataFrame:
    """The rows that can be used, in `schemas.RAW_ROWS`; the others are counted under the stage "read".

    Args:
        frame: the columns of RAW_ROWS; `rating` and `timestamp` (ms) may still be Float64.
        drops: where bad rows are counted.
        ratings: the source has ratings, so that a missing one is bad.
        times: the same for times.
    """
    rating, time = pl.col("rating"), pl.col("timestamp")
    checks = _id_checks("user_id") + _id_checks("item_id")
    if ratings:
        checks += [
            ("rating_missing", rating.is_null() | rating.is_nan()),
            ("rating_out_of_range", ~rating.is_between(1, 5)),
        ]
    if times:
        checks += [
            ("time_missing", time.is_null()),
            ("time_out_of_range", (time <= 0) | (time >= _LAST_TIME)),
        ]
    return conform(drops.sift(frame, "read", checks), RAW_ROWS)


def item(item_id: str, domain: str, **fields: Any) -> dict[str, Any]:
    """One row of `schemas.RAW_ITEMS`; fields that are not given are null, lists are empty."""
    row: dict[str, Any] = {"item_id": item_id, "domain": domain, "attributes": [], "image_urls": []}
    return row | fields
