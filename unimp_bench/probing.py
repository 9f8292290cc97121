"""What a system gains by looking: a run on the clean dataset beside the same fit under each probe.

    clean run ─┬─ minus the run under probe:blank_pictures   = gain of pictures
               ├─ …                     probe:no_text         = gain of the items' words
               └─ …                     probe:other_history   = personalization gain

Every run is an ordinary one, found where it was made before; the differences are those of `comparing`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from unimp_bench import comparing, execute, probes
from unimp_bench.dataset import CLEAN, Dataset
from unimp_bench.errors import ConfigError, UnknownNameError
from unimp_bench.metrics.comparison import Difference
from unimp_bench.metrics.spec import METRICS
from unimp_bench.places import Home
from unimp_bench.progress import Progress, Silent
from unimp_bench.results import Record
from unimp_bench.scoring import suite


@dataclass(frozen=True)
class Gain:
    """One metric of one cohort with and without what a probe takes away.

    `gain` is positive where the system is better with it, whichever way the metric points; None where `why_not` says
    why.
    """

    probe: str
    metric: str
    cohort: str
    clean: float | None
    probed: float | None
    gain: Difference | None
    why_not: str = ""


def probe(
    home: Home,
    dataset: str,
    task: str,
    runner: str,
    *,
    parameters: Mapping[str, str] = MappingProxyType({}),
    seed: int = 0,
    limit: int | None = None,
    wanted: Sequence[str] = (),
    progress: Progress | None = None,
) -> list[Gain]:
    """Run a runner on a task without and with probes, and compare.

    Args:
        home: where data, fits and runs stand.
        dataset: name of a built dataset.
        task: one of `TASKS`.
        runner: name in the registry.
        parameters: the runner's fields as strings.
        seed: of the runner's randomness.
        limit: ask only that many examples.
        wanted: names in `probes.PROBES`; all that the dataset allows by default.
        progress: told what happens.

    Raises:
        UnknownNameError: no such dataset, task, runner or probe.
        ConfigError: as for `execute.run`; or no probe takes anything away.
    """
    progress = progress or Silent()
    for name in wanted:
        if name not in probes.PROBES:
            raise UnknownNameError("probe", name, probes.PROBES)
    data = Dataset.open(home, dataset)
    chosen = []
    for name in wanted or probes.PROBES:
        if reason := probes.why_not(data, name):
            progress.say(f"leaving out {name}: {reason}")
        else:
            chosen.append(name)
    if not chosen:
        raise ConfigError(f"{dataset}: no probe of {', '.join(wanted)} takes anything away; choose another")

    def ran(variant: str) -> Record:
        folder = execute.run(
            home,
            dataset,
            task,
            runner,
            parameters=parameters,
            seed=seed,
            limit=limit,
            variant=variant,
            progress=progress,
        )
        return comparing.find(home, str(folder.resolve()))

    clean = ran(CLEAN)
    return [gain for name in chosen for gain in gains(task, clean, ran(name), name)]


def gains(task: str, clean: Record, probed: Record, name: str) -> list[Gain]:
    """All metrics of two runs, the task's first one first."""
    order = {metric: place for place, metric in enumerate(suite(task))}
    rows = sorted(comparing.contrast(clean, probed).rows, key=lambda row: order[row.metric])
    return [
        Gain(name, row.metric, row.cohort, row.a, row.b, _turned(row.metric, row.difference), row.why_not)
        for row in rows
    ]


def _turned(metric: str, gap: Difference | None) -> Difference | None:
    """Clean minus probed as a gain: turned round where less is better."""
    if gap is None or METRICS[metric].higher_is_better:
        return gap
    return dataclasses.replace(gap, value=0.0 - gap.value, low=0.0 - gap.high, high=0.0 - gap.low)
