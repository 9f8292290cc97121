"""What the Amazon releases share: a review and a metadata file a domain, found by name in a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from unimp_bench.data import values
from unimp_bench.data.drops import DropLog
from unimp_bench.data.records import Record, find_records, read_columns
from unimp_bench.data.sources import addresses
from unimp_bench.errors import InputError
from unimp_bench.progress import Progress
from unimp_bench.schemas import RAW_ITEMS, RAW_ROWS, RAW_TEXTS, empty

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")


@dataclass(frozen=True)
class Columns:
    """Names of a release's review fields; `seconds` is the unit of its times."""

    user: str
    item: str
    rating: str
    time: str
    title: str
    text: str
    seconds: float


@dataclass(frozen=True)
class Layout:
    """What sets one release apart: its year, where a metadata record names its item, and how both files are read."""

    year: str
    key: str
    columns: Columns
    fields: Callable[[Record], Mapping[str, Any]]  # from a metadata record to fields of `schemas.RAW_ITEMS`


@dataclass(frozen=True)
class Dump:
    """One domain's files; `metadata` is None where there is none."""

    domain: str
    reviews: Path
    metadata: Path | None


def find(folder: Path, names: Iterable[str], subfolders: Iterable[str] = ()) -> Path | None:
    """The first file there is of these names, plain or with `.gz`, in the folder or in one of the subfolders."""
    places = [folder, *(folder / sub for sub in subfolders)]
    candidates = (place / (name + suffix) for name in names for suffix in (".gz", "") for place in places)
    return next((path for path in candidates if path.is_file()), None)


def need(folder: Path, names: Iterable[str], what: str, subfolders: Iterable[str] = ()) -> Path:
    """As `find`.

    Raises:
        InputError: none is there; says what was looked for.
    """
    if not folder.is_dir():
        raise InputError("no such folder", folder, "give the folder of the raw files with --raw")
    names = list(names)
    path = find(folder, names, subfolders)
    if path is None:
        looked = " or ".join(f"{name}.gz" for name in names)
        advice = f"looked for {looked} (also without .gz); give another --raw, or leave it out to download"
        raise InputError(f"no {what}", folder, advice)
    return path


def locate(folder: Path, year: str, domains: Iterable[str]) -> list[Dump]:
    """The files of each domain, in the folder itself or in a subfolder named like the domain.

    Raises:
        InputError: a review file is absent; says what was looked for.
    """
    release = addresses.release(year)
    found: list[Dump] = []
    for domain in domains:
        official = addresses.domain_key(year, domain)
        places = (domain, official)
        reviews = need(folder, (n.format(official) for n in release.reviews), f"reviews of {domain}", places)
        metadata = find(folder, (n.format(official) for n in release.metadata), places)
        found.append(Dump(domain, reviews, metadata))
    return found


def files(dumps: Iterable[Dump]) -> list[Path]:
    """All files of the dumps, each once, in order."""
    return [path for dump in dumps for path in (dump.reviews, dump.metadata) if path is not None]


def read_reviews(dump: Dump, columns: Columns, drops: DropLog, progress: Progress) -> pl.DataFrame:
    """All valid rows of one domain, in `schemas.RAW_ROWS`; bad ones are counted.

    Raises:
        InputError: the file cannot be read, holds no line, or no line has a field that is needed.
    """
    kinds = {columns.user: pl.String, columns.item: pl.String, columns.rating: pl.Float64, columns.time: pl.Float64}
    frame = read_columns(dump.reviews, kinds, progress)
    if frame.height == 0:
        raise InputError("no review", dump.reviews, "the file is empty; fetch it again")
    if absent := [name for name in kinds if frame[name].null_count() == frame.height]:
        raise InputError(f"no line with '{absent[0]}'", dump.reviews, "is it of another --release?")
    frame = frame.select(
        pl.col(columns.user).alias("user_id"),
        pl.col(columns.item).alias("item_id"),
        pl.lit(dump.domain).alias("domain"),
        (pl.col(columns.time) * (columns.seconds * 1000)).round().alias("timestamp"),
        pl.col(columns.rating).alias("rating"),
        pl.lit(None, dtype=pl.Int64).alias("sequence"),
        "source_row",
    )
    return values.valid_rows(frame, drops, ratings=True, times=True)


