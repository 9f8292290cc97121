"""`run`: one runner, one task of one dataset, from the registry to `manifest.json`.

    request ─▶ fit (or find it) ─▶ parts/part-00000.parquet … ─▶ predictions ─▶ scores ─▶ metrics.json ─▶ manifest.json
                          selection: parts-again/… ─▶ permuted ───────┘

The folder's name is a hash of what was asked: an equal request finds the finished run and does nothing; a killed one
goes on and ends with the bytes of an undisturbed one. A budget bounds the fit, or makes several to choose from (see
`trials`). What a runner's class may say beside the protocol: `joint = True` (one fit learns all tasks that it claims),
`examples_a_part` (see `asking`), `device` (recorded).
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl

from unimp_bench import fitting, probes, scoring, tables, trials
from unimp_bench.asking import AGAIN, FIRST, Job, again, predictions, wanted_examples
from unimp_bench.budget import Budget
from unimp_bench.dataset import CLEAN, Dataset
from unimp_bench.errors import ConfigError, UnimpBenchError, UnknownNameError
from unimp_bench.finishing import finish
from unimp_bench.fitting import NEW_DOMAIN, Adapting, Asked, Fit
from unimp_bench.meter import Logged
from unimp_bench.metrics.pairs import Models
from unimp_bench.places import Home, atomic, remove, sweep
from unimp_bench.progress import Progress, Silent
from unimp_bench.provenance import Manifest, read_manifest, sha256_tree, versions
from unimp_bench.runners import registry
from unimp_bench.runners.protocol import Runner
from unimp_bench.runners.space import searched
from unimp_bench.schemas import PREDICTIONS
from unimp_bench.tasks.spec import TASKS

_PARTS = (FIRST.parts, AGAIN.parts)


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
    budget: Budget | None = None,
    force: bool = False,
    remade: set[str] | None = None,
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
        variant: name of a noise variant of the items, a probe (`probes.PROBES`), or "clean".
        budget: what learning may spend; None: as long as the runner's parameters say.
        force: fit, predict and score again although the same was done before.
        remade: ids of fits that `force` need not make again, to which it adds; runs given one set share their fits.
        resume: go on with the parts of a killed run.
        progress: told what happens.

    Raises:
        UnknownNameError: no such dataset, task, runner, parameter or variant.
        ConfigError: the runner does not claim the task, the dataset does not yield it, the truth is not there, or a
            probe has nothing to take away; a budget of time for a runner that does not keep to one.
        PredictionError: the runner's answers break the contract; nothing is scored then.
        IncompleteError: another process makes the same run, or the dataset was never finished.
    """
    progress = progress or Silent()
    job = prepare(home, dataset, task, runner, parameters, seed, limit, variant, budget)
    folder = job.folder
    remade = (set() if remade is None else remade) if force else None
    with home.locked("run", job.id):
        if force or (not resume and read_manifest(folder) is None):
            remove(folder)
        done = read_manifest(folder)
        if done is None:
            folder.mkdir(parents=True, exist_ok=True)
            sweep(folder)
            _keep_request(job)
            log = Logged(progress, folder / "log.txt")
            try:
                _make(job, log, remade)
            except UnimpBenchError as error:
                log.note(f"failed: {error}")
                raise
            except Exception as error:
                log.note(traceback.format_exc())
                error.add_note(f"traceback in {log.file}")  # whoever goes on with other systems shows one line of it
                raise
        elif any(done.facts.get(key) != now for key, now in scoring.basis(task, _models(job)).items()):
            progress.say(f"scoring {runner} on {task} of {dataset} again: metrics or models are others now")
            _rescore(job, done, Logged(progress, folder / "log.txt"))
        else:
            progress.say(f"{runner} on {task} of {dataset} is there already: {folder}")
        _tidy(folder)
    return folder


def prepare(
    home: Home,
    dataset: str,
    task: str,
    name: str,
    parameters: Mapping[str, str],
    seed: int,
    limit: int | None,
    variant: str,
    budget: Budget | None,
) -> Job:
    """What `run` with these arguments is to do; nothing is fitted or written yet. Raises as `run` does."""
    if task not in TASKS:
        raise UnknownNameError("task", task, TASKS)
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}; ask at least one example")
    data = Dataset.open(home, dataset)
    if task not in data.tasks:
        reason = data.manifest.facts.get("skipped_tasks", {}).get(task, "the dataset was built without it")
        raise ConfigError(f"{dataset} has no task {task}: {reason}; it has {', '.join(data.tasks)}")
    if variant not in (known := [*data.variants(), *probes.PROBES]):
        raise UnknownNameError("variant", variant, known)
    if reason := probes.why_not(data, variant):
        raise ConfigError(f"{variant}: {reason}; leave it out")
    runner = registry.load(name, parameters)
    if task not in runner.tasks:
        raise ConfigError(f"runner '{name}' does not answer {task}; it answers {', '.join(sorted(runner.tasks))}")
    if runner.reads_truth and data.truth is None:
        raise ConfigError(f"runner '{name}' reads the synthetic shop's truth, which {dataset} does not have")
    if budget is not None and budget.seconds is not None and not registry.is_budgeted(type(runner)):
        raise ConfigError(f"runner '{name}' does not keep to a budget of time; run it apart, without --budget")
    asked = Asked(name, dict(parameters), data, fitting.fitted_tasks(runner, task, list(data.tasks)), seed)
    spec = TASKS[task]
    request = {
        "kind": "run",
        "dataset": data.name,
        "dataset_id": data.manifest.id,
        "data_hash": data.data_hash,
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
        **_spending(budget, runner, parameters),
    }
    return Job(home, data, spec, asked, runner, variant, limit, request, budget)


