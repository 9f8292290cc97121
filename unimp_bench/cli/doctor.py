"""`unimp-bench doctor`: what is installed, and what is missing for what."""

from __future__ import annotations

import typer

from unimp_bench.cli.columns import show
from unimp_bench.cli.console import err


def doctor(ctx: typer.Context) -> None:
    """Say what this machine has and what each missing piece disables; exit code 1 if the toolkit itself is broken.

    Nothing is downloaded or changed. In a pipe, columns are separated by tabs.

    Example: unimp-bench doctor
    """
    from unimp_bench import doctor as examining

    found = examining.examine(ctx.obj)
    lines = [("what", "status", "found", "without it")]
    lines += [(one.name, one.status, one.found, one.without or "-") for one in found]
    show(lines)
    broken = [one.name for one in found if one.status == "broken"]
    if broken:
        err.print(f"broken: {', '.join(broken)}", markup=False)
        raise typer.Exit(1)
