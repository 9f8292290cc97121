"""`unimp-bench parity`: our metrics beside everybody's."""

from __future__ import annotations

from typing import Annotated

import typer

from unimp_bench.cli.columns import show
from unimp_bench.cli.console import BarProgress, err


def parity(seed: Annotated[int, typer.Option(min=0, help="of the random answers")] = 0) -> None:
    """Score the same random answers, ties included, by our metrics and by every library that is installed.

    Exit code 1 if any difference is above its tolerance: 1e-9, but 1e-6 for
    FID (ours rounds its shares) and where the other sums in single precision.

    Example: unimp-bench parity
    """
    from unimp_bench import parity as comparing

    with BarProgress() as progress:
        lines, absent = comparing.compare(seed, progress)
    table = [("metric", "library", "compared", "ours", "theirs", "difference", "tolerance", "agree")]
    for line in lines:
        numbers = f"{line.ours:.6f}", f"{line.theirs:.6f}", f"{line.difference:.1e}", f"{line.tolerance:.0e}"
        table.append((line.metric, line.library, line.compared, *numbers, "yes" if line.agrees else "NO"))
    show(table)
    for one in absent:
        err.print(f"not asked: {one.library}: {one.reason}", markup=False)
    wrong = sum(not line.agrees for line in lines)
    err.print(f"{len(lines) - wrong} of {len(lines)} numbers agree", markup=False)
    if wrong or not lines:
        raise typer.Exit(1)
