"""Reading and writing Parquet: the only room of the toolkit that does.

A file appears whole or not at all, sorted by its key, with its table's name and version in its metadata. Encoding is
single-threaded with fixed row groups, so the same rows give the same bytes on any number of threads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from unimp_bench.errors import IncompleteError, InputError
from unimp_bench.places import atomic
from unimp_bench.schemas import IMAGE, Table, conform, empty

_ROW_GROUP = 65_536
_PICTURE_ROW_GROUP = 512  # some megabytes, so that one picture is not read with all others
_NAME, _VERSION = b"unimp_bench.table", b"unimp_bench.version"


def _metadata(table: Table) -> dict[bytes, bytes]:
    """Table name and version; for tables with pictures also the hint by which `datasets` decodes them."""
    meta = {_NAME: table.name.encode(), _VERSION: str(table.version).encode()}
    if any(kind == IMAGE for kind in table.columns.values()):
        kinds = {pl.String: "string", pl.Int32: "int32"}
        features = {
            name: {"_type": "Image"} if kind == IMAGE else {"dtype": kinds[kind], "_type": "Value"}  # type: ignore[index]
            for name, kind in table.columns.items()
        }
        meta[b"huggingface"] = json.dumps({"info": {"features": features}}).encode()
    return meta


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type with 32-bit offsets: what readers expect, and what `datasets` knows as a picture."""
    if pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_large_binary(kind):
        return pa.binary()
    if pa.types.is_large_list(kind):
        return pa.list_(_plain(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, _plain(f.type)) for f in kind])
    return kind


class Writer:
    """Appends frames to one file; each must follow the one before in the order of the key."""

    def __init__(self, path: Path, table: Table) -> None:
        self._table = table
        plain = [pa.field(f.name, _plain(f.type)) for f in empty(table.columns).to_arrow().schema]
        self._schema = schema = pa.schema(plain, metadata=_metadata(table))
        # Pictures are compressed already; text gains a third from zstd.
        pictures = IMAGE in table.columns.values()
        self._rows_a_group = _PICTURE_ROW_GROUP if pictures else _ROW_GROUP
        codec = "none" if pictures else "zstd"
        self._file = pq.ParquetWriter(path, schema, compression=codec, use_dictionary=not pictures)
        self._last: tuple[Any, ...] | None = None
        self.rows = 0

    def append(self, frame: pl.DataFrame) -> None:
        """Write the rows, sorted by the key.

        Raises:
            ValueError: a key is null, repeats, or does not follow the rows written before.
        """
        frame = conform(frame, self._table.columns)
        key = list(self._table.key)
        if frame.height == 0:
            return
        frame = frame.sort(key)
        if any(frame[name].null_count() for name in key):
            raise ValueError(f"{self._table.name}: null in key {key}")
        first, last = frame.select(key).row(0), frame.select(key).row(-1)
        if frame.select(pl.struct(key).is_duplicated().any()).item() or (
            self._last is not None and first <= self._last
        ):
            raise ValueError(f"{self._table.name}: key {key} is not unique and ascending")
        self._last = last
        self.rows += frame.height
        for part in frame.iter_slices(self._rows_a_group):
            self._file.write_table(part.rechunk().to_arrow().cast(self._schema))

    def close(self) -> None:
        """Write the footer."""
        self._file.close()


@contextmanager
def writing(path: Path, table: Table) -> Iterator[Writer]:
    """A writer whose file appears under `path` only when the block ends well."""
    with atomic(path) as draft:
        writer = Writer(draft, table)
        try:
            yield writer
        finally:
            writer.close()


def write(frame: pl.DataFrame, path: Path, table: Table) -> int:
    """Write one frame as a whole file and return its number of rows."""
    with writing(path, table) as writer:
        writer.append(frame)
        return writer.rows


def _check(path: Path, table: Table) -> None:
    if not path.is_file():
        raise IncompleteError(f"{path} is missing; build or run again")
    try:
        meta: Mapping[bytes, bytes] = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError):
        raise IncompleteError(f"{path} is not a whole Parquet file; remove its folder and make it again") from None
    found = (meta.get(_NAME, b"?").decode(), meta.get(_VERSION, b"?").decode())
    if found != (table.name, str(table.version)):
        raise IncompleteError(
            f"{path} holds table {found[0]} version {found[1]}, wanted {table.name} version {table.version}; "
            "build again with this version of unimp-bench"
        )


def read(path: Path, table: Table, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """The file's rows (all columns, or some).

    Raises:
        IncompleteError: the file is absent, cut short, or another table or version.
    """
    _check(path, table)
    return pl.read_parquet(path, columns=list(columns) if columns is not None else None)


def scan(path: Path, table: Table) -> pl.LazyFrame:
    """The file as a lazy frame; errors as in `read`."""
    _check(path, table)
    return pl.scan_parquet(path)


def batches(path: Path, table: Table, rows: int = 4096) -> Iterator[pl.DataFrame]:
    """The file's rows in order, `rows` at a time; errors as in `read`."""
    _check(path, table)
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=rows):
            frame = pl.from_arrow(pa.Table.from_batches([batch]))
            assert isinstance(frame, pl.DataFrame)
            yield frame


def scan_foreign(path: Path) -> pl.LazyFrame:
    """Somebody else's Parquet file as a lazy frame.

    Raises:
        InputError: it is no Parquet file.
    """
    try:
        pq.read_schema(path)
    except (pa.ArrowException, OSError):
        raise InputError("not a Parquet file", path, "check the file, or give CSV or JSON lines") from None
    return pl.scan_parquet(path)


def count(path: Path) -> int:
    """Number of rows of a Parquet file, from its footer."""
    return int(pq.read_metadata(path).num_rows)
