"""Two runs of one task beside each other: what was asked differently, which data, which values, which users.

Values are compared example by example and only where that means something: the same split, the same files, the same
version of task and metric. A run with a limit is compared on the examples that both answered; a metric whose values
depend on the whole cohort then has no difference.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from unimp_bench import tables
from unimp_bench.dataset import CLEAN
from unimp_bench.errors import ConfigError, IncompleteError, UnknownNameError
from unimp_bench.metrics import comparison
from unimp_bench.metrics.comparison import Difference
from unimp_bench.metrics.spec import METRICS
from unimp_bench.paired import Group, Values, grouped
from unimp_bench.places import Home
from unimp_bench.provenance import MANIFEST, read_manifest
from unimp_bench.results import Record, records
from unimp_bench.schemas import COHORTS, SCORES
from unimp_bench.tasks.spec import TASKS

_DATA = ("dataset", "dataset_id", "data_hash", "split_hash", "protocol", "task_version")
_MUST_AGREE = ("task", "task_version", "split_hash", "data_hash")
_ID_DIGITS = 16
_TEXTS, _NUMBERS = ("example_id", "user_id", "cohort"), ("a", "b", "gain")
_NOBODY = pl.DataFrame(schema={**dict.fromkeys(_TEXTS, pl.String), **dict.fromkeys(_NUMBERS, pl.Float64)})


@dataclass(frozen=True)
class Row:
    """One metric of one cohort in both runs; `difference` is A minus B, None where `why_not` says why."""

    metric: str
    cohort: str
    a: float | None
    b: float | None
    difference: Difference | None
    why_not: str = ""


@dataclass(frozen=True)
class Contrast:
    """What two runs have in common and what not.

    `configuration` and `data` hold (name, in A, in B) of what differs. `users` has example_id, user_id, cohort, and of
    `metric` a, b and `gain` (of A over B, positive where A is better), the largest gain first.
    """

    a: Record
    b: Record
    configuration: tuple[tuple[str, str, str], ...]
    data: tuple[tuple[str, str, str], ...]
    rows: tuple[Row, ...]
    metric: str
    users: pl.DataFrame
    alone: tuple[int, int]  # examples that only A, only B answered


def find(home: Home, text: str, dataset: str | None = None, task: str | None = None) -> Record:
    """The run that a folder, a run id or its beginning, or a runner's name means; of several of a runner the newest.

    Runs on clean items come before runs on variants; `runner@variant` means those on a variant or probe alone.

    Raises:
        UnknownNameError: nothing is called so.
        ConfigError: it means runs of several datasets or tasks, or the beginning of several ids.
        IncompleteError: the folder holds no finished run.
    """
    folder = Path(text)
    if folder.is_dir() and ("/" in text or (folder / MANIFEST).exists() or (folder / "run.json").exists()):
        if not (folder / MANIFEST).is_file():
            raise IncompleteError(f"{folder} has no {MANIFEST}: no finished run; run it again, or name another folder")
        return _record(folder)
    known = records(home, dataset, task)
    by_id = [run for run in known if run.folder.name.startswith(text)] if len(text) >= 4 else []
    if len(by_id) == 1:
        return by_id[0]
    if by_id:
        raise ConfigError(f"run id '{text}' is the beginning of {len(by_id)} ids; give more of its {_ID_DIGITS} digits")
    runner, at, variant = text.partition("@")
    whole = [run for run in known if run.request["limit"] is None and (not at or run.request["variant"] == variant)]
    named = [run for run in whole if run.request["runner"] == runner]
    if not named:
        whole = [run for run in known if run.request["limit"] is None]
        names = {run.request["runner"] + (f"@{run.request['variant']}" if at else "") for run in whole}
        raise UnknownNameError("run or runner", text, names)
    for key in ("dataset", "task"):
        found = sorted({str(run.request[key]) for run in named})
        if len(found) > 1:
            raise ConfigError(f"runner '{runner}' ran on {', '.join(found)}; choose one by --{key}")
    named = [run for run in named if run.request["variant"] == CLEAN] or named
    return max(named, key=lambda run: (str(run.manifest.created), run.folder.name))


def _record(folder: Path) -> Record:
    manifest = read_manifest(folder)
    try:
        metrics = json.loads((folder / "metrics.json").read_text())["metrics"]
    except (OSError, ValueError, KeyError):
        metrics = None
    if manifest is None or manifest.kind != "run" or metrics is None:
        raise IncompleteError(f"{folder} holds no run of unimp-bench; name a folder below runs/")
    return Record(folder, manifest, tuple(metrics))


def contrast(a: Record, b: Record, *, metric: str | None = None, seed: int = 0) -> Contrast:
    """Put two runs beside each other.

    Args:
        a: one run.
        b: the other; gains and differences are A over B.
        metric: by which users are ordered; the task's first if None.
        seed: of the intervals and tests.

    Raises:
        ConfigError: the runs answer different tasks, or different metrics were asked for.
        UnknownNameError: the runs have no such metric.
        IncompleteError: a run's scores cannot be read.
    """
    left, right = a.request, b.request
    if left["task"] != right["task"]:
        raise ConfigError(f"one run answers {left['task']}, the other {right['task']}; compare runs of one task")
    metrics = list(dict.fromkeys(row["metric"] for row in (*a.metrics, *b.metrics)))
    metric = metric or TASKS[left["task"]].metric
    if metric not in metrics:
        raise UnknownNameError("metric", metric, metrics)
    reasons = [f"{name.replace('_', ' ')} differs" for name in _MUST_AGREE if left[name] != right[name]]
    first, second = _examples(a), _examples(b)
    alone = (
        first.join(second, on="example_id", how="anti").height,
        second.join(first, on="example_id", how="anti").height,
    )
    tested: dict[Group, Difference] = {}
    users = []
    for part in () if reasons else grouped([[a.folder], [b.folder]], metrics):
        for group, both in part.items():
            if not _why_not(a, b, group[0], sum(alone)) and len(both.values) > 1:
                left_values, right_values = both.values.T
                spec = METRICS[group[0]]
                tested[group] = comparison.difference(left_values, right_values, spec.aggregate, seed=seed)
            if group[0] == metric:
                users.append(_gains(both, *group))
    rows = [
        Row(name, cohort, *values, tested.get((name, cohort)), why_not)
        for name in metrics
        for cohort in COHORTS
        if (values := (_value(a, name, cohort), _value(b, name, cohort))) != (None, None)
        for why_not in ["" if (name, cohort) in tested else ", ".join(reasons) or _why_not(a, b, name, sum(alone))]
    ]
    gains = pl.concat(users).sort("gain", "example_id", descending=[True, False]) if users else _NOBODY
    return Contrast(a, b, *_differing(a, b), tuple(rows), metric, gains, alone)


def _examples(run: Record) -> pl.DataFrame:
    """Ids of the examples that a run was asked."""
    path = run.folder / "scores.parquet"
    return tables.scan(path, SCORES).select("example_id").unique().collect()


def _why_not(a: Record, b: Record, metric: str, alone: int) -> str:
    """Why a metric has no paired test; empty if it has."""
    spec = METRICS.get(metric)
    versions = [run.manifest.facts["metrics"].get(metric) for run in (a, b)]
    if spec is None or versions[0] != versions[1]:
        return "versions of the metric differ; run again"
    if spec.aggregate not in comparison.TESTABLE or not spec.has_interval:
        return "a number of the whole set, without a test"
    if spec.by_cohort and alone:
        return "needs the same examples"
    return ""


def _value(run: Record, metric: str, cohort: str) -> float | None:
    found = [row["value"] for row in run.metrics if (row["metric"], row["slice"]) == (metric, cohort)]
    return found[0] if found else None


def _gains(both: Values, metric: str, cohort: str) -> pl.DataFrame:
    """What each user of a cohort gains; users are what comes before the place in an example's id."""
    left, right = both.values.T
    gain = left - right if METRICS[metric].higher_is_better else right - left
    user = both.example_id.str.replace(r":\d+$", "")
    columns = (both.example_id, user, [cohort] * len(left), left, right, gain)
    return pl.DataFrame(dict(zip(_NOBODY.columns, columns, strict=True)), schema=_NOBODY.schema)


def _differing(a: Record, b: Record) -> tuple[tuple[tuple[str, str, str], ...], tuple[tuple[str, str, str], ...]]:
    """What differs in the configuration, and what in the data."""
    requests = [_flat(run.request) for run in (a, b)]
    surroundings = [
        {
            **{f"versions.{name}": value for name, value in run.manifest.versions.items()},
            "git_commit": run.manifest.git_commit,
            "device": run.manifest.facts.get("device"),
        }
        for run in (a, b)
    ]
    left, right = ({**request, **around} for request, around in zip(requests, surroundings, strict=True))
    names = [name for name in dict.fromkeys([*left, *right]) if left.get(name) != right.get(name)]
    lines = [(name, _said(left, name), _said(right, name)) for name in names]
    of_data = tuple(line for line in lines if line[0] in _DATA)
    return tuple(line for line in lines if line[0] not in _DATA), of_data


def _flat(request: Mapping[str, Any]) -> dict[str, Any]:
    parameters = {f"parameters.{key}": value for key, value in dict(request["parameters"]).items()}
    return {**{key: value for key, value in request.items() if key != "parameters"}, **parameters}


def _said(values: Mapping[str, Any], name: str) -> str:
    return str(values[name]) if name in values and values[name] is not None else "-"
