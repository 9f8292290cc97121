"""Numbers and texts as the page shows them: bounded, and never what JSON cannot hold."""

from __future__ import annotations

from math import isfinite
from typing import Any


def plain(value: Any) -> Any:
    """The value, floats with six digits after the point; what is no number is null."""
    if isinstance(value, float):
        return round(value, 6) if isfinite(value) else None
    return value


def cut(text: str | None, most: int) -> str | None:
    """The text, or as much of it as fits, saying how much is missing."""
    if text is None or len(text) <= most:
        return text
    return f"{text[:most]}… ({len(text) - most:,} more characters)"
