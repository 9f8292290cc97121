"""Trials: a small random search over a runner's declared values, chosen by validation, kept in the run's `trials.json`.

    trial 0   the parameters as they were given
    trial k   every parameter of the class's `search` that was not given, drawn anew; no setting comes twice
    best      the trial with the best value of the task's first metric on validation examples; of equal ones the first

A trial is a fit like any other, under `fits/`, so a search that was killed goes on with the next trial, and tasks that
share a fit share their trials and choose each for itself. Test examples are not opened here, nor anything sealed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import polars as pl

from unimp_bench import fitting, permuting, probes
from unimp_bench.asking import Job, ask, part_size
from unimp_bench.budget import Budget
from unimp_bench.dataset import CLEAN
from unimp_bench.errors import ConfigError, IncompleteError
from unimp_bench.fitting import Fit
from unimp_bench.metrics.pairs import MetricContext
from unimp_bench.metrics.spec import METRICS, score
from unimp_bench.places import atomic
from unimp_bench.progress import Progress
from unimp_bench.runners.space import searched, settings
from unimp_bench.schemas import EXAMPLES, conform

NAME = "trials.json"
_VALIDATED = 2_000  # validation examples of a trial: an interval of about +-0.01, at a small part of a run's cost


@dataclass(frozen=True)
class Trial:
    """One setting that was tried. `score` is null where it was not needed or could not be had; then `why` says so."""

    trial: int
    parameters: dict[str, str]  # beside the runner's defaults
    score: float | None
    seconds: float  # of fitting
    validation_seconds: float
    peak_megabytes: float
    fit: str | None  # null: it failed
    why: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What the search came to: the trials, the number of the best one, and the run's job with its parameters."""

    job: Job
    trials: tuple[Trial, ...] = ()
    best: int = 0

    @property
    def losers(self) -> list[Trial]:
        """All trials but the best."""
        return [trial for trial in self.trials if trial.trial != self.best]

    @property
    def validation_seconds(self) -> float:
        """What choosing took."""
        return sum(trial.validation_seconds for trial in self.trials)


def search(job: Job, progress: Progress, remade: set[str] | None) -> Outcome:
    """Fit what the job's budget allows and choose; without a budget there is nothing to do.

    Args:
        job: a run; what is finished of its trials stands in its folder and is not done again.
        progress: told what happens.
        remade: as in `fitting.ensure`.

    Raises:
        ConfigError: the parameters as they were given cannot be learned with; drawn ones that cannot lose.
    """
    if job.budget is None:
        return Outcome(job)
    asked = settings(job.runner, job.asked.runner, job.asked.parameters, job.budget.trials, job.asked.seed)
    share = job.budget.share(len(asked))
    jobs = [replace(job, asked=replace(job.asked, parameters=given, max_seconds=share)) for given in asked]
    trials = _kept(job.folder / NAME, asked, share)
    if trials and len(asked) > 1:
        progress.say(f"going on: {len(trials)} of {len(asked)} trials are there")
    for number in range(len(trials), len(asked)):
        trials.append(_trial(number, jobs, progress, remade))
        _keep(job, trials, None, share)
        if len(asked) > 1:
            progress.say(_told(trials[-1], len(asked), job))
    best = _best(trials, job)
    _keep(job, trials, best, share)
    return Outcome(jobs[best], tuple(trials), best)


def _trial(number: int, jobs: Sequence[Job], progress: Progress, remade: set[str] | None) -> Trial:
    job, started = jobs[number], time.monotonic()
    given = dict(job.asked.parameters)
    try:
        fit = fitting.ensure(job.home, job.asked, progress, remade=remade)
    except ConfigError as error:  # a setting that cannot be learned with, as a rate at which the loss is no number
        if number == 0:
            raise
        return Trial(number, given, None, round(time.monotonic() - started, 3), 0.0, 0.0, None, str(error))
    if len(jobs) == 1:
        assert job.budget is not None
        only = "the budget is one trial" if job.budget.trials == 1 else "there is nothing to search"
        return Trial(number, given, None, fit.seconds, 0.0, fit.peak_megabytes, fit.id, only)
    started = time.monotonic()
    value = validated(job, fit, progress)
    spent = round(time.monotonic() - started, 3)
    why = None if value is not None else "there is nothing to validate on"
    return Trial(number, given, value, fit.seconds, spent, fit.peak_megabytes, fit.id, why)


