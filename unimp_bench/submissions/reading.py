"""Cells of somebody's predictions file as answers. What cannot be read is a fault of its row, never a guess.

A list is a Parquet or JSON list, a list in JSON's or Python's own notation inside a text, or items separated by one of
`|`, `;`, `,`, tab or blank: the first of these that occurs anywhere in the column. A picture is bytes (Parquet: binary,
or the struct that Hugging Face's `Image` stores), a `data:` address in base64, or the name of a file in the folder of
the predictions. An empty cell is no answer.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from unimp_bench.check import VALUE, Fault
from unimp_bench.data.foreign import ForeignTable, open_table
from unimp_bench.data.literals import parse_literal
from unimp_bench.errors import InputError
from unimp_bench.progress import Progress
from unimp_bench.schemas import PREDICTIONS
from unimp_bench.tasks.spec import AnswerKind

_SEPARATORS = ("|", ";", ",", "\t", " ")
_LARGEST_FILE = 32 << 20  # bytes of one picture
_TYPES = {name: kind for table in PREDICTIONS.values() for name, kind in table.columns.items()}
_SHOWN = 40  # characters of an unreadable cell


@dataclass(frozen=True)
class Cells:
    """A file's answers: the columns of `PREDICTIONS[kind]` and `row` (from 1, as in the file); unreadable ones null."""

    frame: pl.DataFrame
    faults: tuple[Fault, ...]
    ignored: tuple[str, ...]  # columns that no answer of the kind has


def read(path: Path, kind: AnswerKind, separator: str | None, progress: Progress) -> Cells:
    """Read a predictions file of any usual form.

    Raises:
        InputError: the file cannot be read to its end, lacks a column, or has one of a type that holds no answers.
    """
    table = open_table(path)
    wanted = list(PREDICTIONS[kind].columns)
    for name in ("example_id", VALUE[kind]):
        if name not in table.columns:
            advice = f"a {kind} answer has {', '.join(wanted)}; the file has {', '.join(table.columns)[:200]}"
            raise InputError(f"no column '{name}'", path, advice)
    present = [name for name in wanted if name in table.columns]
    frame = table.read(present, progress).with_columns(row=pl.col("source_row") + 1).drop("source_row")
    frame = frame.with_columns(pl.col("example_id").cast(pl.String))
    faults = []
    for name in present[1:]:
        column, bad = _column(table, frame, name, separator)
        faults += _fault(frame, column.name, bad)
        frame = frame.with_columns(column)
    absent = [pl.lit(None, dtype=kind_).alias(n) for n, kind_ in PREDICTIONS[kind].columns.items() if n not in present]
    ignored = tuple(name for name in table.columns if name not in wanted)
    return Cells(frame.with_columns(absent).select(*wanted, "row"), tuple(faults), ignored)


def _fault(frame: pl.DataFrame, name: str, bad: dict[int, str]) -> list[Fault]:
    if not bad:
        return []
    rows = frame.select("row", "example_id")[list(bad)]
    return [Fault(_UNREADABLE[name], rows.with_columns(detail=pl.Series(list(bad.values()), dtype=pl.String)))]


_UNREADABLE = {
    "item_ids": "a list of items that cannot be read",
    "scores": "scores that cannot be read",
    "rating": "a rating that is no number",
    "text": "a text that cannot be read",
    "image": "a picture that cannot be found",
}


_Read = tuple[pl.Series, dict[int, str]]  # a column in its own type, and what could not be read, by place


def _column(table: ForeignTable, frame: pl.DataFrame, name: str, separator: str | None) -> _Read:
    cells = frame[name]
    found: _Read | None
    if cells.dtype == pl.Null:
        found = pl.Series(name, [None] * len(cells), dtype=_TYPES[name]), {}
    elif name in ("item_ids", "scores"):
        found = _lists(cells, separator)
    elif name == "rating":
        found = (cells.cast(pl.Float64), {}) if cells.dtype.is_numeric() else None
        if _is_text(cells.dtype):
            found = _each(cells, pl.Float64, _number)
    elif name == "text":
        found = (cells.cast(pl.String), {}) if _is_text(cells.dtype) else None
    else:
        found = _pictures(cells, table.path)
    if found is None:
        raise InputError(f"column '{name}' of type {cells.dtype}", table.path, f"wanted {_TYPES[name]}, or text")
    return found


def _lists(cells: pl.Series, separator: str | None) -> _Read | None:
    own = _TYPES[cells.name]
    kind = cells.dtype
    if isinstance(kind, pl.List | pl.Array):
        inner = kind.inner
        numbers = cells.name == "scores" and inner.is_numeric()
        names = cells.name == "item_ids" and (inner.is_integer() or _is_text(inner))
        return (cells.cast(pl.List(inner)).cast(own), {}) if inner == pl.Null or numbers or names else None
    if not _is_text(kind):
        return None
    texts = cells.cast(pl.String)
    between = separator if separator is not None else _separator(texts)
    return _each(texts, own, lambda text: _list(text, between, cells.name))


