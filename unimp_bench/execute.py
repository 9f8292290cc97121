"""`run`: one runner, one task of one dataset, from the registry to `manifest.json`.

    request ─▶ fit (or find it) ─▶ parts/part-00000.parquet … ─▶ predictions ─▶ scores ─▶ metrics.json ─▶ manifest.json

Test examples are asked in fixed chunks and each chunk's checked answers become one part, so a killed run goes on where
it stood and ends with the bytes of an undisturbed one. The folder's name is a hash of what was asked: an equal request
finds the finished run and does nothing. A runner's class may set `examples_a_part` (examples in one call of `predict`)
and `joint = True` (one fit learns all the tasks it claims); its `device` is recorded.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl

from unimp_bench import answers, fitting, scoring, tables
from unimp_bench.dataset import CLEAN, Catalogue, Dataset
from unimp_bench.errors import ConfigError, PredictionError, UnknownNameError
from unimp_bench.fitting import NEW_DOMAIN, Adapting, Asked, Fit
from unimp_bench.keyed import string_keys
from unimp_bench.meter import Logged, now, peak_megabytes, reset_peak
from unimp_bench.places import Home, atomic, remove, sweep
from unimp_bench.progress import Progress, Silent
from unimp_bench.provenance import Manifest, digest, read_manifest, sha256, versions
from unimp_bench.runners import registry
from unimp_bench.runners.protocol import Runner
from unimp_bench.schemas import COHORTS, EXAMPLES, PREDICTIONS, SCORES
from unimp_bench.tasks.spec import TASKS, TaskSpec

_EXAMPLES_A_PART = 2_048
_OUTPUTS = ("run.json", "log.txt", "predictions.parquet", "scores.parquet", "metrics.json")


@dataclass(frozen=True)
class _Run:
    """Everything that is fixed once a run was asked for."""

    home: Home
    data: Dataset
    spec: TaskSpec
    asked: Asked
    runner: Runner  # knows parameters and claims; has learned nothing
    variant: str
    limit: int | None
    request: dict[str, Any]

    @property
    def id(self) -> str:
        return digest(self.request)

    @property
    def folder(self) -> Path:
        return self.home.run(self.data.name, self.spec.name, self.asked.runner, self.id)


def run(
    home: Home,
    dataset: str,
    task: str,
    runner: str,
    *,
    parameters: Mapping[str, str] = MappingProxyType({}),
    seed: int = 0,
    limit: int | None = None,
    variant: str = CLEAN,
    force: bool = False,
    resume: bool = True,
    progress: Progress | None = None,
) -> Path:
    """Run one runner on one task and score it; returns the run's folder.

    Args:
        home: where data, fits and runs stand.
        dataset: name of a built dataset.
        task: one of `TASKS` that the dataset yields and the runner claims.
        runner: name in the registry.
        parameters: the runner's fields as strings.
        seed: of all the runner's randomness.
        limit: ask only that many examples (the first by a keyed hash); such a run never enters a leaderboard.
        variant: name of a noise variant of the items, or "clean".
        force: fit, predict and score again although the same was done before.
        resume: go on with the parts of a killed run.
        progress: told what happens.

    Raises:
        UnknownNameError: no such dataset, task, runner, parameter or variant.
        ConfigError: the runner does not claim the task, the dataset does not yield it, or the truth is not there.
        PredictionError: the runner's answers break the contract; nothing is scored then.
        IncompleteError: another process makes the same run, or the dataset was never finished.
    """
    progress = progress or Silent()
    job = _prepare(home, dataset, task, runner, parameters, seed, limit, variant)
    folder = job.folder
    with home.locked("run", job.id):
        if force or (not resume and read_manifest(folder) is None):
            remove(folder)
        done = read_manifest(folder)
        if done is None:
            folder.mkdir(parents=True, exist_ok=True)
            sweep(folder)
            _keep_request(job)
            _make(job, Logged(progress, folder / "log.txt"), force)
        elif done.facts["metrics"] != scoring.suite(task):
            progress.say(f"scoring {runner} on {task} of {dataset} again: the metrics are others now")
            _rescore(job, done, Logged(progress, folder / "log.txt"))
        else:
            progress.say(f"{runner} on {task} of {dataset} is there already: {folder}")
        _tidy(folder)
    return folder


def _prepare(
    home: Home,
    dataset: str,
    task: str,
    name: str,
    parameters: Mapping[str, str],
    seed: int,
    limit: int | None,
    variant: str,
) -> _Run:
    if task not in TASKS:
        raise UnknownNameError("task", task, TASKS)
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}; ask at least one example")
    data = Dataset.open(home, dataset)
    if task not in data.tasks:
        reason = data.manifest.facts.get("skipped_tasks", {}).get(task, "the dataset was built without it")
        raise ConfigError(f"{dataset} has no task {task}: {reason}; it has {', '.join(data.tasks)}")
    if variant not in data.variants():
        raise UnknownNameError("variant", variant, data.variants())
    runner = registry.load(name, parameters)
    if task not in runner.tasks:
        raise ConfigError(f"runner '{name}' does not answer {task}; it answers {', '.join(sorted(runner.tasks))}")
    if runner.reads_truth and data.truth is None:
        raise ConfigError(f"runner '{name}' reads the synthetic shop's truth, which {dataset} does not have")
    asked = Asked(name, dict(parameters), data, fitting.fitted_tasks(runner, task, list(data.tasks)), seed)
    spec = TASKS[task]
    request = {
        "kind": "run",
        "dataset": data.name,
        "dataset_id": data.manifest.id,
        "split_hash": data.split_hash,
        "protocol": data.manifest.facts["protocol"],
        "task": task,
        "task_version": data.tasks[task]["version"],
        "runner": name,
        "runner_version": runner.version,
        "reads_truth": runner.reads_truth,
        "parameters": registry.resolved(runner),
        "seed": seed,
        "fitted_tasks": list(asked.tasks),
        "limit": limit,
        "variant": variant,
        "variant_id": _variant_id(data, variant),
        "table_version": PREDICTIONS[spec.answer].version,
    }
    return _Run(home, data, spec, asked, runner, variant, limit, request)


def _variant_id(data: Dataset, variant: str) -> str | None:
    manifest = None if variant == CLEAN else read_manifest(data.folder / "variants" / variant)
    return manifest.id if manifest else None


def _keep_request(job: _Run) -> None:
    """Write the request; drop parts that other package versions left, for their answers may differ."""
    mine = {"request": job.request, "versions": versions()}
    text = json.dumps(mine, indent=1, sort_keys=True, default=str) + "\n"
    path = job.folder / "run.json"
    if not path.is_file() or path.read_text() != text:
        remove(job.folder / "parts")
    with atomic(path) as draft:
        draft.write_text(text)


def _make(job: _Run, progress: Logged, force: bool) -> None:
    """Fill the run's folder, manifest last."""
    examples, not_applicable = _examples(job)
    base = fitting.ensure(job.home, job.asked, progress, force=force)
    adapted = _adapted(job, base, examples, progress, force)
    fits = [fit for fit in (base, adapted) if fit is not None]
    predictions = _predictions(job, base, adapted, examples, progress)
    costs = [json.loads(path.read_text()) for path in sorted((job.folder / "parts").glob("*.json"))]
    progress.note(f"{predictions.height} examples are answered")
    _finish(
        job,
        progress,
        predictions,
        examples,
        seconds={
            "fit": round(sum(fit.seconds for fit in fits), 3),
            "predict": round(sum(cost["seconds"] for cost in costs), 3),
        },
        facts={
            "device": getattr(job.runner, "device", "cpu"),
            "peak_megabytes": max([fit.peak_megabytes for fit in fits] + [cost["peak_megabytes"] for cost in costs]),
            "not_applicable": not_applicable,
        },
        inputs={
            f"data/{job.data.name}/manifest.json": sha256(job.data.folder / "manifest.json"),
            **{f"fits/{fit.id}/manifest.json": sha256(fit.folder / "manifest.json") for fit in fits},
        },
    )


