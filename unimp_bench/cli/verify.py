"""`unimp-bench verify`: hash every file again, back to the raw input."""

from __future__ import annotations

from typing import Annotated

import typer

from unimp_bench.cli.console import BarProgress, out


def verify(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="a built dataset")],
    runs: Annotated[bool, typer.Option(help="also check the runs on it, and their fits")] = True,
) -> None:
    """Check that a dataset, its variants and its runs are what was written, from what was read.

    Example: unimp-bench verify synthetic-small
    """
    from unimp_bench import verify as verifying
    from unimp_bench.dataset import Dataset

    home = ctx.obj
    dataset = Dataset.open(home, name)
    chain = verifying.links(dataset, home if runs else None)
    raw = sum(link.raw for link in chain)
    with BarProgress() as progress:
        problems = verifying.verify(dataset, home if runs else None, progress)
    if not problems:
        out.print(f"{name}: {len(chain) - raw:,} files match back to {raw:,} raw files", markup=False)
        return
    for problem in problems:
        out.print(str(problem), markup=False)
    out.print(
        f"{name}: {len(problems):,} problems in {len(chain):,} files; build or run again with --force", markup=False
    )
    raise typer.Exit(1)
