"""`unimp-bench leaderboard`: scores of all finished runs, table by table."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from unimp_bench.cli.console import err, whole
from unimp_bench.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    import polars as pl

    from unimp_bench.places import Home
    from unimp_bench.wide import Wide

_STDOUT = Path("-")
_FORMATS = ("--csv", "--json", "--markdown", "--latex")


class Exporting(TyperCommand):
    """Reads a format without a file as `-`, stdout: no option of typer's may go without its value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # click's own types differ between versions of typer
        """Parse words, a `-` put after every format that no file follows."""
        given: list[str] = []
        for word, after in pairwise([*args, "--"]):
            bare = word in _FORMATS and after.startswith("-") and after != "-"
            given += [word, "-"] if bare else [word]
        return super().parse_args(ctx, given)


def leaderboard(
    ctx: typer.Context,
    dataset: Annotated[str | None, typer.Option(help="only this dataset")] = None,
    task: Annotated[str | None, typer.Option(help="only this task")] = None,
    cohort: Annotated[str | None, typer.Option(help="only in_domain, new_user or new_domain")] = None,
    metric: Annotated[str | None, typer.Option(help="show this metric, or `all` [default: each task's first]")] = None,
    slices: Annotated[bool, typer.Option("--slices", help="show the worst slice beside the mean instead")] = False,
    by: Annotated[
        str | None, typer.Option(help="show slices by domain, history, popularity, picture or query instead")
    ] = None,
    wide: Annotated[
        bool, typer.Option("--wide", help="one table a task and cohort, its main metrics as columns")
    ] = False,
    csv: Annotated[
        Path | None,
        typer.Option(
            metavar="[FILE]", dir_okay=False, allow_dash=True, help="all rows and columns to FILE, or here instead"
        ),
    ] = None,
    json: Annotated[
        Path | None, typer.Option(metavar="[FILE]", dir_okay=False, allow_dash=True, help="the same as JSON")
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option(
            metavar="[FILE]", dir_okay=False, allow_dash=True, help="the tables shown to FILE, or here instead"
        ),
    ] = None,
    latex: Annotated[
        Path | None,
        typer.Option(metavar="[FILE]", dir_okay=False, allow_dash=True, help="the same as LaTeX (booktabs)"),
    ] = None,
) -> None:
    """Print the leaderboard: each cohort of each task a table, best first, with 95 % bootstrap intervals.

    A row shares a tier with the row above unless a paired test (sign flips,
    Holm's correction over all pairs of the table, 5 %) separates it from the
    tier's best. Runs with --limit are not in it; runs on an earlier build of
    a dataset are in the CSV and JSON files only. Runners marked * read the
    synthetic shop's truth: they are ceilings, not systems, and have no tier.
    Several seeds are one row: its interval speaks of other users, ± of other
    seeds, and a tier wants a difference to stand out against both. With
    --slices or --by, CSV and JSON hold the slices of the rows shown. With
    --wide, bold is what no test tells apart from the best of its column.
    "peak MB" is the highest memory of the whole process while the runner
    fitted and answered: libraries, and what runs before it in the same
    command left behind, are part of it.

    --csv, --json, --markdown and --latex write to the file that follows
    and the tables are printed as ever; without one, or with -, the format
    goes to stdout in place of the tables, one format at a time.

    Example:
        unimp-bench leaderboard --task search --csv leaderboard.csv
        unimp-bench leaderboard --wide --latex tables.tex
        unimp-bench leaderboard --dataset synthetic-small --markdown
    """
    import polars as pl

    from unimp_bench.board import current, rows
    from unimp_bench.slices import DIMENSIONS
    from unimp_bench.wide import wide as side_by_side

    home = ctx.obj
    _check_names(home, dataset, task, cohort, metric)
    if by is not None and by not in DIMENSIONS:
        raise UnknownNameError("slice dimension", by, DIMENSIONS)
    if wide and (slices or by is not None):
        raise ConfigError("--wide shows whole cohorts; leave out --slices and --by, or --wide")
    wanted = {"csv": csv, "json": json, "markdown": markdown, "latex": latex}
    here = [name for name, path in wanted.items() if path == _STDOUT]
    if len(here) > 1:
        raise ConfigError(f"--{here[0]} and --{here[1]} both want stdout; give one of them a file")
    _say_unfinished(home, dataset, task)
    board = rows(home, dataset, task)
    if cohort is not None:
        board = board.filter(pl.col("cohort") == cohort)
    shown = _chosen(current(home, board), metric, wide)
    sliced = _sliced(home, shown, by) if slices or by is not None else None
    listed = board if sliced is None else sliced
    tables = side_by_side(shown, whole=metric is not None) if wide else None
    _export(home, wanted, {"csv": listed, "json": listed, "markdown": shown, "latex": shown}, tables)
    if board.height == 0:
        err.print("no finished run yet; `unimp-bench run --model floors` makes some", markup=False)
        return
    if current(home, board).height < board.height:
        err.print("runs on an earlier build of a dataset are left out; --csv has them", markup=False)
    if shown.height == 0 and metric not in (None, "all"):
        has = board["metric"].unique(maintain_order=True).to_list()
        err.print(f"no row has the metric {metric}; there are {', '.join(has)}", markup=False)
    if here:
        return
    if tables is not None:
        for one in tables:
            _show_wide(one)
    else:
        _show(shown, sliced, slices, by)


