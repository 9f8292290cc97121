"""The leaderboard: one row a (dataset, cohort, task, runner, metric), with everything one needs to distrust it.

Rows of different split hashes, dataset builds, variants, or versions of task or metric never stand in one table. Of
equal requests the newest run counts, of a runner's versions the newest, whatever their parameters; runs with a limit
never enter. Several seeds are one row: mean of the values, each computed for itself (an RMSE is never a root over all
seeds), and of the interval's ends, and the deviation of the values. The interval speaks of other users, the deviation
of other seeds; tiers want a difference to stand out against both.
`tier`, `letters` and `detectable` come from paired tests of all pairs of a table (see `tiers`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

import polars as pl

from unimp_bench.budget import Budget
from unimp_bench.dataset import CLEAN, Dataset, names
from unimp_bench.errors import IncompleteError
from unimp_bench.metrics.comparison import pool
from unimp_bench.metrics.spec import METRICS
from unimp_bench.places import Home
from unimp_bench.provenance import digest
from unimp_bench.results import Record, records
from unimp_bench.schemas import COHORTS
from unimp_bench.tasks.spec import TASKS
from unimp_bench.tiers import standings

COLUMNS: dict[str, type[pl.DataType]] = {
    "dataset": pl.String,
    "dataset_id": pl.String,
    "data_hash": pl.String,
    "split_hash": pl.String,
    "protocol": pl.String,
    "variant": pl.String,
    "task": pl.String,
    "task_version": pl.Int64,
    "cohort": pl.String,
    "metric": pl.String,
    "metric_version": pl.Int64,
    "runner": pl.String,
    "runner_version": pl.Int64,
    "reads_truth": pl.Boolean,
    "parameters": pl.String,  # JSON; with `budget` where there was one
    "parameters_hash": pl.String,
    "seeds": pl.String,  # comma-separated
    "value": pl.Float64,
    "deviation": pl.Float64,  # of the seeds' values; null for one seed
    "low": pl.Float64,
    "high": pl.Float64,
    "tier": pl.Int64,  # null for runners that read the truth, and for metrics without a paired test
    "letters": pl.String,  # rows of a table that share a letter are not separated
    "detectable": pl.Float64,  # smallest true difference to the best row that these examples show; null for that row
    "n": pl.Int64,
    "unanswered": pl.Int64,
    "budget": pl.String,  # null: as long as the parameters say
    "trials": pl.Int64,  # settings that were tried, the most of any seed; null without a budget
    "seconds_fit": pl.Float64,  # of all trials
    "seconds_predict": pl.Float64,
    "peak_megabytes": pl.Float64,
    "device": pl.String,
    "date": pl.String,
    "git_commit": pl.String,
}
_BUILD = ("dataset", "dataset_id", "data_hash", "split_hash", "protocol", "variant")
TABLE = (*_BUILD, "task", "task_version", "cohort", "metric", "metric_version")
LINE = ("runner", "parameters_hash")
_TESTED_TOGETHER = (*_BUILD, "task", "task_version")


def rows(home: Home, dataset: str | None = None, task: str | None = None) -> pl.DataFrame:
    """The leaderboard in the columns of `COLUMNS`; tables one after another, best value first in each.

    Raises:
        IncompleteError: a finished run's files cannot be read.
    """
    tested = []
    for _, group in groupby(_lines_of(home, dataset, task), key=lambda line: _key(line, *_TESTED_TOGETHER)):
        lines = list(group)
        tested += [line | asdict(found) for line, found in zip(lines, standings(home, lines), strict=True)]
    return pl.DataFrame([{name: line[name] for name in COLUMNS} for line in tested], schema=COLUMNS)


def run_folders(home: Home, dataset: str | None = None, task: str | None = None) -> dict[tuple[Any, ...], list[Path]]:
    """The run folders behind each row, one a seed, by the row's values of `TABLE` and `LINE`; errors as in `rows`."""
    return {_key(line, *TABLE, *LINE): line["folders"] for line in _lines_of(home, dataset, task)}


def _lines_of(home: Home, dataset: str | None, task: str | None) -> list[dict[str, Any]]:
    """Rows in their order, with `folders` and `hashes` of the runs behind them, without what tests say."""
    found = [line for run in records(home, dataset, task) if run.request["limit"] is None for line in _lines(run)]
    newest: dict[tuple[Any, ...], int] = {}
    for line in found:
        key = _key(line, *TABLE, "runner")
        newest[key] = max(line["runner_version"], newest.get(key, 0))
    lines: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for line in found:
        if line["runner_version"] == newest[_key(line, *TABLE, "runner")]:
            lines.setdefault(_key(line, *TABLE, *LINE), []).append(line)
    return sorted((_pooled(of_one) for of_one in lines.values()), key=_order)


