"""Fitted runners, each once under `fits/<fit_id>/`: an equal request finds what is there.

A fit sees in-domain training rows only. A runner with the optional method `adapt(data, context)` is then given the
train rows of held-out domains, as a second fit that starts from the first; examples of new domains are answered by that
one and all others by the first, so that learning a new domain cannot change the scores of the old ones.

What predicts is always loaded from disk: a resumed run and an undisturbed one are the same thing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import polars as pl

from unimp_bench import curves
from unimp_bench.dataset import Catalogue, Dataset
from unimp_bench.meter import now, peak_megabytes, reset_peak
from unimp_bench.places import Home, remove
from unimp_bench.progress import Progress
from unimp_bench.provenance import Manifest, digest, hash_outputs, read_manifest
from unimp_bench.runners import registry
from unimp_bench.runners.protocol import Context, Runner, TaskData
from unimp_bench.tasks import prompts
from unimp_bench.tasks.item_texts import TextField
from unimp_bench.tasks.spec import TASKS

NEW_DOMAIN = "new_domain"


@runtime_checkable
class Adapting(Protocol):
    """A runner that can learn a held-out domain."""

    def adapt(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Learn from the train rows of held-out domains, after `fit` or `load`."""


@dataclass(frozen=True)
class Asked:
    """Which runner, learning what, from which data."""

    runner: str
    parameters: Mapping[str, str]
    data: Dataset
    tasks: tuple[str, ...]  # sorted
    seed: int
    max_seconds: float | None = None  # of training in each fit; None: no limit

    def fresh(self) -> Runner:
        """A runner that has learned nothing."""
        return registry.load(self.runner, self.parameters)


@dataclass(frozen=True)
class Fit:
    """A finished fit."""

    id: str
    folder: Path
    seconds: float
    peak_megabytes: float

    def load(self, asked: Asked) -> Runner:
        """The fitted runner."""
        runner = asked.fresh()
        runner.load(self.folder / "state")
        return runner


def context(
    home: Home, folder: Path, asked: Asked, runner: Runner, progress: Progress, *, curve: Path | None = None
) -> Context:
    """Circumstances of a fit or a prediction; the truth goes to runners that say that they read it."""
    scratch = folder / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    truth = asked.data.truth if runner.reads_truth else None
    return Context(
        asked.seed,
        scratch,
        progress,
        truth=truth,
        curve=curve,
        features=home.features,
        max_seconds=asked.max_seconds,
    )


def present(home: Home, asked: Asked, base: Fit | None = None) -> bool:
    """Whether the fit that was asked for is there already; with `base`, its adaptation."""
    return read_manifest(home.fit(digest(_request(asked, base)))) is not None


def ensure(
    home: Home, asked: Asked, progress: Progress, *, remade: set[str] | None = None, base: Fit | None = None
) -> Fit:
    """The fit that was asked for, made if it is not there; with `base`, its adaptation to the held-out domains.

    With `remade`, ids of fits that were made again, the fit is made anew unless it is among them; then it is.

    Raises:
        IncompleteError: another process is making it.
    """
    request = _request(asked, base)
    fit_id = digest(request)
    folder = home.fit(fit_id)
    with home.locked("fit", fit_id):
        if remade is not None and fit_id not in remade:
            remove(folder)
            remade.add(fit_id)
        manifest = read_manifest(folder)
        if manifest is None:
            manifest = _make(home, folder, asked, base, Manifest("fit", fit_id, request), progress)
    return Fit(fit_id, folder, manifest.seconds["fit"], float(manifest.facts["peak_megabytes"]))


def _request(asked: Asked, base: Fit | None) -> dict[str, Any]:
    return {"kind": "fit", **described(asked), "adapted_from": base.id if base else None}


