"""`unimp-bench`: one program, one file a command."""

from __future__ import annotations

import errno
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from unimp_bench.cli.ask import ask
from unimp_bench.cli.audit import audit
from unimp_bench.cli.build import build
from unimp_bench.cli.compare import compare
from unimp_bench.cli.console import err, out
from unimp_bench.cli.doctor import doctor
from unimp_bench.cli.features import features
from unimp_bench.cli.inspect import inspect
from unimp_bench.cli.leaderboard import Exporting, leaderboard
from unimp_bench.cli.listing import list_
from unimp_bench.cli.parity import parity
from unimp_bench.cli.pretrain import pretrain
from unimp_bench.cli.probe import probe
from unimp_bench.cli.report import report
from unimp_bench.cli.reproduce import reproduce
from unimp_bench.cli.run import run
from unimp_bench.cli.score import score
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
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    ctx.obj = Home(home)


app.command()(build)
app.command()(pretrain)
app.command()(features)
app.command()(run)
app.command()(ask)
app.command(cls=Exporting)(leaderboard)
app.command()(report)
app.command()(reproduce)
app.command("list")(list_)
app.command()(audit)
app.command()(verify)
app.command()(score)
app.command()(compare)
app.command()(probe)
app.command()(inspect)
app.command()(doctor)
app.command()(parity)

_FULL = "nothing half-written was kept; make room or choose another --home"
_PLACE = "choose another --home or file"
_DISK = {  # what the machine may refuse, and what to do; any other OSError is our own mistake
    errno.ENOSPC: ("the disk is full", _FULL),
    errno.EFBIG: ("a file-size limit was reached", _FULL),
    errno.EDQUOT: ("the quota is used up", _FULL),
    errno.EROFS: ("a read-only file system", _PLACE),
    errno.ENOTDIR: ("a file stands where a folder is wanted", _PLACE),
    errno.EACCES: ("not allowed", "check its permissions"),
    errno.EPERM: ("not allowed", "check its permissions"),
}
_INTERRUPTED = 130


def main() -> None:
    """Run the command line; our own errors are one line on stderr and exit code 1."""
    try:
        app()
    except UnimpBenchError as error:
        err.print(f"error: {error}", markup=False, style="red")
    except OSError as error:
        if error.errno not in _DISK:
            raise
        what, advice = _DISK[error.errno]
        where = f" ({error.filename})" if error.filename else ""
        err.print(f"error: {what}{where}; {advice}", markup=False, style="red")
    except SystemExit as leaving:
        if leaving.code == _INTERRUPTED:  # typer makes this of Ctrl-C, and says nothing
            err.print("stopped; the same command without --force goes on from here", markup=False)
        raise
    else:
        return
    sys.exit(1)
