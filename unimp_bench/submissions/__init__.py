"""Somebody's predictions file, scored as if a runner had answered: read, checked row by row, kept as a run.

The file's answers go through the same gate as a runner's ready lists: what the user already had and items of other
cohorts' catalogues are taken out of everybody's rankings alike. Everything else that is wrong is named with its row and
nothing is scored; the one thing that may be forgiven is an example without an answer, and only where that is declared.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from unimp_bench import check, scoring, tables
from unimp_bench.answers import LISTED, Asked
from unimp_bench.dataset import CLEAN, Dataset
from unimp_bench.errors import ConfigError, PredictionError, UnknownNameError
from unimp_bench.finishing import finish
from unimp_bench.meter import Logged
from unimp_bench.places import Home, atomic, remove, safe_name, sweep
from unimp_bench.progress import Progress, Silent
from unimp_bench.provenance import digest, read_manifest, sha256, versions
from unimp_bench.schemas import COHORTS, PREDICTIONS, conform
from unimp_bench.submissions.faults import FaultyFileError, gathered
from unimp_bench.submissions.reading import Cells, read
from unimp_bench.tasks.spec import TASKS, TaskSpec

MISSING = ("error", "zero")
_VERSION = 1  # of what becomes of a file between its bytes and its scores
_ROWS = 8_192  # answers checked at a time: a list of 100 items is 100 rows


def score(
    home: Home,
    dataset: str,
    task: str,
    path: Path,
    *,
    name: str | None = None,
    missing: str = "error",
    cohorts: Sequence[str] | None = None,
    seed: int = 0,
    variant: str = CLEAN,
    separator: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Score a predictions file and keep it as a run of runner `file:<name>`; returns the run's folder.

    Args:
        home: where data and runs stand.
        dataset: name of a built dataset.
        task: one of `TASKS` that the dataset yields.
        path: Parquet, CSV or JSON lines with `example_id` and the answer column of the task.
        name: what the leaderboard calls it; the file's own name if None.
        missing: "error" refuses a file without an answer for each example, "zero" counts these as unanswered.
        cohorts: what the system answers for; others are not asked; None: all.
        seed: files of one name and several seeds become one row of the leaderboard.
        variant: the noise variant of the items that the predictions were made on.
        separator: between items of a list in text; None finds it.
        progress: told what happens.

    Raises:
        UnknownNameError: no such dataset, task, cohort, variant or rule.
        ConfigError: the dataset does not yield the task, or no such cohort is tested.
        InputError: the file cannot be read at all.
        FaultyFileError: rows of the file are wrong; nothing is kept then.
    """
    progress = progress or Silent()
    data, spec = _opened(home, dataset, task, variant)
    cohorts = COHORTS if cohorts is None else cohorts
    for kind, given, known in (("rule for missing answers", [missing], MISSING), ("cohort", cohorts, COHORTS)):
        for one in given:
            if one not in known:
                raise UnknownNameError(kind, one, known)
    examples = data.examples(task, "test").filter(pl.col("cohort").is_in(list(cohorts))).sort("example_id").collect()
    if examples.height == 0:
        raise ConfigError(f"{task} of {dataset} has no test example of {', '.join(cohorts) or 'no cohort'}")
    cells = read(path, spec.answer, separator, progress)
    request = _request(data, spec, name or path.name.split(".")[0], seed, variant)
    request |= {"file_sha256": sha256(path), "missing": missing, "cohorts": [c for c in COHORTS if c in cohorts]}
    folder = home.run(data.name, task, request["runner"], digest(request))
    answered = _checked(data, spec, examples, cells, path, missing, progress)
    present = set(data.examples(task, "test").select("cohort").unique().collect()["cohort"])
    with home.locked("run", digest(request)):
        done = read_manifest(folder)
        models = scoring.models_at(home.models, task)
        if done is not None and all(done.facts.get(k) == now for k, now in scoring.basis(task, models).items()):
            progress.say(f"{path} is scored already: {folder}")
            return folder
        remove(folder)
        folder.mkdir(parents=True)
        sweep(folder)
        with atomic(folder / "run.json") as draft:
            draft.write_text(json.dumps({"request": request, "versions": versions()}, indent=1, sort_keys=True) + "\n")
        tables.write(answered, folder / "predictions.parquet", PREDICTIONS[spec.answer])
        logged = Logged(progress, folder / "log.txt")
        logged.note(f"{answered.height} answers from {path.name}")
        finish(
            folder,
            request,
            data,
            logged,
            answered,
            examples,
            models,
            seconds={"fit": 0.0, "predict": 0.0},
            facts={
                "device": "not measured",  # somebody else's machine, as are seconds and memory
                "measured": False,
                "peak_megabytes": 0.0,
                "not_applicable": [c for c in COHORTS if c in present and c not in cohorts],
            },
            inputs={f"data/{data.name}": data.manifest.id},
        )
    return folder