def described(asked: Asked) -> dict[str, Any]:
    """What decides the outcome of learning: runner, parameters, seed, tasks and data, as a manifest's request."""
    runner = asked.fresh()
    return {
        "runner": asked.runner,
        "runner_version": runner.version,
        "parameters": registry.resolved(runner),
        "seed": asked.seed,
        "tasks": {task: TASKS[task].version for task in asked.tasks},
        "dataset": asked.data.name,
        "dataset_id": asked.data.manifest.id,
        "data_hash": asked.data.data_hash,
        "split_hash": asked.data.split_hash,
        **({} if asked.max_seconds is None else {"max_seconds": asked.max_seconds}),
    }


def _make(home: Home, folder: Path, asked: Asked, base: Fit | None, draft: Manifest, progress: Progress) -> Manifest:
    state = folder / "state"
    remove(state)
    state.mkdir(parents=True)
    curve = _curve(folder)
    started = time.monotonic()
    reset_peak()
    learning = {task: task_data(asked.data, task, new_domains=base is not None) for task in asked.tasks}
    runner = asked.fresh() if base is None else base.load(asked)
    around = context(home, folder, asked, runner, progress, curve=curve)
    if base is None:
        runner.fit(learning, around)
    else:
        assert isinstance(runner, Adapting)
        runner.adapt(learning, around)
    runner.save(state)
    remove(folder / "scratch")
    manifest = Manifest(
        draft.kind,
        draft.id,
        draft.request,
        inputs={f"data/{asked.data.name}": asked.data.manifest.id},
        outputs=hash_outputs(folder),
        facts={"peak_megabytes": round(peak_megabytes() + around.megabytes_elsewhere, 1)},
        seconds={"fit": round(time.monotonic() - started, 3)},
        created=now(),
    )
    manifest.write(folder)
    return manifest


def _curve(folder: Path) -> Path:
    """Where the fit's learning curve goes on: after its records where the runner left a scratch, else from nothing."""
    path, scratch = folder / curves.NAME, folder / "scratch"
    if scratch.is_dir() and any(scratch.iterdir()):
        curves.mend(path)
    else:
        path.unlink(missing_ok=True)
    return path


def task_data(data: Dataset, task: str, *, new_domains: bool) -> TaskData:
    """What may be learned of a task: the rows of held-out domains, or all others."""
    catalogue = data.catalogue()
    rows = pl.col("cohort") == NEW_DOMAIN if new_domains else pl.col("cohort") != NEW_DOMAIN
    held_out = pl.col("domain").is_in(sorted(data.new_domains))
    return TaskData(
        train=_rendered(data, task, data.examples(task, "train").filter(rows), catalogue),
        valid=_rendered(data, task, data.examples(task, "valid").filter(rows), catalogue),
        interactions=data.interactions().filter(held_out if new_domains else ~held_out),
        catalogue=catalogue,
    )


def _rendered(data: Dataset, task: str, examples: pl.LazyFrame, catalogue: Catalogue) -> pl.LazyFrame:
    """The examples with their text, which a lean dataset leaves out of the files."""
    first = examples.select("instruction").head(1).collect()
    if first.height == 0 or first["instruction"][0] is not None:
        return examples
    # No pushdown: a filter or a choice of columns above must see rendered rows, and the renderer whole ones.
    return examples.map_batches(
        lambda frame: render(data, task, frame, catalogue),
        predicate_pushdown=False,
        projection_pushdown=False,
        slice_pushdown=False,
    )


def render(data: Dataset, task: str, examples: pl.DataFrame, catalogue: Catalogue) -> pl.DataFrame:
    """The examples with their text written anew from these items, in the dataset's own style and fields."""
    config = data.manifest.request["config"]
    fields = [TextField(label, source) for label, source in data.manifest.facts["item_text"]]
    return prompts.render(task, examples, catalogue.items, str(config["prompts"]), int(config["history"]), fields)


def fitted_tasks(runner: Runner, task: str, available: Sequence[str]) -> tuple[str, ...]:
    """Tasks to learn for one task: only that one, or all that a runner with `joint = True` claims and the data has."""
    if not getattr(type(runner), "joint", False):
        return (task,)
    return tuple(sorted(runner.tasks & set(available)))
