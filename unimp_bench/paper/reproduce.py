"""A printed table beside measured values: run what is missing within a budget, then print both.

Paper and toolkit differ in data, split and candidates, so equality is no aim; orderings are.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from unimp_bench import execute, results
from unimp_bench.budget import Budget
from unimp_bench.dataset import Dataset
from unimp_bench.errors import ConfigError, UnimpBenchError, UnknownNameError, concerns_all, in_one_line
from unimp_bench.paper.feasibility import feasible
from unimp_bench.paper.tables import PAPER_TABLES, PaperTable, Row
from unimp_bench.places import Home
from unimp_bench.progress import Progress, Silent
from unimp_bench.provenance import read_manifest
from unimp_bench.published import PAPER, PUBLIC_5_CORE
from unimp_bench.runners import registry

Measured = tuple[Mapping[str, Any], str]  # (value, low, high) by metric, and why there are none where there are none

COLUMNS: Mapping[str, type[pl.DataType]] = {
    "table": pl.String,
    "system": pl.String,
    "metric": pl.String,
    "printed": pl.Float64,
    "printed_is_possible": pl.Boolean,  # null where the question does not arise
    "measured": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "remark": pl.String,
}


def table(
    home: Home, dataset: str, name: str, *, budget_seconds: float = 600, progress: Progress | None = None
) -> pl.DataFrame:
    """Printed and measured values of one of the paper's tables, in `COLUMNS`, in the order of print.

    Rows that were run before, with whatever budget, cost nothing. All others share the budget equally as a limit to
    their training. A run is started only while the budget lasts, and one that has started is finished; so those that
    cannot keep to a limit come last. A run that fails is a remark.

    Raises:
        UnknownNameError: no such table or dataset.
    """
    if name not in PAPER_TABLES:
        raise UnknownNameError("table", name, [*PAPER_TABLES, "table5"])
    data = Dataset.open(home, dataset)
    rows = [(part, row) for part in PAPER_TABLES[name] for row in part.rows]
    found = _measured(home, data, rows, budget_seconds, progress or Silent())
    lines = [
        line for (part, row), (values, why) in zip(rows, found, strict=True) for line in _lines(part, row, values, why)
    ]
    return pl.DataFrame(lines, schema=dict(COLUMNS), orient="row")


def notes(name: str) -> list[str]:
    """What a reader must know before comparing."""
    found = [note for part in PAPER_TABLES[name] for note in part.notes]
    return [*dict.fromkeys(found), "'impossible' rows cannot come from one list of hits, whatever the data"]


def counts(home: Home, dataset: str) -> pl.DataFrame:
    """Table 5: users, items and interactions a domain, as printed, in the public 5-core files, and here."""
    domains = Dataset.open(home, dataset).manifest.facts["counts"]["by_domain"]
    lines = []
    for domain, printed in PAPER.items():
        here = domains.get(domain, {})
        for what in ("users", "items", "interactions"):
            public = getattr(PUBLIC_5_CORE[domain], what)
            lines.append((domain, what, getattr(printed, what), public, here.get(what)))
    columns = {"domain": pl.String, "count": pl.String}
    numbers = dict.fromkeys(("printed", "public_5_core", "here"), pl.Int64)
    return pl.DataFrame(lines, schema={**columns, **numbers}, orient="row")


def _lines(part: PaperTable, row: Row, measured: Mapping[str, Any], remark: str) -> list[tuple[Any, ...]]:
    printed = dict(zip(part.metrics, row.values, strict=True))
    possible = feasible(printed)
    return [
        (part.name, row.label, metric, value, possible, *measured.get(metric, (None, None, None)), remark)
        for metric, value in printed.items()
    ]


def _measured(
    home: Home, data: Dataset, rows: Sequence[tuple[PaperTable, Row]], seconds: float, progress: Progress
) -> list[Measured]:
    """What is measured of each row."""
    deadline = time.monotonic() + seconds
    found: dict[int, Measured] = {}
    for number, (part, row) in enumerate(rows):
        known = _known(home, data, part, row, progress)
        if known is not None:
            found[number] = known
    missing = [number for number in range(len(rows)) if number not in found]
    share = Budget(float(max(1, seconds // max(1, len(missing)))))
    for number in sorted(missing, key=lambda number: not _is_budgeted(rows[number][1])):
        part, row = rows[number]
        late = time.monotonic() > deadline
        found[number] = ({}, "the budget was spent before") if late else _run(home, data, part, row, share, progress)
    return [found[number] for number in range(len(rows))]


def _known(home: Home, data: Dataset, part: PaperTable, row: Row, progress: Progress) -> Measured | None:
    """What can be said of a row without learning anything; None where it has to be run."""
    try:
        if obstacle := _obstacle(data, part, row):
            return {}, obstacle
        assert row.runner is not None
        job = execute.prepare(home, data.name, part.task, row.runner, row.parameters or {}, 0, None, row.variant, None)
    except UnimpBenchError as error:  # the runner cannot be imported, or does not claim that task
        return {}, str(error)
    wanted = _apart_from_budget(json.loads(json.dumps(job.request, default=str)))
    same = [run for run in results.records(home, data.name, part.task) if _apart_from_budget(run.request) == wanted]
    for run in sorted(same, key=lambda run: run.request.get("budget") is not None):
        return _run(home, data, part, row, Budget.of(run.request.get("budget")), progress)
    return None


def _apart_from_budget(request: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in request.items() if key not in ("budget", "searched")}


def _is_budgeted(row: Row) -> bool:
    """Whether the row's runner keeps to a limit of time."""
    assert row.runner is not None
    return registry.is_budgeted(registry.runner_class(row.runner))