def validated(job: Job, fit: Fit, progress: Progress) -> float | None:
    """The task's first metric of a fit on in-domain validation examples; None where there are none that count."""
    task, metric = job.spec.name, METRICS[job.spec.metric]
    data = fitting.task_data(job.data, task, new_domains=False)
    mine = data.valid.filter(pl.col("cohort").is_in(list(job.runner.cohorts)))
    some = permuting.sample(mine.select("example_id").collect(), _VALIDATED)
    valid = mine.join(some.lazy(), on="example_id", how="semi").sort("example_id").collect()
    if valid.height == 0:
        return None
    questions = conform(valid, EXAMPLES.columns)
    runner = fit.load(job.asked)
    job = replace(job, variant=CLEAN)
    showing = probes.showing(job.data, task)
    around = fitting.context(job.home, job.folder, job.asked, runner, progress)
    progress.start(f"{job.asked.runner} on validation examples of {task}", questions.height, "examples")
    said = pl.concat([ask(job, runner, part, showing, around) for part in questions.iter_slices(part_size(runner))])
    progress.finish()
    context = MetricContext(view=showing.catalogue, examples=questions)
    values = score([metric.name], valid, said, context)["value"].drop_nulls()
    return metric.interval(values.to_numpy(), seed=0).value


def _best(trials: Sequence[Trial], job: Job) -> int:
    """The number of the best trial; the first where nothing could be validated."""
    sign = 1 if METRICS[job.spec.metric].higher_is_better else -1
    known = [(sign * trial.score, -trial.trial) for trial in trials if trial.score is not None]
    return -max(known)[1] if known else 0


def _told(trial: Trial, count: int, job: Job) -> str:
    drawn = ", ".join(f"{k}={v}" for k, v in trial.parameters.items()) or "as it is"
    value = trial.why if trial.score is None else f"{job.spec.metric} {trial.score:.4f} on validation"
    return f"trial {trial.trial + 1} of {count} ({drawn}): {value}, {trial.seconds:.0f} s"


def _keep(job: Job, trials: Sequence[Trial], best: int | None, share: float | None) -> None:
    """Write the file; `best` is null while there are trials to come."""
    assert isinstance(job.budget, Budget)
    spec = METRICS[job.spec.metric]
    said = {
        "budget": job.budget.record(),
        "seconds_each": share,
        "metric": spec.name,
        "higher_is_better": spec.higher_is_better,
        "search": {key: list(values) for key, values in searched(job.runner).items()},
        "best": best,
        "trials": [asdict(trial) for trial in trials],
    }
    with atomic(job.folder / NAME) as draft:
        draft.write_text(json.dumps(said, indent=1) + "\n")


def read(path: Path) -> dict[str, Any]:
    """What a run's `trials.json` says.

    Raises:
        IncompleteError: it cannot be read.
    """
    try:
        said: dict[str, Any] = json.loads(path.read_text())
        said["trials"] = [Trial(**trial) for trial in said["trials"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise IncompleteError(f"{path} cannot be read; run again with --force") from None
    return said


def _kept(path: Path, asked: Sequence[Mapping[str, str]], share: float | None) -> list[Trial]:
    """Trials that are done, as far as they are those that would be made now."""
    said = read(path) if path.is_file() else {"trials": [], "seconds_each": share}
    if said["seconds_each"] != share:
        return []
    both = zip(said["trials"], asked, strict=False)
    return [trial for trial, _ in takewhile(lambda pair: pair[0].parameters == pair[1], both)]
