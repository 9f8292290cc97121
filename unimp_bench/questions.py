"""One user's questions, asked of a fitted runner on the fly: a system at a person's hands.

The history is the one of the user's own test example, or all visible rows where there is none; the text is rendered as
in built examples, answers are masked and checked as in runs, and nothing sealed is opened. Recommendation comes first:
rating and explanation are about its first item unless another one is named. Selection is left out, for a person has no
candidates.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl

from unimp_bench import answers, check, fitting
from unimp_bench.dataset import Catalogue, Dataset
from unimp_bench.errors import ConfigError, NotLearnedError, PredictionError, UnknownNameError
from unimp_bench.fitting import NEW_DOMAIN, Adapting, Asked, Fit
from unimp_bench.places import Home
from unimp_bench.progress import Progress, Silent
from unimp_bench.runners import registry
from unimp_bench.runners.protocol import Runner
from unimp_bench.subjects import ABOUT, QUERIED, Subject, near, own_query, subject_of
from unimp_bench.tasks.spec import TASKS

ASKED = ("recommendation", "search", "preference", "explanation", "image_generation")
_LISTS = ("recommendation", "search")


@dataclass(frozen=True)
class Wish:
    """What a person wants to know.

    `query` None takes that of the user's own test example, `item` None the first one recommended; `top` items of a list
    are kept.
    """

    user: str
    query: str | None = None
    item: str | None = None
    top: int = 5


@dataclass(frozen=True)
class Reply:
    """What a runner answered.

    `said` has the answer of each task that was asked: item ids best first, a rating, a text or an encoded picture; None
    where it could not. `left_out` says why the others were not asked. `item` is what rating and explanation are about.
    """

    runner: str
    subject: Subject
    query: str | None
    own_query: bool  # taken from the user's test example
    item: str | None
    said: Mapping[str, Any] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


def ask(
    home: Home,
    dataset: str,
    runner: str,
    wish: Wish,
    *,
    parameters: Mapping[str, str] = MappingProxyType({}),
    seed: int = 0,
    progress: Progress | None = None,
) -> Reply:
    """Ask the fit that `run` makes with the same runner, parameters and seed; it is made if it is not there.

    Args:
        home: where data and fits stand.
        dataset: name of a built dataset.
        runner: name in the registry.
        wish: who wants to know what.
        parameters: the runner's fields as strings.
        seed: of the runner's randomness.
        progress: told what happens.

    Raises:
        UnknownNameError: no such dataset, runner, parameter, user or item.
        ConfigError: the runner does not answer for the user, or has nothing to say to any question.
        PredictionError: the runner's answers break the contract.
        IncompleteError: another process is making the fit.
    """
    progress = progress or Silent()
    data = Dataset.open(home, dataset)
    fresh = registry.load(runner, parameters)
    if fresh.reads_truth and data.truth is None:
        raise ConfigError(f"runner '{runner}' reads the synthetic shop's truth, which {dataset} does not have")
    subject = subject_of(data, wish.user)
    if subject.cohort not in fresh.cohorts:
        raise ConfigError(
            f"runner '{runner}' answers for {', '.join(sorted(fresh.cohorts))}; user '{wish.user}' is {subject.cohort}"
        )
    view = data.catalogue()
    if wish.item is not None and wish.item not in view.index:
        raise UnknownNameError("item", wish.item, near(sorted(view.index), wish.item))
    own = own_query(data, wish.user) if wish.query is None else None
    query = wish.query if wish.query is not None else own
    if query is not None and not query.strip():
        raise ConfigError("the query is empty; write what is looked for, as --query 'low top sneaker'")
    with tempfile.TemporaryDirectory() as scratch:
        asking = _Asking(home, data, view, subject, runner, parameters, seed, progress, Path(scratch))
        said, left_out, item = _conversation(asking, fresh, query, wish)
    if not said:
        raise ConfigError(f"runner '{runner}' has nothing to say here ({_reasons(left_out)}); choose another --model")
    return Reply(runner, subject, query, own is not None, item, said, left_out)


def _reasons(left_out: Mapping[str, str]) -> str:
    """Every reason once, with the tasks it holds for."""
    tasks: dict[str, list[str]] = {}
    for task, why in left_out.items():
        tasks.setdefault(why, []).append(task)
    return "; ".join(f"{', '.join(names)}: {why}" for why, names in tasks.items())


def _conversation(
    asking: _Asking, runner: Runner, query: str | None, wish: Wish
) -> tuple[dict[str, Any], dict[str, str], str | None]:
    said: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    item = wish.item
    for task in ASKED:
        if item is None and task in ABOUT:
            item = next((said[name][0] for name in _LISTS if said.get(name)), None)
        if why := _why_not(asking.data, runner, task, query, item):
            left_out[task] = why
            continue
        try:
            answer = asking.answer(task, asking.subject.example(task, query, item))
        except NotLearnedError as error:
            left_out[task] = str(error)
            continue
        said[task] = answer[: wish.top] if task in _LISTS and answer is not None else answer
    return said, left_out, item


def _why_not(data: Dataset, runner: Runner, task: str, query: str | None, item: str | None) -> str:
    if task not in runner.tasks:
        return "the runner does not answer it"
    if task not in data.tasks:
        return f"{data.name} does not have it"
    if task in QUERIED and query is None:
        return "there is no query; give --query"
    if task in ABOUT and item is None:
        return "there is no item to speak of; give --item"
    return ""


class _Asking:
    """One user's way to the fits of a runner; a fit that serves several tasks is loaded once."""

    def __init__(
        self,
        home: Home,
        data: Dataset,
        view: Catalogue,
        subject: Subject,
        runner: str,
        parameters: Mapping[str, str],
        seed: int,
        progress: Progress,
        scratch: Path,
    ) -> None:
        self.home, self.data, self.view, self.subject = home, data, view, subject
        self.runner, self.parameters, self.seed = runner, dict(parameters), seed
        self.progress, self.scratch = progress, scratch
        self._loaded: dict[str, Runner] = {}

    def answer(self, task: str, example: pl.DataFrame) -> Any:
        """The checked answer to one question, in the type of the task; None where the runner could not.

        Raises:
            NotLearnedError: the runner does not answer the task, fitted as it is.
            PredictionError: its answer breaks the contract.
        """
        tasks = fitting.fitted_tasks(registry.load(self.runner, self.parameters), task, list(self.data.tasks))
        asked = Asked(self.runner, self.parameters, self.data, tasks, self.seed)
        fit = self._fit(asked)
        if fit.id not in self._loaded:
            self._loaded = {fit.id: fit.load(asked)}  # one model in memory at a time
        runner, kind = self._loaded[fit.id], TASKS[task].answer
        question = fitting.render(self.data, task, example, self.view)
        settled = answers.Asked.of(kind, question, self.view, self.data, self.seed)
        context = fitting.context(self.home, self.scratch / fit.id, asked, runner, self.progress)
        try:
            said = settled.settle(iter(runner.predict(task, question, self.view, context)))
            answer = settled.checked(list(said))[check.VALUE[kind]].to_list()[0]
        except PredictionError as error:
            raise PredictionError(f"runner '{self.runner}' on {task}: {error}") from None
        return answer["bytes"] if kind == "image" and answer is not None else answer

    def _fit(self, asked: Asked) -> Fit:
        base = self._found(asked, None)
        if self.subject.cohort == NEW_DOMAIN and isinstance(asked.fresh(), Adapting):
            return self._found(asked, base)
        return base

    def _found(self, asked: Asked, base: Fit | None) -> Fit:
        if not fitting.present(self.home, asked, base):
            what = "fit" if base is None else "adaptation to new domains"
            self.progress.say(
                f"no {what} of {self.runner} for {', '.join(asked.tasks)} with these parameters and seed yet; "
                "making it now, as `unimp-bench run` would"
            )
        return fitting.ensure(self.home, asked, self.progress, base=base)
