"""Words for an item: the fields that the dataset's manifest names, `Unknown` where an item has nothing to say.

The same words as the benchmark's own prompts (a test holds the two against each other), written without polars. Special
tokens need not be disarmed here, because text never becomes one (`text.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

WORDS_A_FIELD = 20  # the paper's c
UNKNOWN = "Unknown"
AMAZON = (("Category", "categories"), ("Price", "price_usd"), ("Brand", "brand"), ("Title", "title"))


def field_text(item: Mapping[str, Any], source: str) -> str:
    """One field of an item's row (columns of the items table); `Unknown` where it is empty.

    `source` is a column, `categories:<level>` or `attributes:<name>`.
    """
    column, _, part = source.partition(":")
    value = item.get(column)
    if column == "price_usd":
        return f"{value:.2f}" if value is not None else UNKNOWN
    if column == "attributes":
        value = next((entry["value"] for entry in value or () if entry["name"] == part), None)
    elif column == "categories":
        path = [name for name in value or () if name]
        level = int(part) if part else None
        value = " ".join(path) if level is None else next(iter((value or [])[level : level + 1]), None)
    words = str(value).split()[:WORDS_A_FIELD] if value else []
    return " ".join(words) or UNKNOWN


def body(item: Mapping[str, Any], fields: Sequence[tuple[str, str]]) -> str:
    """All fields with their labels, joined by blanks."""
    return " ".join(f"{label} {field_text(item, source)}" for label, source in fields)
