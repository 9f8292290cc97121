"""What a source adapter is: raw files of one release in, three canonical frames out, each read when it is needed.

The pipeline first takes the light rows of everything, applies the core filter, and only then asks for the texts and
metadata of what survived; so memory follows the surviving interactions, not the dump.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import polars as pl

from unimp_bench.data.drops import DropLog
from unimp_bench.progress import Progress


class Source(Protocol):
    """One release of shop data in a local folder."""

    @property
    def domains(self) -> tuple[str, ...]:
        """Domains in the order asked for; an item that two of them hold belongs to the first."""

    def inputs(self) -> list[Path]:
        """The raw files that will be read, for the manifest.

        Raises:
            InputError: one that is needed is absent.
        """

    def rows(self, drops: DropLog, progress: Progress) -> pl.DataFrame:
        """All valid interactions, in the columns of `schemas.RAW_ROWS`, in the order of the files.

        Bad rows are counted in `drops` under the stage "read".

        Raises:
            InputError: a file cannot be read (names file and line).
        """

    def texts(self, rows: pl.DataFrame, progress: Progress) -> pl.DataFrame:
        """Review titles and texts of the rows named by `domain` and `source_row`, in `schemas.RAW_TEXTS`."""

    def items(self, wanted: pl.DataFrame, drops: DropLog, progress: Progress) -> pl.DataFrame:
        """Metadata of the items named by `item_id` (with `domain`), in `schemas.RAW_ITEMS`, at most one row an item.

        Items without metadata are absent from the answer; of several records of an item the first counts, the others
        are counted in `drops`. Text is unescaped from HTML once, here.
        """

    def pictures(self, item_ids: list[str]) -> Mapping[str, Path] | None:
        """Local picture files by item id; None where the source has no folder of pictures."""