def read_all(dumps: Iterable[Dump], columns: Columns, drops: DropLog, progress: Progress) -> pl.DataFrame:
    """The valid rows of all domains, in the order given."""
    return pl.concat([empty(RAW_ROWS), *(read_reviews(dump, columns, drops, progress) for dump in dumps)])


def read_texts(dumps: Iterable[Dump], columns: Columns, rows: pl.DataFrame, progress: Progress) -> pl.DataFrame:
    """Titles and texts of the rows named by `domain` and `source_row`, in `schemas.RAW_TEXTS`."""
    parts = [empty(RAW_TEXTS)]
    for dump in dumps:
        only = rows.filter(domain=dump.domain)["source_row"].unique().sort().to_numpy()
        if len(only):
            kinds = {columns.title: pl.String, columns.text: pl.String}
            frame = read_columns(dump.reviews, kinds, progress, only)
            frame = frame.rename({columns.title: "review_title", columns.text: "review_text"})
            parts.append(values.raw_texts(frame, dump.domain))
    return pl.concat(parts)


def read_items(
    dumps: Iterable[Dump], layout: Layout, wanted: pl.DataFrame, drops: DropLog, progress: Progress
) -> pl.DataFrame:
    """Metadata of the wanted items, in `schemas.RAW_ITEMS`; a domain without a metadata file yields none and says so.

    `wanted` has the columns `item_id` and `domain`. Of several records of an item the first counts; the others are
    counted in `drops`.
    """
    rows: list[dict[str, Any]] = []
    for dump in dumps:
        ids = set(wanted.filter(domain=dump.domain)["item_id"].to_list())
        if not ids:
            continue
        if dump.metadata is None:
            progress.say(f"{dump.domain}: no metadata file, {len(ids)} items stay without title, brand and picture")
            continue
        found: set[str] = set()
        for _, item_id, record in find_records(dump.metadata, layout.key, ids, progress):
            if item_id in found:
                drops.add("items", dump.domain, "second_metadata_record")
                continue
            found.add(item_id)
            rows.append(values.item(item_id, dump.domain, **layout.fields(record)))
        if missing := len(ids) - len(found):
            progress.say(f"{dump.domain}: {missing} of {len(ids)} items have no metadata")
    return pl.DataFrame(rows, schema=dict(RAW_ITEMS), orient="row")


def pictures(folder: Path, ids: Iterable[str]) -> Mapping[str, Path] | None:
    """Picture files `<id>.<jpg|jpeg|png|webp|gif>` of a folder by id; None where there is no folder."""
    if not folder.is_dir():
        return None
    order = {suffix: rank for rank, suffix in enumerate(SUFFIXES)}
    wanted = set(ids)
    files = [path for path in folder.iterdir() if path.stem in wanted and path.suffix.lower() in order]
    files.sort(key=lambda path: (-order[path.suffix.lower()], path.name))
    return {path.stem: path for path in files}


@dataclass(frozen=True)
class Dumps:
    """The source (see `base.Source`) that a folder of one release is; pictures stand in `<raw>/images/<id>.<ext>`.

    Raises:
        UnknownNameError: a domain that the release does not have.
    """

    layout: Layout
    raw: Path
    domains: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "domains", addresses.domains(self.layout.year, self.domains))

    def _dumps(self) -> list[Dump]:
        return locate(self.raw, self.layout.year, self.domains)

    def inputs(self) -> list[Path]:
        """The review files and the metadata files there are."""
        return files(self._dumps())

    def rows(self, drops: DropLog, progress: Progress) -> pl.DataFrame:
        """See `base.Source`."""
        return read_all(self._dumps(), self.layout.columns, drops, progress)

    def texts(self, rows: pl.DataFrame, progress: Progress) -> pl.DataFrame:
        """See `base.Source`."""
        return read_texts(self._dumps(), self.layout.columns, rows, progress)

    def items(self, wanted: pl.DataFrame, drops: DropLog, progress: Progress) -> pl.DataFrame:
        """See `base.Source`."""
        return read_items(self._dumps(), self.layout, wanted, drops, progress)

    def pictures(self, item_ids: list[str]) -> Mapping[str, Path] | None:
        """See `base.Source`."""
        return pictures(self.raw / "images", item_ids)