def _run(home: Home, data: Dataset, part: PaperTable, row: Row, budget: Budget | None, progress: Progress) -> Measured:
    """Run a row, or find its run."""
    assert row.runner is not None
    try:
        folder = execute.run(
            home,
            data.name,
            part.task,
            row.runner,
            parameters=row.parameters or {},
            variant=row.variant,
            budget=budget if _is_budgeted(row) else None,
            progress=progress,
        )
    except Exception as error:  # of whatever kind: one system's fault is not the table's
        if concerns_all(error):
            raise
        progress.finish()
        return {}, in_one_line(error)
    rows = json.loads((folder / "metrics.json").read_text())["metrics"]
    found = {r["metric"]: (r["value"], r["low"], r["high"]) for r in rows if r["slice"] == part.cohort}
    return found, "" if found else f"the runner has no answer for {part.cohort}"


def _obstacle(data: Dataset, part: PaperTable, row: Row) -> str:
    """What is missing for a row; empty if nothing is."""
    if row.runner is None or row.runner not in registry.names():
        return "no such runner is installed"
    if part.task not in data.tasks:
        return f"the dataset has no {part.task}"
    if row.variant not in data.variants():
        return f"the dataset has no variant {row.variant}: build it with --noise {row.variant.partition('-')[0]}"
    known = registry.parameters(registry.runner_class(row.runner))
    unknown = sorted(set(row.parameters or {}) - set(known))
    if unknown:
        return f"the runner has no parameter {unknown[0]}"
    return ""


def find_run(home: Home, name: str) -> results.Record:
    """The finished run of that id, the beginning of one, or a folder.

    Raises:
        UnknownNameError: there is none, or several.
    """
    folder = Path(name)
    runs = results.records(home)
    if folder.is_dir():
        near = [run for run in runs if run.folder.resolve() == folder.resolve()]
    else:
        near = [run for run in runs if run.manifest.id.startswith(name)] if len(name) >= 4 else []
    if len(near) != 1:
        raise UnknownNameError("run", name, [run.manifest.id for run in runs])
    return near[0]


def repeat(home: Home, name: str, scratch: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Make a finished run again in a home of its own and compare.

    Returns `verdict` ("bit for bit", "within the interval" or "outside the interval"), `run_id`, and for every metric
    and cohort that differs its old and new value.

    Raises:
        UnknownNameError: no such run.
        ConfigError: the dataset was built anew since, or the run scored somebody's file.
    """
    old = find_run(home, name)
    asked = old.request
    if asked["runner"].startswith("file:"):
        raise ConfigError(f"run {old.manifest.id} scored a file of predictions; score the file again instead")
    data = Dataset.open(home, asked["dataset"])
    if data.manifest.id != asked["dataset_id"]:
        raise ConfigError(f"{data.name} was built anew since that run; build the old request to repeat it")
    (scratch / "data").mkdir(parents=True, exist_ok=True)
    (scratch / "data" / data.name).symlink_to(data.folder.resolve(), target_is_directory=True)
    if home.models.is_dir():  # what the old scores stood on
        (scratch / "models").symlink_to(home.models.resolve(), target_is_directory=True)
    new = execute.run(
        Home(scratch),
        data.name,
        asked["task"],
        asked["runner"],
        parameters={k: str(v) for k, v in asked["parameters"].items() if k not in asked.get("searched", ())},
        seed=asked["seed"],
        limit=asked["limit"],
        variant=asked["variant"],
        budget=Budget.of(asked.get("budget")),
        progress=progress,
    )
    return {"run_id": old.manifest.id, **_compared(old, new)}


def _compared(old: results.Record, new: Path) -> dict[str, Any]:
    manifest = read_manifest(new)
    assert manifest is not None
    files = ("predictions.parquet", "scores.parquet")
    if all(old.manifest.outputs[file] == manifest.outputs[file] for file in files):
        return {"verdict": "bit for bit", "differences": []}
    fresh = {(r["metric"], r["slice"]): r["value"] for r in json.loads((new / "metrics.json").read_text())["metrics"]}
    differences, inside = [], True
    for row in old.metrics:
        value = fresh.get((row["metric"], row["slice"]))
        if value == row["value"]:
            continue
        differences.append({**{key: row[key] for key in ("metric", "slice", "value", "low", "high")}, "again": value})
        inside &= value is not None and row["low"] is not None and row["low"] <= value <= row["high"]
    return {"verdict": "within the interval" if inside else "outside the interval", "differences": differences}