def _check_names(home: Home, dataset: str | None, task: str | None, cohort: str | None, metric: str | None) -> None:
    from unimp_bench.dataset import names
    from unimp_bench.metrics.spec import METRICS
    from unimp_bench.schemas import COHORTS
    from unimp_bench.tasks.spec import TASKS

    ran = {path.name for path in home.runs.glob("*") if path.is_dir() and not path.name.startswith(".")}
    known: tuple[tuple[str, str | None, set[str]], ...] = (
        ("dataset", dataset, set(names(home)) | ran),
        ("task", task, set(TASKS)),
        ("cohort", cohort, set(COHORTS)),
        ("metric", metric, {*METRICS, "all"}),
    )
    for kind, name, choices in known:
        if name is not None and name not in choices:
            raise UnknownNameError(kind, name, choices)


def _chosen(board: pl.DataFrame, metric: str | None, wide: bool) -> pl.DataFrame:
    """The rows of the metrics that are shown; a wide table chooses for itself where none is named."""
    import polars as pl

    from unimp_bench.tasks.spec import TASKS

    if metric == "all" or (wide and metric is None):
        return board
    if metric is not None:
        return board.filter(pl.col("metric") == metric)
    first = {name: spec.metric for name, spec in TASKS.items()}
    return board.filter(pl.col("metric") == pl.col("task").replace_strict(first, return_dtype=pl.String))


def _say_unfinished(home: Home, dataset: str | None, task: str | None) -> None:
    from unimp_bench.results import unfinished

    left = unfinished(home, dataset, task)
    if left:
        many = "1 run folder has" if len(left) == 1 else f"{len(left)} run folders have"
        err.print(f"{many} no manifest (killed, or under way), left out: {left[0]}", markup=False)


def _sliced(home: Home, shown: pl.DataFrame, by: str | None) -> pl.DataFrame:
    """The slices of the rows shown; `worst` marks each row's worst slice of enough examples."""
    import polars as pl

    from unimp_bench.board import LINE, TABLE
    from unimp_bench.slices import table, worst

    found = table(home, shown, by=by)
    keys = [*TABLE, *LINE, "slice"]
    least = worst(found).select(keys).with_columns(worst=pl.lit(True))
    return found.join(least, on=keys, how="left", maintain_order="left").with_columns(pl.col("worst").fill_null(False))


def _export(
    home: Home, wanted: dict[str, Path | None], boards: dict[str, pl.DataFrame], tables: list[Wide] | None
) -> None:
    from unimp_bench import results
    from unimp_bench import wide as side_by_side
    from unimp_bench.exports import FORMATS, write

    for name, path in wanted.items():
        if path is None:
            continue
        if tables is not None and name in ("markdown", "latex"):
            text = side_by_side.markdown_text(tables) if name == "markdown" else side_by_side.latex_text(tables)
        else:
            text = FORMATS[name](boards[name])
        if path == _STDOUT:
            typer.echo(text, nl=False)
            continue
        try:
            write(text, path)
        except OSError as error:
            raise ConfigError(f"cannot write {path} ({error.strerror}); choose another --{name}") from None
        err.print(f"{boards[name].height} rows in {path}", markup=False)
        if name == "csv":
            results.rebuild(home)


def _show_wide(one: Wide) -> None:
    from unimp_bench.cli.board_view import side_by_side

    console = whole()
    for part in side_by_side(one, console):
        console.print(part, "")


def _show(shown: pl.DataFrame, found: pl.DataFrame | None, slices: bool, by: str | None) -> None:
    from unimp_bench.board import LINE, TABLE
    from unimp_bench.cli.board_view import by_bucket, standings, worst_slices
    from unimp_bench.slices import worst

    console = whole()
    tables = shown.partition_by(TABLE, maintain_order=True)
    if found is None:
        for rows in tables:
            console.print(standings(rows, console), "")
        return
    for rows in tables:
        of_table = found.join(rows.select(*TABLE, *LINE), on=(*TABLE, *LINE), how="semi", maintain_order="left")
        if of_table.height == 0:
            what = " ".join(rows.select("task", "cohort", "metric").row(0))
            err.print(f"{what} has no slices{f' by {by}' if by else ''}", markup=False)
            continue
        if slices:
            console.print(worst_slices(rows, worst(of_table), console), "")
        if by is not None:
            console.print(by_bucket(rows, of_table, console), "")
