"""Asking a runner, part by part, so that a killed run goes on where it stood.

Examples are cut into chunks that depend on nothing but the request. Each chunk's checked answers are one file under
`parts/`, which appears whole or not at all; what is there is not asked again. A runner's class may say how many
examples a part has (`examples_a_part`), for systems that are slow or that gain by many examples at once.

A selection is asked in two rounds: all examples, and some of them again with their candidates in another order.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from unimp_bench import answers, fitting, permuting, probes, tables
from unimp_bench.budget import Budget
from unimp_bench.dataset import CLEAN, Dataset
from unimp_bench.errors import ConfigError, PredictionError
from unimp_bench.fitting import NEW_DOMAIN, Asked, Fit
from unimp_bench.keyed import string_keys
from unimp_bench.meter import peak_megabytes, reset_peak
from unimp_bench.places import Home, atomic
from unimp_bench.probes import Showing
from unimp_bench.progress import Progress
from unimp_bench.provenance import digest
from unimp_bench.runners.protocol import Context, Runner
from unimp_bench.schemas import COHORTS, EXAMPLES, PREDICTIONS
from unimp_bench.tasks.spec import TaskSpec

_EXAMPLES_A_PART = 2_048


@dataclass(frozen=True)
class Round:
    """One time that a runner is asked: where its parts and all its answers stand, and how it is called."""

    parts: str
    file: str
    name: str
    rendered: bool = False  # whether the examples' text must be written anew


FIRST = Round("parts", "predictions.parquet", "")
AGAIN = Round("parts-again", "permuted.parquet", ", candidates in another order", rendered=True)


@dataclass(frozen=True)
class Job:
    """Everything that is fixed once a run was asked for."""

    home: Home
    data: Dataset
    spec: TaskSpec
    asked: Asked
    runner: Runner  # knows parameters and claims; has learned nothing
    variant: str
    limit: int | None
    request: dict[str, Any]
    budget: Budget | None = None

    @property
    def id(self) -> str:
        """Name of the run: a hash of what was asked."""
        return digest(self.request)

    @property
    def folder(self) -> Path:
        """Where the run stands."""
        return self.home.run(self.data.name, self.spec.name, self.asked.runner, self.id)


def wanted_examples(job: Job) -> tuple[pl.DataFrame, list[str]]:
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
    wanted = lazy.join(keys.lazy().select("example_id"), on="example_id", how="semi")
    return wanted.sort("example_id").collect(), not_applicable


def again(job: Job, base: Fit, adapted: Fit | None, examples: pl.DataFrame, progress: Progress) -> pl.DataFrame:
    """Answers to a sample of the selections with their candidates in another order."""
    examples = permuting.permuted(permuting.sample(examples))
    return predictions(job, base, adapted, examples, progress, AGAIN)


def predictions(
    job: Job, base: Fit, adapted: Fit | None, examples: pl.DataFrame, progress: Progress, which: Round = FIRST
) -> pl.DataFrame:
    """All answers of a round, from the parts that are there and the runner for the rest."""
    table, path = PREDICTIONS[job.spec.answer], job.folder / which.file
    parts = job.folder / which.parts
    chunks = list(_chunks(job, examples, split=adapted is not None))
    todo = [(number, chunk) for number, chunk in enumerate(chunks) if not _answered(job, parts, number, chunk)]
    if len(todo) < len(chunks):
        progress.say(f"going on: {len(chunks) - len(todo)} of {len(chunks)} parts are there")
    progress.start(f"{job.asked.runner} on {job.spec.name}{which.name}", examples.height, "examples")
    progress.advance(examples.height - sum(chunk.height for _, chunk in todo))
    if todo:
        showing = probes.showing(job.data, job.spec.name, job.variant)
        loaded: dict[bool, Runner] = {}
        for number, chunk in todo:
            new = adapted is not None and chunk["cohort"][0] == NEW_DOMAIN
            if new not in loaded:
                loaded = {new: (adapted if new and adapted else base).load(job.asked)}  # one model in memory at a time
            started = time.monotonic()
            reset_peak()
            around = fitting.context(job.home, job.folder, job.asked, loaded[new], progress)
            said = ask(job, loaded[new], chunk, showing, around, rendered=which.rendered)
            peak = round(peak_megabytes() + around.megabytes_elsewhere, 1)
            cost = {"seconds": time.monotonic() - started, "peak_megabytes": peak}
            with atomic(parts / f"part-{number:05d}.json") as draft:
                draft.write_text(json.dumps(cost))
            tables.write(said, parts / f"part-{number:05d}.parquet", table)
    progress.finish()
    whole = pl.concat([tables.read(parts / f"part-{n:05d}.parquet", table) for n in range(len(chunks))])
    whole = whole.sort("example_id")
    tables.write(whole, path, table)
    return whole


def _chunks(job: Job, examples: pl.DataFrame, split: bool) -> Iterator[pl.DataFrame]:
    """The examples in pieces that depend on nothing but the request; new domains apart if they have their own model."""
    size = part_size(job.runner)
    new = pl.col("cohort") == NEW_DOMAIN
    for group in [examples.filter(~new), examples.filter(new)] if split else [examples]:
        yield from group.iter_slices(size)


def part_size(runner: Runner) -> int:
    """Examples of a part."""
    return int(getattr(type(runner), "examples_a_part", _EXAMPLES_A_PART))


def _answered(job: Job, parts: Path, number: int, chunk: pl.DataFrame) -> bool:
    part = parts / f"part-{number:05d}.parquet"
    if not part.is_file():
        return False
    ids = tables.read(part, PREDICTIONS[job.spec.answer], ["example_id"])["example_id"]
    return bool(ids.to_list() == chunk["example_id"].to_list())


def ask(
    job: Job, runner: Runner, chunk: pl.DataFrame, showing: Showing, context: Context, *, rendered: bool = False
) -> pl.DataFrame:
    """One chunk's checked answers; with `rendered` the examples' text is written anew.

    Raises:
        PredictionError: they break the contract of their task.
    """
    view = showing.catalogue
    asked = answers.Asked.of(job.spec.answer, showing.seen(chunk), view, job.data, job.asked.seed)
    chunk = showing.shown(chunk)
    if rendered or job.variant != CLEAN:
        chunk = fitting.render(job.data, job.spec.name, chunk, view)
    frames = []
    try:
        for frame in asked.settle(iter(runner.predict(job.spec.name, chunk, view, context))):
            frames.append(frame)
            context.progress.advance(frame.height)
        return asked.checked(frames)
    except PredictionError as error:
        raise PredictionError(f"runner '{job.asked.runner}' on {job.spec.name}: {error}") from None
