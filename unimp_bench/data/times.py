"""Times of any usual form as UTC milliseconds: numbers in seconds to nanoseconds, dates (ISO, Amazon's, 20140513)."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from unimp_bench.errors import InputError

# A median time lies between 1973 and 2100 in exactly one of these units.
_UNITS = ((1e11, 1_000.0), (1e14, 1.0), (1e17, 1e-3), (float("inf"), 1e-6))
_FORMATS = (
    *("%Y-%m-%dT%H:%M:%S%.f%:z", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"),
    *("%Y-%m-%d %H:%M:%S%.f%:z", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"),
)
_DATES = ("%Y-%m-%d", "%Y/%m/%d", "%m %d, %Y")


def milliseconds(column: pl.Series, path: Path) -> pl.Series:
    """The column as Int64 milliseconds; what cannot be read becomes null.

    Raises:
        InputError: there are times, but none can be read; or the column holds times of day or spans.
    """
    if column.dtype in (pl.Time, pl.Duration):
        raise InputError(f"column '{column.name}' holds {column.dtype}, no points in time", path, "give dates or times")
    if column.dtype.is_temporal():
        return column.cast(pl.Datetime("ms")).cast(pl.Int64)
    numbers = column.cast(pl.Float64, strict=False)
    numbers = numbers.set(numbers.is_nan() | numbers.is_infinite(), None)
    typical = numbers.abs().median()
    if isinstance(typical, float) and 1.9e7 < typical < 2.1e7:  # 20140513; as seconds all would lie in August 1970
        days = numbers.cast(pl.Int64).cast(pl.String).str.to_date("%Y%m%d", strict=False)
        if days.null_count() == column.null_count():
            return days.cast(pl.Datetime("ms")).cast(pl.Int64)
    if isinstance(typical, float) and numbers.len() - numbers.null_count() >= (column.len() - column.null_count()) / 2:
        factor = next(factor for bound, factor in _UNITS if typical < bound)
        return (numbers * factor).round().clip(-9e15, 9e15).cast(pl.Int64)
    text = column.cast(pl.String).str.strip_chars().str.replace(r"Z$", "+00:00")
    found = pl.Series(column.name, [None] * len(text), dtype=pl.Int64)
    for form in (*_FORMATS, *_DATES):
        if found.null_count() == text.null_count():
            break
        read = (
            text.str.to_date(form, strict=False).cast(pl.Datetime("ms"))
            if form in _DATES
            else text.str.to_datetime(form, strict=False, time_unit="ms")
        )
        found = found.zip_with(found.is_not_null(), read.cast(pl.Int64))
    if found.null_count() == len(found) and text.null_count() < len(text):
        raise InputError(
            f"times such as '{text.drop_nulls()[0]}' cannot be read", path, "use seconds, milliseconds or YYYY-MM-DD"
        )
    return found
