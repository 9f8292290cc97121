"""Tables of a few short columns: drawn on a terminal, tabs in a pipe."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from unimp_bench.cli.console import out

if TYPE_CHECKING:
    from rich.table import Table


_COMMA = re.compile(", *")


def show(lines: Sequence[Sequence[str]], widest: int | None = None) -> None:
    """Print lines, the first of which names the columns; on a terminal cells are cut to `widest` characters."""
    lines = [[plain(cell) for cell in line] for line in lines]
    if out.is_terminal:
        if widest is not None:
            lines = [[cell if len(cell) <= widest else cell[: widest - 1] + "…" for cell in line] for line in lines]
        out.print(drawn(lines))
        return
    for line in lines:  # not by rich, which turns tabs into blanks
        typer.echo("\t".join(line))


def plain(text: str) -> str:
    """Text of somebody's file without what would steer the terminal or break the table: controls become blanks."""
    return "".join(c if c.isprintable() else " " for c in text)


def drawn(lines: Sequence[Sequence[str]]) -> Table:
    """For the terminal: lists break at their commas, names never, and nothing is left out."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column, name in enumerate(lines[0]):
        words = [word for line in lines for word in _COMMA.sub(", ", line[column]).split()]
        table.add_column(name, no_wrap=column == 0, overflow="fold", min_width=max(map(len, words), default=1))
    for line in lines[1:]:
        table.add_row(*(escape(_COMMA.sub(", ", cell)) for cell in line))
    return table
