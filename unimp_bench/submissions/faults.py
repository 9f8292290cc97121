"""What is wrong with a predictions file, by kind, with the rows where it stands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from unimp_bench.check import UNANSWERED, Fault
from unimp_bench.errors import PredictionError

_COLUMNS: dict[str, type[pl.DataType]] = {"row": pl.Int64, "example_id": pl.String, "detail": pl.String}


class FaultyFileError(PredictionError):
    """A predictions file with wrong rows; `faults` has them all: columns row (from 1; null: not there), ..."""

    def __init__(self, path: Path, faults: Sequence[Fault], rows: int) -> None:
        self.faults = tuple(faults)
        kinds = "; ".join(f"{fault.what} ({fault.rows.height:,})" for fault in faults)
        advice = "mend it and score again"
        if any(fault.what == UNANSWERED for fault in faults):
            advice += " (--missing zero counts absent examples as unanswered)"
        super().__init__(f"{path} with {rows:,} rows is not scored: {kinds}; {advice}")


def gathered(faults: Iterable[Fault]) -> list[Fault]:
    """One fault a kind, in the order of the first of each; its rows have row, example_id and detail, sorted by row."""
    by_kind: dict[str, list[pl.DataFrame]] = {}
    for fault in faults:
        given = {name: kind for name, kind in _COLUMNS.items() if name in fault.rows.columns}
        rows = fault.rows.select(
            pl.col(name).cast(kind) if name in given else pl.lit(None, dtype=kind).alias(name)
            for name, kind in _COLUMNS.items()
        )
        by_kind.setdefault(fault.what, []).append(rows)
    return [
        Fault(what, pl.concat(rows).sort("row", "example_id", nulls_last=True, maintain_order=True))
        for what, rows in by_kind.items()
    ]


def shown(faults: Sequence[Fault], most: int = 10) -> list[tuple[str, int | None, str, str]]:
    """Some rows of every kind, at most so many in all: (kind, row, example_id, detail); no kind goes without."""
    quotas = [0] * len(faults)
    left = max(most, len(faults))
    while left and any(quota < fault.rows.height for quota, fault in zip(quotas, faults, strict=True)):
        for at, fault in enumerate(faults):
            if left and quotas[at] < fault.rows.height:
                quotas[at], left = quotas[at] + 1, left - 1
    return [
        (fault.what, row, example or "", detail or "")
        for fault, quota in zip(faults, quotas, strict=True)
        for row, example, detail in fault.rows.head(quota).iter_rows()
    ]
