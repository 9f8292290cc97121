"""Values per example of several systems, side by side on the same examples: what paired tests and slices start from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_bench import tables
from unimp_bench.errors import ConfigError, IncompleteError
from unimp_bench.schemas import SCORES

_AT_ONCE = 30_000_000  # values held at a time: 240 MB

Group = tuple[str, str]  # metric and cohort
Part = tuple[pl.Series, NDArray[np.float64]]  # examples, ascending, and their values


@dataclass(frozen=True)
class Values:
    """Values `(n, systems)` of one metric and cohort; row i is example `example_id[i]`, ascending."""

    example_id: pl.Series
    values: NDArray[np.float64]


def example_values(folders: Sequence[Sequence[Path]], metric: str, cohort: str) -> Values:
    """One metric's values of several systems on the examples of a cohort that all of them were asked.

    Args:
        folders: for each system its run folders, one a seed; seeds are averaged within examples.
        metric: name of the metric; for "root_mean" metrics the values are squares.
        cohort: name of the cohort.

    Raises:
        ConfigError: there is no such example.
        IncompleteError: a run's scores cannot be read.
    """
    (found,) = (part.get((metric, cohort)) for part in grouped(folders, [metric]))
    if found is None:
        raise ConfigError(f"these runs share no {cohort} example with a value of {metric}; compare runs of one task")
    return found


def grouped(folders: Sequence[Sequence[Path]], metrics: Sequence[str]) -> Iterator[dict[Group, Values]]:
    """As `example_values`, by metric and cohort, as many metrics at a time as memory is meant for.

    Groups without a shared example are left out.

    Raises:
        IncompleteError: a run's scores cannot be read.
    """
    rows = sum(tables.count(folder / "scores.parquet") for seeds in folders for folder in seeds)
    at_once = max(1, _AT_ONCE * len(metrics) // max(1, rows))
    for start in range(0, len(metrics), at_once):
        wanted = metrics[start : start + at_once]
        ids: dict[str, pl.Series] = {}
        systems = [[_by_group(folder, wanted, ids) for folder in seeds] for seeds in folders]
        shared = set.intersection(*(set(run) for seeds in systems for run in seeds)) if systems else set()
        both = {group: _side_by_side([[run[group] for run in seeds] for seeds in systems]) for group in sorted(shared)}
        yield {group: values for group, values in both.items() if values is not None}


def _by_group(folder: Path, metrics: Sequence[str], ids: dict[str, pl.Series]) -> dict[Group, Part]:
    """Examples and values of one run without nulls, sorted by example, by metric and cohort.

    Equal examples of a cohort are one series, kept in `ids`: their names take far more memory than their values.
    """
    path = folder / "scores.parquet"
    wanted = pl.col("metric").is_in(list(metrics)) & pl.col("value").is_not_null()
    scores = tables.scan(path, SCORES).filter(wanted).sort("example_id").collect()
    if not scores["value"].is_finite().all():
        raise IncompleteError(f"{path} holds values that are not finite; run again with --force")
    found: dict[Group, Part] = {}
    parts = scores.partition_by("metric", "cohort", as_dict=True, maintain_order=True, include_key=False)
    for (metric, cohort), part in parts.items():
        first = ids.setdefault(str(cohort), part["example_id"])
        same = first if first.equals(part["example_id"]) else part["example_id"]
        found[str(metric), str(cohort)] = (same, part["value"].to_numpy().copy())
    return found


def _side_by_side(systems: Sequence[Sequence[Part]]) -> Values | None:
    runs = [run for seeds in systems for run in seeds]
    ids, columns = runs[0][0], [values for _, values in runs]
    if any(other is not ids and not other.equals(ids) for other, _ in runs):
        common = reduce(lambda left, right: left.join(right, on="id", how="semi"), [_named(other) for other, _ in runs])
        ids = common["id"].sort()
        columns = [values[other.is_in(ids.implode()).to_numpy()] for other, values in runs]
    if ids.is_empty():
        return None
    each = iter(columns)
    values = np.column_stack([np.mean([next(each) for _ in seeds], axis=0) for seeds in systems])
    return Values(ids, values)


def _named(ids: pl.Series) -> pl.DataFrame:
    return pl.DataFrame({"id": ids})