def _rescore(job: _Run, done: Manifest, progress: Logged) -> None:
    """Score a finished run's predictions by today's metrics."""
    predictions = tables.read(job.folder / "predictions.parquet", PREDICTIONS[job.spec.answer])
    examples, _ = _examples(job)
    _finish(job, progress, predictions, examples, seconds=done.seconds, facts=done.facts, inputs=done.inputs)


def _finish(
    job: _Run,
    progress: Logged,
    predictions: pl.DataFrame,
    examples: pl.DataFrame,
    *,
    seconds: Mapping[str, float],
    facts: Mapping[str, Any],
    inputs: Mapping[str, str],
) -> None:
    """Score the answers and write what is left, manifest last."""
    folder, started = job.folder, time.monotonic()
    progress.start(f"scoring {job.asked.runner} on {job.spec.name}")
    scored = scoring.score_predictions(job.data, job.spec.name, predictions, examples)
    progress.finish()
    tables.write(scored.scores, folder / "scores.parquet", SCORES)
    with atomic(folder / "metrics.json") as draft:
        found = {"metrics": scored.metrics.to_dicts(), "not_computed": scored.not_computed}
        draft.write_text(json.dumps(found, indent=1) + "\n")
    Manifest(
        "run",
        job.id,
        job.request,
        inputs=inputs,
        outputs={name: sha256(folder / name) for name in _OUTPUTS},
        rows={"predictions.parquet": predictions.height, "scores.parquet": scored.scores.height},
        facts={**facts, "metrics": scoring.suite(job.spec.name)},
        seconds={**seconds, "score": round(time.monotonic() - started, 3)},
        created=now(),
    ).write(folder)


def _tidy(folder: Path) -> None:
    """Remove what only an unfinished run needs."""
    for leftover in ("parts", "scratch"):
        remove(folder / leftover)


