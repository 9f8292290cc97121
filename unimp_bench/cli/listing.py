"""`unimp-bench list`: what there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from unimp_bench.cli.columns import show
from unimp_bench.cli.console import err
from unimp_bench.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from unimp_bench.places import Home


def list_(
    ctx: typer.Context,
    kind: Annotated[str, typer.Argument(help="datasets, tasks, models, metrics or encoders")] = "models",
) -> None:
    """List datasets, tasks, models, metrics or encoders, one a line; in a pipe, columns are separated by tabs.

    Example: unimp-bench list models
    """
    kinds: dict[str, Callable[[Home], list[tuple[str, ...]]]] = {
        "datasets": _datasets,
        "tasks": _tasks,
        "models": _models,
        "metrics": _metrics,
        "encoders": _encoders,
    }
    if kind not in kinds:
        raise UnknownNameError("list", kind, kinds)
    lines = kinds[kind](ctx.obj)
    if len(lines) == 1:
        err.print(f"no {kind} yet", markup=False)
        return
    show(lines)


def _datasets(home: Home) -> list[tuple[str, ...]]:
    from unimp_bench.dataset import Dataset, names

    lines: list[tuple[str, ...]] = [
        ("name", "protocol", "interactions", "users", "items", "tasks", "split", "variants")
    ]
    for name in names(home):
        data = Dataset.open(home, name)
        facts = data.manifest.facts
        counts = [str(facts.get("counts", {}).get(what, "?")) for what in ("interactions", "users", "items")]
        variants = ",".join(data.variants())
        lines.append((name, facts["protocol"], *counts, ",".join(data.tasks), data.split_hash[:8], variants))
    return lines


def _tasks(home: Home) -> list[tuple[str, ...]]:
    from unimp_bench.tasks.spec import TASKS

    lines: list[tuple[str, ...]] = [("name", "version", "answer", "first metric", "needs", "without an answer")]
    for spec in TASKS.values():
        needs = ",".join(sorted(spec.needs)) or "-"
        lines.append((spec.name, str(spec.version), spec.answer, spec.metric, needs, spec.unanswered))
    return lines


def _models(home: Home) -> list[tuple[str, ...]]:
    from unimp_bench.runners import registry

    lines: list[tuple[str, ...]] = [("name", "version", "tasks", "parameters", "from")]
    for name, entry in registry.found().items():
        package = entry.dist.name if entry.dist is not None else "?"
        try:
            cls = registry.runner_class(name)
        except ConfigError as error:
            err.print(str(error), markup=False)
            lines.append((name, "?", "?", "?", package))
            continue
        parameters = ",".join(f"{key}={field.default}" for key, field in registry.parameters(cls).items()) or "-"
        lines.append((name, str(cls.version), ",".join(sorted(cls.tasks)), parameters, package))
    return lines


def _metrics(home: Home) -> list[tuple[str, ...]]:
    from unimp_bench.metrics.spec import METRICS

    lines: list[tuple[str, ...]] = [("name", "answer", "better", "aggregate")]
    for spec in METRICS.values():
        lines.append((spec.name, spec.answer_kind, "higher" if spec.higher_is_better else "lower", spec.aggregate))
    return lines


def _encoders(home: Home) -> list[tuple[str, ...]]:
    from unimp_bench.features import registry

    lines: list[tuple[str, ...]] = [("name", "reads", "what it is", "from")]
    for name, entry in registry.found().items():
        package = entry.dist.name if entry.dist is not None else "?"
        try:
            cls = registry.encoder_class(name)
        except ConfigError as error:
            err.print(str(error), markup=False)
            lines.append((name, "?", "?", package))
            continue
        what = (cls.__doc__ or "").strip().split("\n")[0].rstrip(".")
        lines.append((name, str(cls.modality), what, package))
    return lines