def _opened(home: Home, dataset: str, task: str, variant: str) -> tuple[Dataset, TaskSpec]:
    if task not in TASKS:
        raise UnknownNameError("task", task, TASKS)
    data = Dataset.open(home, dataset)
    if task not in data.tasks:
        reason = data.manifest.facts.get("skipped_tasks", {}).get(task, "the dataset was built without it")
        raise ConfigError(f"{dataset} has no task {task}: {reason}; it has {', '.join(data.tasks)}")
    if variant not in data.variants():
        raise UnknownNameError("variant", variant, data.variants())
    return data, TASKS[task]


def _request(data: Dataset, spec: TaskSpec, name: str, seed: int, variant: str) -> dict[str, Any]:
    """What names the run, in the keys that every run has; what was asked of a file is no parameter of its system."""
    present = None if variant == CLEAN else read_manifest(data.folder / "variants" / variant)
    return {
        "kind": "run",
        "dataset": data.name,
        "dataset_id": data.manifest.id,
        "data_hash": data.data_hash,
        "split_hash": data.split_hash,
        "protocol": data.manifest.facts["protocol"],
        "task": spec.name,
        "task_version": data.tasks[spec.name]["version"],
        "runner": f"file:{safe_name(name, 'name')}",
        "runner_version": _VERSION,
        "reads_truth": False,
        "parameters": {},
        "seed": seed,
        "fitted_tasks": [],
        "limit": None,
        "variant": variant,
        "variant_id": present.id if present else None,
        "table_version": PREDICTIONS[spec.answer].version,
    }


def _checked(
    data: Dataset,
    spec: TaskSpec,
    examples: pl.DataFrame,
    cells: Cells,
    path: Path,
    missing: str,
    progress: Progress,
) -> pl.DataFrame:
    """The answers as a runner's would be: masked, checked, one for each example, sorted by example."""
    view, kind, frame = data.catalogue(), spec.answer, cells.frame
    if cells.ignored:
        progress.say(f"columns that say nothing here: {', '.join(cells.ignored)}")
    found = [*cells.faults, *check.keys(frame, examples)]
    forgiven = [fault for fault in found if fault.what == check.UNANSWERED] if missing == "zero" else []
    found = [fault for fault in found if fault not in forgiven]
    progress.start(f"checking {path.name}", frame.height, "answers")
    for part in frame.iter_slices(_ROWS):
        found += check.contents(part, kind, examples, view)
        progress.advance(part.height)
    progress.finish()
    if found:
        raise FaultyFileError(path, gathered(found), frame.height)
    if frame.height == 0:
        raise PredictionError(f"{path} answers none of {examples.height} examples; nothing is scored")
    nothing = [conform(fault.rows, PREDICTIONS[kind].columns) for fault in forgiven]
    if nothing:
        progress.say(f"{nothing[0].height:,} of {examples.height:,} examples have no answer and count as unanswered")
    whole = pl.concat([conform(frame, PREDICTIONS[kind].columns), *nothing])
    parts = []
    for chunk in examples.iter_slices(_ROWS):
        asked = Asked.of(kind, chunk, view, data, 0)
        said = whole.join(chunk.select("example_id"), on="example_id", how="semi")
        parts.append(asked.checked(list(asked.settle(iter([said])))))
    kept = pl.concat(parts)
    if kind == "ranking":
        _say_what_was_masked(whole, kept, progress)
    return kept


def _say_what_was_masked(whole: pl.DataFrame, kept: pl.DataFrame, progress: Progress) -> None:
    before = pl.col("item_ids").list.len().fill_null(0).clip(upper_bound=LISTED)
    counts = (
        whole.sort("example_id")
        .select(said=before)
        .with_columns(left=kept.sort("example_id")["item_ids"].list.len().fill_null(0))
    )
    lost = counts.filter(pl.col("left") < pl.col("said"))
    if lost.height:
        progress.say(
            f"{lost.height:,} lists lost items that the user already had or that the cohort is not ranked over, "
            "as everybody's do"
        )
