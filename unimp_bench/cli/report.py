"""`unimp-bench report`: one HTML file about a dataset's runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unimp_bench.cli.console import BarProgress, err, out
from unimp_bench.errors import ConfigError


def report(
    ctx: typer.Context,
    dataset: Annotated[str | None, typer.Option(help="a built dataset; without it, the one built last")] = None,
    out_file: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", dir_okay=False, help="where; without it, report.html in the home folder"),
    ] = None,
) -> None:
    """Write the leaderboard, plots and examples of a dataset as one HTML file.

    The file needs no server and no network. It shows sealed answers: do not
    publish it beside a benchmark that is still open. Its path goes to stdout.

    Example: unimp-bench report --dataset synthetic-small --out report.html
    """
    from unimp_bench.cli.run import newest
    from unimp_bench.dataset import Dataset
    from unimp_bench.report import write_report

    home = ctx.obj
    data = Dataset.open(home, newest(home) if dataset is None else dataset)
    path = home.root / "report.html" if out_file is None else out_file
    try:
        with BarProgress() as progress:
            size = write_report(home, data, path, progress)
    except OSError as error:
        raise ConfigError(f"cannot write {path} ({error.strerror}); choose another --out") from None
    err.print(
        f"{size / 1e6:.1f} MB; open it in any browser. It shows sealed answers: keep it to yourself", markup=False
    )
    out.print(str(path), markup=False)
