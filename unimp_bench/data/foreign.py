"""Somebody's table of any usual form, as a stream of frames: CSV (plain, gzip, zip), JSON lines, Parquet.

CSV is read by pyarrow, which streams, keeps line ends inside quotes and names the row that it cannot read; every CSV
and JSON value comes out as text, so that `007` stays `007`. A quote that is never closed would swallow the rest of the
file without a word, so a row of our own is put behind the last one and must come out again.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv

from unimp_bench import tables
from unimp_bench.data.blocks import DAMAGED, blocks, damaged, open_bytes
from unimp_bench.data.records import parse_record, read_columns
from unimp_bench.errors import InputError
from unimp_bench.progress import Progress, Silent

_JSON = (".jsonl", ".json", ".ndjson")
_PARQUET = (".parquet", ".pq")
_SAMPLE = 1_000  # JSON lines whose keys are taken as the columns
_CSV_BLOCK = 4 << 20
_LAST = "\x03the last row\x03"
_BROKEN = (pa.ArrowException, UnicodeDecodeError, zipfile.BadZipFile, *DAMAGED)


@dataclass(frozen=True)
class ForeignTable:
    """An opened table: its path, its kind and its column names in the order of the file."""

    path: Path
    kind: str
    columns: tuple[str, ...]

    def read(self, columns: Sequence[str], progress: Progress, only: pl.Series | None = None) -> pl.DataFrame:
        """Some columns with `source_row`, the 0-based row (JSON: line), of all rows or only of those named.

        Raises:
            InputError: the file cannot be read to its end; names the line where that is known.
        """
        numbers = None if only is None else only.unique().sort().to_numpy()
        if self.kind == "json":
            kinds = dict.fromkeys(columns, pl.String)
            return read_columns(self.path, kinds, progress, numbers)
        parts = [pl.DataFrame(schema={"source_row": pl.Int64} | dict.fromkeys(columns, pl.String))]
        for part in self._parts(columns, progress):
            if numbers is not None and part.height:
                first = int(part["source_row"][0])
                low, high = np.searchsorted(numbers, [first, first + part.height])
                part = part[numbers[low:high] - first]  # noqa: PLW2901
            parts.append(part)
        return pl.concat(parts if self.kind == "csv" else parts[1:])

    def _parts(self, columns: Sequence[str], progress: Progress) -> Iterator[pl.DataFrame]:
        if self.kind == "parquet":
            rows = tables.scan_foreign(self.path).select(columns).with_row_index("source_row")
            try:
                yield rows.with_columns(pl.col("source_row").cast(pl.Int64)).collect()
            except pl.exceptions.PolarsError as error:
                raise _refused(self.path, error) from None
            return
        first = 0
        progress.start(self.path.name)
        for batch in _csv(self, columns):
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)
            yield frame.insert_column(0, pl.Series("source_row", np.arange(first, first + frame.height)))
            first += frame.height
            progress.advance(frame.height)
        progress.finish()

    def records(self, progress: Progress) -> Iterator[dict[str, Any]]:
        """All rows as dicts; JSON and Parquet values keep their types."""
        if self.kind == "json":
            for block in blocks(self.path, progress):
                for number, line in block.lines():
                    yield parse_record(self.path, number, line)
            return
        for part in self._parts(self.columns, progress):
            yield from part.drop("source_row").iter_rows(named=True)


def open_table(path: Path) -> ForeignTable:
    """Find out what the file is and which columns it has.

    Raises:
        InputError: no such file, of no known kind, or without columns.
    """
    if not path.is_file():
        raise InputError("no such file", path, "check the path")
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix in _PARQUET:
        return ForeignTable(path, "parquet", tuple(tables.scan_foreign(path).collect_schema().names()))
    if suffix in _JSON:
        columns: dict[str, None] = {}
        lines = ForeignTable(path, "json", ()).records(Silent())
        for _, record in zip(range(_SAMPLE), lines, strict=False):
            columns.update(dict.fromkeys(record))
        return _named(path, "json", list(columns))
    with ExitStack() as stack:
        return _named(path, "csv", _reader(path, None, b"\n", stack).schema.names)


def _named(path: Path, kind: str, columns: list[str]) -> ForeignTable:
    if not columns:
        raise InputError("no column", path, "the file seems to be empty")
    if len(set(columns)) < len(columns):
        raise InputError("two columns of one name", path, "rename one")
    return ForeignTable(path, kind, tuple(columns))


def _stream(path: Path, stack: ExitStack) -> IO[bytes]:
    """The unpacked bytes of a plain, gzip or zip file; a zip must hold one table."""
    if not zipfile.is_zipfile(path):
        return open_bytes(path, stack)[1]
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
        names = [n for n in archive.namelist() if n.lower().endswith((".csv", ".tsv", ".txt")) and "__MACOSX" not in n]
        if len(names) != 1:
            raise InputError(f"{len(names)} tables", path, "a zip must hold exactly one CSV")
        return stack.enter_context(archive.open(names[0]))
    except zipfile.BadZipFile as error:
        raise damaged(path, error) from None
    except RuntimeError as error:  # a password, or (as its subclass) a method that Python does not know: a whole file
        raise InputError(
            f"a zip that cannot be opened ({error})", path, "pack it anew, deflated, no password"
        ) from None


class _Followed(io.RawIOBase):
    """A stream, and after its end some more bytes."""

    def __init__(self, stream: IO[bytes], more: bytes) -> None:
        self._stream, self._more = stream, more

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        if not data:
            cut = len(self._more) if size < 0 else size
            data, self._more = self._more[:cut], self._more[cut:]
        return data


def _delimiter(path: Path) -> str:
    return "\t" if path.name.lower().removesuffix(".gz").endswith(".tsv") else ","


def _reader(path: Path, columns: Sequence[str] | None, more: bytes, stack: ExitStack) -> pacsv.CSVStreamingReader:
    stream = _Followed(_stream(path, stack), more)
    names = None if columns is None else list(columns)
    kinds = None if names is None else dict.fromkeys(names, pa.large_string())
    try:
        return pacsv.open_csv(
            pa.PythonFile(stream, mode="r"),
            # One thread: only then does an error say which row it means.
            read_options=pacsv.ReadOptions(use_threads=False, block_size=_CSV_BLOCK),
            parse_options=pacsv.ParseOptions(delimiter=_delimiter(path), newlines_in_values=True),
            convert_options=pacsv.ConvertOptions(
                include_columns=names, column_types=kinds, null_values=[""], strings_can_be_null=True
            ),
        )
    except _BROKEN as error:
        raise _refused(path, error) from None


def _csv(table: ForeignTable, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    path, rows = table.path, 0
    last_row = _delimiter(path).join([_LAST] * len(table.columns))
    with ExitStack() as stack:
        reader = _reader(path, columns, f"\n{last_row}\n".encode(), stack)
        held: pa.RecordBatch | None = None
        while True:
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                break
            except _BROKEN as error:
                raise _refused(path, error) from None
            if batch.num_rows:
                if held is not None:
                    yield held
                held, rows = batch, rows + batch.num_rows
        if held is None or held.column(0)[-1].as_py() != _LAST:
            raise InputError(f"quote that is never closed, in row #{rows + 1}", path, "close it")
        yield held.slice(0, held.num_rows - 1)


def _refused(path: Path, error: BaseException) -> InputError:
    if isinstance(error, (*DAMAGED, zipfile.BadZipFile)):
        return damaged(path, error)
    text = " ".join(str(error).replace(_LAST, "").split())
    if "straddling object" in text:
        return InputError(f"{_too_long(path)} over {_CSV_BLOCK >> 20} MiB", path, "a quote may be left open; mend it")
    return InputError(f"no readable table ({text[:160]})", path, "mend that row (is a quote open?) or give Parquet")


def _too_long(path: Path) -> str:
    """The first row of more than a block, numbered as `score` numbers rows: from 1, header and blank lines left out.

    The reader refuses such a row without its number, so the file is gone through once more: a row ends at a line end
    outside quotes, that is after an even number of them.
    """
    row, length, odd = -1, 0, 0  # rows before the one at hand, less the header; its bytes and quotes so far
    with ExitStack() as stack:
        stream = _stream(path, stack)
        while length <= _CSV_BLOCK and (chunk := stream.read(_CSV_BLOCK)):
            data = np.frombuffer(chunk, dtype=np.uint8)
            inside = (np.cumsum(data == ord('"')) + odd) % 2
            ends = np.flatnonzero((data == ord("\n")) & (inside == 0))
            lengths = np.diff(ends, prepend=-1 - length) - 1  # without the line end
            longest = np.flatnonzero(lengths > _CSV_BLOCK)
            if len(longest):
                lengths = lengths[: longest[0]]
            row += int((lengths > 1).sum())  # a blank line may still have its carriage return
            if len(longest):
                break
            length = len(data) - 1 - int(ends[-1]) if len(ends) else length + len(data)
            odd = int(inside[-1])
    return f"row {row + 1} below the header"
