"""Frames of texts for tests."""

from __future__ import annotations

import polars as pl


def texts(rows: dict[str, str | None]) -> pl.DataFrame:
    """Texts by example."""
    return pl.DataFrame({"example_id": list(rows), "text": pl.Series(list(rows.values()), dtype=pl.String)})