def settings(request: Mapping[str, Any]) -> dict[str, Any]:
    """What tells runs of one runner apart: its parameters, and the budget where there was one."""
    budget = Budget.of(request.get("budget"))
    return {**request["parameters"], **({} if budget is None else {"budget": str(budget)})}


def settings_hash(request: Mapping[str, Any]) -> str:
    """The `parameters_hash` of a run's row."""
    return digest(settings(request))[:8]


def current(home: Home, board: pl.DataFrame) -> pl.DataFrame:
    """The rows without those of earlier builds of a dataset that stands there now."""
    standing = {name: Dataset.open(home, name) for name in names(home)}
    builds = {name: [data.manifest.id, data.data_hash] for name, data in standing.items()}
    keys = board.select("dataset", "dataset_id", "data_hash").iter_rows()
    return board.filter(pl.Series([builds.get(name, build) == build for name, *build in keys], dtype=pl.Boolean))


def _key(line: dict[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(line[name] for name in names)


def _lines(run: Record) -> list[dict[str, Any]]:
    """One run's rows, with a single seed.

    Raises:
        IncompleteError: the run was written by another version of this package.
    """
    try:
        return _rows_of(run)
    except (KeyError, TypeError):
        raise IncompleteError(f"{run.folder} is of another version of unimp-bench; remove it and run again") from None


def _rows_of(run: Record) -> list[dict[str, Any]]:
    request, manifest = run.request, run.manifest
    strangers = {row["metric"] for row in run.metrics} - set(METRICS) | {row["slice"] for row in run.metrics} - {
        *COHORTS
    }
    if strangers or request["task"] not in TASKS:
        raise KeyError(*strangers)
    shared = {
        **{name: request[name] for name in (*_BUILD, "task", "task_version")},
        **{name: request[name] for name in ("runner", "runner_version", "reads_truth", "seed")},
        "parameters": json.dumps(settings(request), sort_keys=True, default=str),
        "parameters_hash": settings_hash(request),
        "budget": str(Budget.of(request["budget"])) if request.get("budget") else None,
        "trials": manifest.facts.get("trials"),
        "seconds_fit": manifest.seconds["fit"],
        "seconds_predict": manifest.seconds["predict"],
        "peak_megabytes": manifest.facts["peak_megabytes"],
        "device": manifest.facts["device"],
        "date": manifest.created,
        "git_commit": manifest.git_commit,
        "folder": run.folder,
        "hash": manifest.outputs.get("scores.parquet", ""),
    }
    own = ("metric", "value", "low", "high", "n", "unanswered")
    return [
        {
            **shared,
            "cohort": row["slice"],
            "metric_version": manifest.facts["metrics"][row["metric"]],
            **{name: row[name] for name in own},
        }
        for row in run.metrics
    ]


def _pooled(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Several seeds of one runner as one row."""
    by_seed = {line["seed"]: line for line in sorted(lines, key=lambda line: str(line["date"]))}  # the newest of each
    seeds = [by_seed[seed] for seed in sorted(by_seed)]
    values = [line["value"] for line in seeds]
    pooled = None if None in values else pool(values)
    last = max(seeds, key=lambda line: str(line["date"]))
    return {
        **{name: last[name] for name in COLUMNS if name in last},
        "seeds": ",".join(str(line["seed"]) for line in seeds),
        "value": pooled.mean if pooled else None,
        "deviation": pooled.deviation if pooled else None,
        "low": _mean([line["low"] for line in seeds]),
        "high": _mean([line["high"] for line in seeds]),
        "unanswered": max(line["unanswered"] for line in seeds),
        "trials": max((line["trials"] or 0 for line in seeds), default=0) or None,
        "seconds_fit": round(sum(line["seconds_fit"] for line in seeds), 3),
        "seconds_predict": round(sum(line["seconds_predict"] for line in seeds), 3),
        "peak_megabytes": max(line["peak_megabytes"] for line in seeds),
        "folders": [line["folder"] for line in seeds],
        "hashes": [line["hash"] for line in seeds],
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _order(line: dict[str, Any]) -> tuple[Any, ...]:
    """Tables in the order of tasks, cohorts and metrics as they are declared; the best first, no value last."""
    spec = METRICS[line["metric"]]
    value = line["value"]
    quality = float("inf") if value is None else -value if spec.higher_is_better else value
    return (
        line["dataset"],
        line["split_hash"],
        line["dataset_id"],
        line["data_hash"],
        line["variant"] != CLEAN,
        line["variant"],
        list(TASKS).index(line["task"]),
        line["task_version"],
        COHORTS.index(line["cohort"]),
        line["metric"] != TASKS[line["task"]].metric,
        list(METRICS).index(line["metric"]),
        line["metric_version"],
        quality,
        line["runner"],
        line["parameters_hash"],
    )