def _is_text(kind: object) -> bool:
    return kind in (pl.String, pl.Categorical, pl.Enum)


def _each(cells: pl.Series, kind: pl.DataType | type[pl.DataType], parse: Callable[[str], Any]) -> _Read:
    values: list[Any] = []
    bad: dict[int, str] = {}
    for at, text in enumerate(cells.cast(pl.String)):
        try:
            values.append(None if text is None or not text.strip() else parse(text.strip()))
        except ValueError as error:
            values.append(None)
            bad[at] = str(error)
    return pl.Series(cells.name, values, dtype=kind, strict=False), bad


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"'{text[:_SHOWN]}'") from None


def _separator(texts: pl.Series) -> str:
    """The first of the separators that stands in any cell which is no list by its own notation."""
    plain = texts.filter(~texts.str.strip_chars_start().str.starts_with("[").fill_null(True)).str.strip_chars()
    return next((mark for mark in _SEPARATORS if plain.str.contains(mark, literal=True).any()), _SEPARATORS[0])


def _list(text: str, separator: str, name: str) -> list[Any]:
    if text.startswith("["):
        parts = _notation(text)
    else:
        parts = text.split() if separator == " " else [part.strip() for part in text.split(separator)]
        if not all(parts):
            raise ValueError("an empty place between two separators")
    if name == "scores":
        return [_score(part) for part in parts]
    if not all(part is None or (isinstance(part, str | int) and not isinstance(part, bool)) for part in parts):
        raise ValueError(f"'{text[:_SHOWN]}' holds what is no item id")
    return [part if part is None else str(part) for part in parts]


def _notation(text: str) -> list[Any]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            found = parse_literal(text.encode())
        except ValueError:
            raise ValueError(f"'{text[:_SHOWN]}' is no list") from None
    if not isinstance(found, list):
        raise ValueError(f"'{text[:_SHOWN]}' is no list")
    return found


def _score(part: object) -> float | None:
    if part is None or (isinstance(part, int | float) and not isinstance(part, bool)):
        return math.nan if part is None else float(part)
    if isinstance(part, str):
        return _number(part)
    raise ValueError(f"'{str(part)[:_SHOWN]}' is no number")


def _pictures(cells: pl.Series, file: Path) -> _Read:
    """Encoded pictures as `schemas.IMAGE`."""
    kind = cells.dtype
    data: list[bytes | None] = [None] * len(cells)
    named: list[str | None] = [None] * len(cells)
    if kind == pl.Binary:
        data = cells.to_list()
    elif isinstance(kind, pl.Struct) and "bytes" in (fields := {field.name: field.dtype for field in kind.fields}):
        data = cells.struct.field("bytes").cast(pl.Binary).to_list()
        if "path" in fields:
            paths = cells.struct.field("path").cast(pl.String).to_list()
            named = [path if held is None else None for path, held in zip(paths, data, strict=True)]
    elif _is_text(kind):
        named = [text.strip() or None if text is not None else None for text in cells.cast(pl.String)]
    else:
        raise InputError(f"column 'image' of type {kind}", file, "wanted bytes, {bytes, path}, or names of files")
    bad: dict[int, str] = {}
    for at, name in enumerate(named):
        if name is not None:
            try:
                data[at] = _fetched(name, file.parent)
            except ValueError as error:
                bad[at] = str(error)
    rows = [None if held is None else {"bytes": held, "path": None} for held in data]
    return pl.Series("image", rows, dtype=_TYPES["image"]), bad


def _fetched(name: str, folder: Path) -> bytes:
    """The bytes of a `data:` address, or of a file below the predictions' own folder and nowhere else."""
    if name.startswith("data:"):
        head, comma, body = name.partition(",")
        try:
            if not comma or not head.endswith(";base64"):
                raise ValueError
            return base64.b64decode(body, validate=True)
        except (ValueError, binascii.Error):
            raise ValueError("a data address that is not base64") from None
    try:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise ValueError(f"'{name[:_SHOWN]}' is outside the predictions' folder")
        if not path.is_file():
            raise ValueError(f"'{name[:_SHOWN]}' is no file")
        if path.stat().st_size > _LARGEST_FILE:
            raise ValueError(f"'{name[:_SHOWN]}' has more than {_LARGEST_FILE >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"'{name[:_SHOWN]}' cannot be read ({error.strerror})") from None
