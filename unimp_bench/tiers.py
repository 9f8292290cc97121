"""Which rows of a table the data can tell apart: paired tests of all pairs, corrected, as tiers and letters.

Rows of several seeds are told apart only if the difference is also large beside the spread of their seeds.

Tests are made once and kept under `runs/.tiers/`, one small file a table, until the set of runs changes. Runners that
read the synthetic shop's truth are ceilings: they take no part and have no tier.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unimp_bench import paired
from unimp_bench.metrics import comparison, standing
from unimp_bench.metrics.comparison import Pooled
from unimp_bench.metrics.spec import METRICS
from unimp_bench.places import Home, atomic
from unimp_bench.provenance import digest

_VERSION = 2  # raised when tests or tiers change

Row = Mapping[str, Any]  # a leaderboard row with `folders` and `hashes` of the runs behind it
Seeds = tuple[Path, ...]  # the run folders of one system
Columns = NDArray[np.float64]


@dataclass(frozen=True)
class Standing:
    """What the tests say of one row.

    `detectable`: smallest true difference to the table's best row that its examples show with a power of 80 %, seeds
    as they are; None for the best row itself.
    """

    tier: int | None = None
    letters: str | None = None
    detectable: float | None = None


def standings(home: Home, table: Sequence[Row]) -> list[Standing]:
    """The standing of each row of some tables that share everything but metric and cohort.

    Args:
        home: where the results of the tests are kept.
        table: rows of one dataset build, variant, task and task version, best first within metric and cohort.

    Raises:
        IncompleteError: a run's scores cannot be read.
    """
    judged = [row for row in table if _takes_part(row)]
    made_of = digest([_VERSION, [[_key(row), row["metric_version"], row["value"], row["hashes"]] for row in judged]])
    path = home.runs / ".tiers" / f"{_name(table)}.json"
    known = _kept(path, made_of)
    if known is None:
        known = _tested(judged)
        _keep(path, made_of, known)
    return [known.get(_key(row), Standing()) if _takes_part(row) else Standing() for row in table]


def _takes_part(row: Row) -> bool:
    return METRICS[row["metric"]].has_interval and not row["reads_truth"] and row["value"] is not None


def _key(row: Row) -> str:
    names = ("metric", "metric_version", "cohort", "runner", "parameters_hash")
    return " ".join(str(row[name]) for name in names)


def _name(table: Sequence[Row]) -> str:
    shared = ("dataset", "dataset_id", "data_hash", "split_hash", "protocol", "variant", "task", "task_version")
    return digest([table[0][name] for name in shared]) if table else "empty"


def _kept(path: Path, made_of: str) -> dict[str, Standing] | None:
    """What was found before for exactly these runs; a file that cannot be read is no loss."""
    try:
        kept = json.loads(path.read_text())
        found = {key: Standing(**of_row) for key, of_row in kept["standings"].items()}
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return found if kept.get("made_of") == made_of else None


def _keep(path: Path, made_of: str, found: Mapping[str, Standing]) -> None:
    text = json.dumps({"made_of": made_of, "standings": {key: asdict(of_row) for key, of_row in found.items()}})
    try:
        with atomic(path) as draft:
            draft.write_text(text)
    except OSError:  # somebody else's folder, or a full disk: the leaderboard needs no more than time
        return


def _tested(rows: Sequence[Row]) -> dict[str, Standing]:
    found: dict[str, Standing] = {}
    tables: dict[tuple[str, int, str], list[Row]] = {}
    for row in rows:
        tables.setdefault((row["metric"], row["metric_version"], row["cohort"]), []).append(row)
    # Runs are read once for all tables in which the same ones stand, whatever their order there.
    together: dict[frozenset[Seeds], list[list[Row]]] = {}
    for of_table in tables.values():
        together.setdefault(frozenset(map(_seeds, of_table)), []).append(of_table)
    for members in together.values():
        systems = list(map(_seeds, members[0]))
        by_group = {(of_table[0]["metric"], of_table[0]["cohort"]): of_table for of_table in members}
        metrics = list(dict.fromkeys(metric for metric, _ in by_group))
        for part in paired.grouped(systems, metrics):
            found.update(_of_tables([(by_group[group], part[group]) for group in by_group if group in part], systems))
    return found


def _seeds(row: Row) -> Seeds:
    return tuple(row["folders"])


def _of_tables(tables: Sequence[tuple[list[Row], paired.Values]], systems: Sequence[Seeds]) -> dict[str, Standing]:
    """Standings of the rows of tables of the same systems, from values `(examples, systems)` in the order given."""
    by_length: dict[int, list[tuple[list[Row], Columns]]] = {}
    for rows, of_systems in tables:
        order = [systems.index(_seeds(row)) for row in rows]
        by_length.setdefault(len(of_systems.values), []).append((rows, of_systems.values[:, order]))
    found: dict[str, Standing] = {}
    for alike in by_length.values():
        tested = [(values, METRICS[rows[0]["metric"]].aggregate) for rows, values in alike]
        for (rows, values), p in zip(alike, comparison.p_values_of_many(tested), strict=True):
            found.update(_of_table(rows, values, p))
    return found


def _of_table(rows: Sequence[Row], values: Columns, p: Columns) -> dict[str, Standing]:
    """Standings of the rows of one table, best first, from their values `(examples, rows)` and p-values."""
    aggregate = METRICS[rows[0]["metric"]].aggregate
    pooled = [Pooled(row["value"], row["deviation"], len(row["folders"])) for row in rows]
    separated = standing.holm(comparison.with_seeds(p, values, aggregate, pooled)) < standing.LEVEL
    tiers, letters = standing.tiers(separated), standing.letters(separated)
    best, enough = values[:, 0], len(values) > 1
    return {
        _key(row): Standing(
            tiers[at], letters[at], comparison.detectable(best, values[:, at], aggregate) if at and enough else None
        )
        for at, row in enumerate(rows)
    }
