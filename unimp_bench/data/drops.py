"""The drop log: every row that did not survive, counted by stage, domain and reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import polars as pl

from unimp_bench.schemas import DROPS


class DropLog:
    """Counts rejected rows; with `keep_rejects` it also keeps them (their raw place and ids, not their text)."""

    def __init__(self, keep_rejects: bool = False) -> None:
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._keep = keep_rejects
        self._rejects: list[pl.DataFrame] = []

    def add(self, stage: str, domain: str, reason: str, rows: int = 1) -> None:
        """Count rows."""
        if rows:
            self._counts[stage, domain, reason] += rows

    def sift(self, frame: pl.DataFrame, stage: str, checks: Sequence[tuple[str, pl.Expr]]) -> pl.DataFrame:
        """The rows for which no check is true.

        `checks` are pairs (reason, expression that is true for a bad row); a row counts under its first reason only.
        A null counts as not bad. `frame` has a column `domain`.
        """
        reason = pl.coalesce(pl.when(bad.fill_null(False)).then(pl.lit(name)) for name, bad in checks)
        marked = frame.with_columns(reason.alias("_reason"))
        bad_rows = marked.filter(pl.col("_reason").is_not_null())
        if bad_rows.height == 0:
            return frame
        for domain, name, rows in bad_rows.group_by("domain", "_reason").len().iter_rows():
            self.add(stage, domain, name, rows)
        if self._keep:
            kept = [c for c in ("domain", "source_row", "user_id", "item_id") if c in bad_rows.columns]
            self._rejects.append(
                bad_rows.select(pl.lit(stage).alias("stage"), pl.col("_reason").alias("reason"), *kept)
            )
        return marked.filter(pl.col("_reason").is_null()).drop("_reason")

    def frame(self) -> pl.DataFrame:
        """The counts, in the columns of `schemas.DROPS`, sorted."""
        rows = [(stage, domain, reason, n) for (stage, domain, reason), n in sorted(self._counts.items())]
        return pl.DataFrame(rows, schema=dict(DROPS.columns), orient="row")

    def rejects(self) -> pl.DataFrame:
        """The rejected rows that were kept."""
        return pl.concat(self._rejects, how="diagonal") if self._rejects else pl.DataFrame()
