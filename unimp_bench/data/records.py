"""JSON-lines files as columns, or as the few records that are wanted.

Polars parses one block of lines while isal unpacks the next. A block that it refuses is read again as text, so that a
wrong *value* becomes null (a bad row), and then line by line, so that a wrong *line* is named (a bad file).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from unimp_bench.data.blocks import BLANK, Block, ahead, blocks
from unimp_bench.data.literals import joined_surrogates, parse_literal
from unimp_bench.errors import InputError
from unimp_bench.progress import Progress

Record = dict[str, Any]
Kinds = Mapping[str, pl.DataType | type[pl.DataType]]


def parse_json(line: bytes) -> Any:
    """One JSON value. The standard parser has the second word: it allows lone surrogates, which real reviews hold.

    Raises:
        ValueError: not JSON (`NaN` and numbers beyond all bounds included).
    """
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            return json.loads(line.decode(), parse_constant=_refuse)
        except RecursionError:
            raise ValueError("nested too deep") from None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def as_text(value: object) -> str | None:
    """A JSON value as the text that polars makes of it: `1.0` is `1`, null stays null."""
    if value is None or isinstance(value, str):
        return joined_surrogates(value) if value else value
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f").removesuffix(".0")
    return json.dumps(value)


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):  # words, or an integer beyond all bounds
        return None


def _parse_slowly(path: Path, lines: Iterable[tuple[int, bytes]], kinds: Kinds) -> pl.DataFrame:
    """The columns `source_row` and `kinds`, read line by line.

    Raises:
        InputError: a line is not a JSON object; names it.
    """
    convert = {name: as_text if kind == pl.String else _number for name, kind in kinds.items()}
    rows: list[list[Any]] = []
    for number, line in lines:
        try:
            record = parse_json(line)
        except ValueError as error:
            raise InputError(
                f"not JSON ({error})", path, "fetch the file again or mend that line", number + 1
            ) from None
        if not isinstance(record, dict):
            raise InputError("no JSON object", path, "every line must be one `{...}`", number + 1)
        rows.append([number, *(f(record.get(name)) for name, f in convert.items())])
    return pl.DataFrame(rows, schema={"source_row": pl.Int64, **kinds}, orient="row")


def _parse_fast(data: bytes, numbers: Sequence[int] | NDArray[np.int64], kinds: Kinds) -> pl.DataFrame | None:
    """The columns `source_row` and `kinds` of lines with these numbers; None where polars cannot tell."""
    try:
        frame = pl.read_ndjson(data, schema=dict(kinds))
    except pl.exceptions.PolarsError:
        return None
    if frame.height != len(numbers):
        return None
    return frame.insert_column(0, pl.Series("source_row", numbers, dtype=pl.Int64))


def _parse(path: Path, block: Block, kinds: Kinds, only: NDArray[np.int64] | None) -> pl.DataFrame:
    if only is None:
        frame = _parse_fast(block.data, range(block.first, block.first + block.count), kinds)
    else:
        all_lines = block.data.split(b"\n")
        frame = _parse_fast(b"\n".join(all_lines[i] for i in (only - block.first).tolist()), only, kinds)
    if frame is not None:
        return frame
    wanted = None if only is None else set(only.tolist())
    lines = [line for line in block.lines() if wanted is None or line[0] in wanted]
    if not lines:
        return pl.DataFrame(schema={"source_row": pl.Int64, **kinds})
    data, numbers = b"\n".join(line for _, line in lines), [number for number, _ in lines]
    frame = _parse_fast(data, numbers, kinds)
    if frame is None:
        texts = _parse_fast(data, numbers, dict.fromkeys(kinds, pl.String))
        frame = (
            None
            if texts is None
            else texts.with_columns(pl.col(n).cast(kind, strict=False) for n, kind in kinds.items())
        )
    return _parse_slowly(path, lines, kinds) if frame is None else frame


def read_columns(path: Path, kinds: Kinds, progress: Progress, only: NDArray[np.int64] | None = None) -> pl.DataFrame:
    """Some columns of a JSON-lines file, one row for every line that is not blank.

    Args:
        path: JSON lines, plain or gzip.
        kinds: `String` or `Float64` by name. A value of another type becomes text; for a number, text that is one
            counts, anything else is null.
        progress: hears of compressed bytes.
        only: 0-based line numbers, ascending, to which the answer is limited.

    Returns:
        `source_row` (0-based line number) and the columns of `kinds`, in the order of the file.

    Raises:
        InputError: the file cannot be read or a line is not a JSON object; names file and line.
    """
    parts = [pl.DataFrame(schema={"source_row": pl.Int64, **kinds})]
    for block in ahead(blocks(path, progress)):
        here = only
        if only is not None:
            low, high = np.searchsorted(only, [block.first, block.first + block.count])
            if low == high:
                continue
            here = only[low:high]
        parts.append(_parse(path, block, kinds, here))
    return pl.concat(parts)


def find_records(
    path: Path, key: str, wanted: Collection[str], progress: Progress
) -> Iterator[tuple[int, str, Record]]:
    """The records whose `key` is wanted, as (0-based line, id, record); other lines are not parsed.

    The id is looked for by a cheap scan, which may find too much (the same words inside a text) but never too little;
    the parsed record has the last word. A line is JSON or a Python literal; it is never evaluated.

    Raises:
        InputError: the file cannot be read or is empty, a line is no record or names no id; names file and line.
    """
    value = rf"""{re.escape(key)}['"]\s*:\s*u?['"]([^'"\\]*)['"]"""
    pattern = re.compile(value.encode())
    wanted = set(wanted)
    ids = {item.encode() for item in wanted}
    advice = f"every line must be one record `{{...}}` with '{key}'"
    empty = True
    for block in ahead(blocks(path, progress)):
        empty = False
        lines: list[bytes] = []
        for at in _doubtful(block, value, wanted):
            lines = lines or block.data.split(b"\n")
            number, line = block.first + at, lines[at].strip(BLANK)
            if not line:
                continue
            if line[:1] != b"{" or line[-1:] != b"}":
                raise InputError("no record", path, advice, number + 1)
            named = pattern.findall(line)
            if named and ids.isdisjoint(named):
                continue
            record = parse_record(path, number, line)
            item = record.get(key)
            if not isinstance(item, str):
                raise InputError(f"record without '{key}'", path, advice, number + 1)
            if item in wanted:
                yield number, item, record
    if empty:
        raise InputError("no record", path, "the file is empty; fetch it again")


def _doubtful(block: Block, value: str, wanted: Collection[str]) -> Iterable[int]:
    """Indices of the block's lines that are anything but one whole record that nobody asks for."""
    line = pl.col("line")
    named = line.str.extract(value)
    alone = (line.str.count_matches(value) == 1) & line.str.starts_with("{") & line.str.ends_with("}")
    try:
        scanned = pl.scan_lines(block.data, name="line").select(pl.when(alone).then(named).alias("id")).collect()
    except pl.exceptions.PolarsError:  # not UTF-8
        return range(block.count)
    if scanned.height != block.count:
        return range(block.count)
    return (at for at, item in enumerate(scanned["id"].to_list()) if item is None or item in wanted)


def parse_record(path: Path, number: int, line: bytes) -> Record:
    """One JSON object or Python dict literal; `number` is the 0-based line.

    Raises:
        InputError: it is neither (code, for one); names file and line.
    """
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            record = parse_literal(line)
        except ValueError as error:
            raise InputError(
                f"neither JSON nor a Python literal ({error})",
                path,
                "nothing was evaluated; remove the line",
                number + 1,
            ) from None
    if not isinstance(record, dict):
        raise InputError("no record", path, "every line must be one record `{...}`", number + 1)
    return record
