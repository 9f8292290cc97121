"""Which runner on which task: what `run` was asked, less what makes no sense."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from unimp_bench.cli.console import err
from unimp_bench.errors import ConfigError

if TYPE_CHECKING:
    from unimp_bench.budget import Budget
    from unimp_bench.dataset import Dataset
    from unimp_bench.runners.protocol import Runner


@dataclass(frozen=True)
class Job:
    """One runner on one task."""

    runner: str
    task: str


def jobs_of(
    models: str, tasks: str, data: Dataset, parameters: Mapping[str, str], budget: Budget | None = None
) -> list[Job]:
    """Every pair of runner and task that was asked for and makes sense.

    A runner named itself must be able to do what it is asked; one that only a group brought is left out otherwise.

    Raises:
        UnknownNameError: no such runner, task or parameter.
        ConfigError: a runner that was named cannot do what it is asked, or nothing is left.
    """
    from unimp_bench.runners import registry

    runners = registry.expand(",".join(_words("--model", models)))
    if parameters and len(runners) > 1:
        raise ConfigError(f"--set is for one runner, --model names {len(runners)}; run them one by one")
    named = set(_words("--model", models))
    wanted = _tasks(tasks)
    cohorts = {name: _cohorts(data, name) for name in wanted if name in data.tasks}
    found = []
    for runner in runners:
        insists = runner in named
        cls = _class(runner, parameters, data, budget, insists)
        if cls is None:
            continue
        if insists and tasks != "all" and not cls.tasks & set(wanted):
            raise ConfigError(f"runner '{runner}' does not answer {tasks}; it answers {', '.join(sorted(cls.tasks))}")
        for name in wanted:
            claims, has = name in cls.tasks, name in cohorts
            if insists and tasks != "all":
                why = "" if claims else "it does not answer that"
            elif not claims or not has:
                continue  # `all` stands for what there is
            else:
                why = "" if insists or cls.cohorts & cohorts[name] else f"{data.name} asks about no user that it knows"
            if why:
                err.print(f"leaving out {runner} on {name}: {why}", markup=False)
            else:
                found.append(Job(runner, name))
    if not found:
        raise ConfigError(f"nothing to run: none of {models} answers a task of {tasks} that {data.name} has")
    return found


def _tasks(text: str) -> list[str]:
    """Names of the tasks that a list asks for."""
    from unimp_bench.errors import UnknownNameError
    from unimp_bench.tasks.spec import TASKS

    wanted = list(TASKS) if text == "all" else _words("--task", text)
    for name in wanted:
        if name not in TASKS:
            raise UnknownNameError("task", name, [*TASKS, "all"])
    return wanted


def _class(
    runner: str, parameters: Mapping[str, str], data: Dataset, budget: Budget | None, insists: bool
) -> type[Runner] | None:
    """The runner's class; None, and a line that says why, if it is not run. One that insists raises instead."""
    from unimp_bench.runners import registry

    try:
        cls = registry.runner_class(runner)
        if parameters:
            registry.load(runner, parameters)  # a wrong one is told once, before anything is run
    except ConfigError as error:
        if insists:
            raise
        err.print(f"leaving out {runner}: {error}", markup=False)
        return None
    if not insists and (why := _obstacle(cls, data, budget)):
        err.print(f"leaving out {runner}: {why}", markup=False)
        return None
    return cls


def _obstacle(cls: type[Runner], data: Dataset, budget: Budget | None) -> str:
    """Why a runner that a group brought is left out; empty if nothing speaks against it."""
    from unimp_bench.runners import registry

    if cls.reads_truth and data.truth is None:
        return f"{data.name} has no truth to read"
    if budget is not None and budget.seconds is not None and not registry.is_budgeted(cls):
        return "it does not keep to a budget of time; run it apart, without --budget"
    absent = [name for name in getattr(cls, "packages", ()) if find_spec(name) is None]
    if absent:
        return f"it needs the package '{absent[0]}', which is not installed"
    needs: frozenset[str] = getattr(cls, "needs", frozenset())
    lacking = sorted(needs - _offered(data)) if needs else []
    return f"it learns from {' and '.join(lacking)}, and no item of {data.name} has any" if lacking else ""


def _offered(data: Dataset) -> set[str]:
    """What some item of a dataset has: pictures, text."""
    from unimp_bench.features.content import texts

    items = data.catalogue().items
    pictured = items["image_id"].null_count() < items.height
    return {what for what, there in (("pictures", pictured), ("text", any(texts(items)))) if there}


def _cohorts(data: Dataset, task: str) -> set[str]:
    """Cohorts of a task's test examples."""
    return set(data.examples(task, "test").select("cohort").unique().collect()["cohort"])


def _words(option: str, text: str) -> list[str]:
    """Parts of a comma-separated list, each once, in order."""
    words = [part.strip() for part in text.split(",")]
    if not all(words):
        raise ConfigError(f"{option} '{text}' has an empty name; write for example {option} a,b")
    return list(dict.fromkeys(words))