def _spending(budget: Budget | None, runner: Runner, parameters: Mapping[str, str]) -> dict[str, Any]:
    """What a budget adds to a request: itself, and what is searched; a parameter that was given is not."""
    if budget is None:
        return {}
    free = sorted(set(searched(runner)) - set(parameters)) if budget.trials > 1 else []
    return {"budget": budget.record(), "searched": free}


def _variant_id(data: Dataset, variant: str) -> str | None:
    if variant == CLEAN or variant in probes.PROBES:
        return probes.identity(variant)
    manifest = read_manifest(data.folder / "variants" / variant)
    return manifest.id if manifest else None


def _keep_request(job: Job) -> None:
    """Write the request; drop parts that other package versions left, for their answers may differ."""
    mine = {"request": job.request, "versions": versions()}
    text = json.dumps(mine, indent=1, sort_keys=True, default=str) + "\n"
    path = job.folder / "run.json"
    if not path.is_file() or path.read_text() != text:
        for name in _PARTS:
            remove(job.folder / name)
        (job.folder / trials.NAME).unlink(missing_ok=True)
    with atomic(path) as draft:
        draft.write_text(text)


def _make(job: Job, progress: Logged, remade: set[str] | None) -> None:
    """Fill the run's folder, manifest last."""
    examples, not_applicable = wanted_examples(job)
    found = trials.search(job, progress, remade)
    job = found.job
    base, adapted = _fits(job, examples, progress, remade)
    fits = [fit for fit in (base, adapted) if fit is not None]
    learned: list[Fit | trials.Trial] = [*fits, *found.losers]
    answered = predictions(job, base, adapted, examples, progress)
    costs = [json.loads(path.read_text()) for path in sorted((job.folder / "parts").glob("*.json"))]
    progress.note(f"{answered.height} examples are answered")
    permuted = again(job, base, adapted, examples, progress) if _ordered(job) else None
    finish(
        job.folder,
        job.request,
        job.data,
        progress,
        answered,
        examples,
        _models(job),
        seconds={
            "fit": round(sum(one.seconds for one in learned), 3),
            **({"validate": round(found.validation_seconds, 3)} if found.trials else {}),
            "predict": round(sum(cost["seconds"] for cost in costs), 3),
        },
        facts={
            "device": getattr(job.runner, "device", "cpu"),
            "peak_megabytes": max([one.peak_megabytes for one in learned] + [cost["peak_megabytes"] for cost in costs]),
            "not_applicable": not_applicable,
            **({"trials": len(found.trials), "chosen": dict(job.asked.parameters)} if found.trials else {}),
        },
        inputs={
            # What was read, not when it was made: a rebuild or another fit with the same bytes breaks no chain.
            f"data/{job.data.name}": job.data.manifest.id,
            **{f"fits/{fit.id}/state": sha256_tree(fit.folder / "state") for fit in fits},
        },
        permuted=permuted,
    )


def _rescore(job: Job, done: Manifest, progress: Logged) -> None:
    """Score a finished run's predictions by today's metrics."""
    answered = tables.read(job.folder / "predictions.parquet", PREDICTIONS[job.spec.answer])
    examples, _ = wanted_examples(job)
    permuted = _permuted(job, examples, progress) if _ordered(job) else None
    finish(
        job.folder,
        job.request,
        job.data,
        progress,
        answered,
        examples,
        _models(job),
        seconds=done.seconds,
        facts=done.facts,
        inputs=done.inputs,
        permuted=permuted,
    )


def _ordered(job: Job) -> bool:
    """Whether the task's examples have candidates, whose order should not matter."""
    return job.spec.answer == "selection"


def _permuted(job: Job, examples: pl.DataFrame, progress: Progress) -> pl.DataFrame:
    """A finished run's answers to candidates in another order; a run from before they were asked is asked now."""
    path = job.folder / AGAIN.file
    if path.is_file():
        return tables.read(path, PREDICTIONS[job.spec.answer])
    job = trials.search(job, progress, None).job
    return again(job, *_fits(job, examples, progress, None), examples, progress)


def _models(job: Job) -> Models:
    return scoring.models_at(job.home.models, job.spec.name)


def _tidy(folder: Path) -> None:
    """Remove what only an unfinished run needs."""
    for leftover in (*_PARTS, "scratch"):
        remove(folder / leftover)


def _fits(job: Job, examples: pl.DataFrame, progress: Progress, remade: set[str] | None) -> tuple[Fit, Fit | None]:
    """What answers, and what answers for held-out domains where that is another."""
    base = fitting.ensure(job.home, job.asked, progress, remade=remade)
    return base, _adapted(job, base, examples, progress, remade)


def _adapted(job: Job, base: Fit, examples: pl.DataFrame, progress: Progress, remade: set[str] | None) -> Fit | None:
    if not isinstance(job.runner, Adapting) or NEW_DOMAIN not in examples["cohort"]:
        return None
    return fitting.ensure(job.home, job.asked, progress, remade=remade, base=base)
