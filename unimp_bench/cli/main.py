"""`unimp-bench`: one program, one file a command."""

from __future__ import annotations

import errno
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from unimp_bench.cli.audit import audit
from unimp_bench.cli.build import build
from unimp_bench.cli.console import err, out
from unimp_bench.cli.leaderboard import leaderboard
from unimp_bench.cli.listing import list_
from unimp_bench.cli.run import run
from unimp_bench.cli.verify import verify
from unimp_bench.errors import UnimpBenchError
from unimp_bench.places import Home

app = typer.Typer(
    name="unimp-bench",
    help="Multi-modal personalization benchmark: raw shop data to six tasks, any system, one leaderboard.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"unimp-bench {version('unimp-bench')}")
        raise typer.Exit


@app.callback()
def _root(
    ctx: typer.Context,
    home: Annotated[Path, typer.Option(help="Folder that holds data/ and runs/.", file_okay=False)] = Path(),
    _show_version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    ctx.obj = Home(home)


app.command()(build)
app.command()(run)
app.command()(leaderboard)
app.command("list")(list_)
app.command()(audit)
app.command()(verify)

_DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EFBIG: "a file-size limit was reached",
    errno.EDQUOT: "the quota is used up",
}


def main() -> None:
    """Run the command line; our own errors are one line on stderr and exit code 1."""
    try:
        app()
    except UnimpBenchError as error:
        err.print(f"error: {error}", markup=False, style="red")
    except OSError as error:
        what = _DISK.get(error.errno or 0)
        if what is None and not isinstance(error, PermissionError):
            raise
        where = f" ({error.filename})" if error.filename else ""
        advice = (
            "nothing half-written was kept; make room or choose another --home" if what else "check its permissions"
        )
        err.print(f"error: {what or 'not allowed'}{where}; {advice}", markup=False, style="red")
    except KeyboardInterrupt:
        err.print("stopped; the same command goes on from here", markup=False)
        sys.exit(130)
    else:
        return
    sys.exit(1)
