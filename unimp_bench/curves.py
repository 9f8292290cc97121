"""Learning curves: `curve.jsonl` beside a fit's state, one line a record, written while a runner learns.

A line is appended and flushed at once, so a killed fit keeps what it had. A resumed fit repeats the steps after its
last checkpoint; of equal (stage, step) the last value of each name counts. What is no finite number is written as null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from unimp_bench.errors import IncompleteError

NAME = "curve.jsonl"
COLUMNS = {"stage": pl.String, "step": pl.Int64, "name": pl.String, "value": pl.Float64}


def append(path: Path, stage: str, step: int, values: Mapping[str, float]) -> None:
    """Add one record at the end of a curve."""
    numbers = {name: float(value) for name, value in values.items()}
    finite = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"stage": stage, "step": int(step), **finite}, allow_nan=False) + "\n")
        file.flush()


def mend(path: Path) -> None:
    """Cut off a last line that a killed process did not finish, so that the next record starts a line of its own."""
    if path.is_file():
        whole = path.read_bytes()
        end = whole.rfind(b"\n") + 1
        if end < len(whole):
            with path.open("rb+") as file:
                file.truncate(end)


def read(path: Path) -> pl.DataFrame:
    """A curve in the columns of `COLUMNS`: stages and names in the order of their first record, steps ascending.

    Raises:
        IncompleteError: the file is no curve.
    """
    found: dict[tuple[str, int, str], float | None] = {}
    stages: dict[str, int] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
            stage, step = str(record.pop("stage")), int(record.pop("step"))
            stages.setdefault(stage, len(stages))
            for name, value in record.items():
                found[stage, step, name] = None if value is None else float(value)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise IncompleteError(f"{path} line {number} is no record of a curve; fit again with --force") from None
    rows = [(*key, value) for key, value in found.items()]
    rows.sort(key=lambda row: (stages[row[0]], row[1]))  # stable: names stay in the order of their record
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")