def _examples(job: _Run) -> tuple[pl.DataFrame, list[str]]:
    """Test examples that are asked, sorted, and the cohorts that the runner cannot answer for."""
    path = job.data.examples_file(job.spec.name, "test")
    lazy = tables.scan(path, EXAMPLES)
    keys = lazy.select("example_id", "cohort").collect()
    present = keys["cohort"].unique().to_list()
    not_applicable = [cohort for cohort in COHORTS if cohort in present and cohort not in job.runner.cohorts]
    keys = keys.filter(pl.col("cohort").is_in(list(job.runner.cohorts)))
    if keys.height == 0:
        raise ConfigError(
            f"runner '{job.asked.runner}' answers for {', '.join(sorted(job.runner.cohorts)) or 'nobody'}; "
            f"{job.spec.name} of {job.data.name} has {', '.join(sorted(present)) or 'no test examples'}"
        )
    if job.limit is not None and job.limit < keys.height:
        # One order for all runners and seeds, so that limited runs answer the same questions.
        first = np.argsort(string_keys(keys["example_id"], "limit"), kind="stable")[: job.limit]
        keys = keys[np.sort(first)]
    wanted = lazy.collect().join(keys.select("example_id"), on="example_id", how="semi")
    return wanted.sort("example_id"), not_applicable


def _adapted(job: _Run, base: Fit, examples: pl.DataFrame, progress: Progress, force: bool) -> Fit | None:
    if not isinstance(job.runner, Adapting) or NEW_DOMAIN not in examples["cohort"]:
        return None
    return fitting.ensure(job.home, job.asked, progress, force=force, base=base)


def _predictions(job: _Run, base: Fit, adapted: Fit | None, examples: pl.DataFrame, progress: Progress) -> pl.DataFrame:
    """All answers, from the parts that are there and the runner for the rest."""
    table, path = PREDICTIONS[job.spec.answer], job.folder / "predictions.parquet"
    parts = job.folder / "parts"
    chunks = list(_chunks(job, examples, split=adapted is not None))
    todo = [(number, chunk) for number, chunk in enumerate(chunks) if not _answered(job, number, chunk)]
    if len(todo) < len(chunks):
        progress.say(f"going on: {len(chunks) - len(todo)} of {len(chunks)} parts are there")
    progress.start(f"{job.asked.runner} on {job.spec.name}", examples.height, "examples")
    progress.advance(examples.height - sum(chunk.height for _, chunk in todo))
    if todo:
        view = job.data.catalogue(job.variant)
        loaded: dict[bool, Runner] = {}
        for number, chunk in todo:
            new = adapted is not None and chunk["cohort"][0] == NEW_DOMAIN
            if new not in loaded:
                loaded = {new: (adapted if new and adapted else base).load(job.asked)}  # one model in memory at a time
            started = time.monotonic()
            reset_peak()
            said = _ask(job, loaded[new], chunk, view, progress)
            cost = {"seconds": time.monotonic() - started, "peak_megabytes": round(peak_megabytes(), 1)}
            with atomic(parts / f"part-{number:05d}.json") as draft:
                draft.write_text(json.dumps(cost))
            tables.write(said, parts / f"part-{number:05d}.parquet", table)
    progress.finish()
    whole = pl.concat([tables.read(parts / f"part-{n:05d}.parquet", table) for n in range(len(chunks))])
    whole = whole.sort("example_id")
    tables.write(whole, path, table)
    return whole


def _chunks(job: _Run, examples: pl.DataFrame, split: bool) -> Iterator[pl.DataFrame]:
    """The examples in pieces that depend on nothing but the request; new domains apart if they have their own model."""
    size = int(getattr(type(job.runner), "examples_a_part", _EXAMPLES_A_PART))
    new = pl.col("cohort") == NEW_DOMAIN
    for group in [examples.filter(~new), examples.filter(new)] if split else [examples]:
        yield from group.iter_slices(size)


def _answered(job: _Run, number: int, chunk: pl.DataFrame) -> bool:
    part = job.folder / "parts" / f"part-{number:05d}.parquet"
    if not part.is_file():
        return False
    ids = tables.read(part, PREDICTIONS[job.spec.answer], ["example_id"])["example_id"]
    return bool(ids.to_list() == chunk["example_id"].to_list())


def _ask(job: _Run, runner: Runner, chunk: pl.DataFrame, view: Catalogue, progress: Progress) -> pl.DataFrame:
    """One chunk's checked answers."""
    asked = answers.Asked.of(job.spec.answer, chunk, view, job.data, job.asked.seed)
    if job.variant != CLEAN:
        chunk = fitting.render(job.data, job.spec.name, chunk, view)
    context = fitting.context(job.folder, job.asked, runner, progress)
    frames = []
    try:
        for frame in asked.settle(iter(runner.predict(job.spec.name, chunk, view, context))):
            frames.append(frame)
            progress.advance(frame.height)
        return asked.checked(frames)
    except PredictionError as error:
        raise PredictionError(f"runner '{job.asked.runner}' on {job.spec.name}: {error}") from None
