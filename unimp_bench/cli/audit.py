"""`unimp-bench audit`: look for leaks in a built dataset."""

from __future__ import annotations

from typing import Annotated

import typer

from unimp_bench.cli.console import BarProgress, out


def audit(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="a built dataset")],
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a check")] = False,
) -> None:
    """Run all leak checks: one line each with pass, fail or a figure; exit code 1 if one fails.

    Example: unimp-bench audit synthetic-small
    """
    import dataclasses
    import json

    from unimp_bench import audit as auditing
    from unimp_bench.dataset import Dataset

    dataset = Dataset.open(ctx.obj, name)
    with BarProgress() as progress:
        checks = auditing.audit(dataset, progress)
    widest = max(len(check.name) for check in checks)
    for check in checks:
        line = f"{check.status:<4}  {check.name:<{widest}}  {check.value!s:>8}  {check.detail}"
        out.print(json.dumps(dataclasses.asdict(check)) if as_json else line, markup=False)
    auditing.require(checks, name)
