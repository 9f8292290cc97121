"""The leaderboard as text for others: CSV and JSON with every column, Markdown and LaTeX as tables to be read.

Names come from other people's packages and datasets, so whatever a format gives a meaning to is escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl

from unimp_bench.board import TABLE
from unimp_bench.metrics.spec import METRICS
from unimp_bench.places import atomic

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",  # noqa: RUF001
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "·": r"\textperiodcentered{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}
_SPACE = re.compile(r"\s+")
LATEX_HEAD = "% needs \\usepackage{booktabs}\n"
Place = tuple[int, int]  # row and column of a cell


def csv_text(board: pl.DataFrame) -> str:
    """All rows and columns as CSV."""
    return board.write_csv()


def json_text(board: pl.DataFrame) -> str:
    """All rows and columns as a JSON list of objects; parameters are an object, what is not known is null."""
    rows = list(board.iter_rows(named=True))
    if "parameters" in board.columns:
        rows = [{**row, "parameters": json.loads(row["parameters"])} for row in rows]
    return json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def markdown_text(board: pl.DataFrame) -> str:
    """Every table of the leaderboard as a pipe table under a heading."""
    return "\n".join(
        markdown_table(title(table), caption(table), list(lines[0]), [list(line.values()) for line in lines])
        for table in _tables(board)
        for lines in [_lines(table)]
    )


def markdown_table(
    heading: str, note: str, header: Sequence[str], rows: Sequence[Sequence[str]], bold: Collection[Place] = ()
) -> str:
    """A pipe table under a heading, with a note below; cells (row, column) of `bold` are bold."""
    cells = [
        [f"**{_markdown(cell)}**" if (y, x) in bold else _markdown(cell) for x, cell in enumerate(row)]
        for y, row in enumerate(rows)
    ]
    rule = ["---", *["---:"] * (len(header) - 1)]
    drawn = "\n".join(f"| {' | '.join(line)} |" for line in ([_markdown(name) for name in header], rule, *cells))
    return f"### {_markdown(heading)}\n\n{drawn}\n\n{_markdown(note)}\n"


def latex_text(board: pl.DataFrame) -> str:
    r"""Every table of the leaderboard as a `table` with booktabs rules; the first tier is bold."""
    parts = [LATEX_HEAD]
    for table in _tables(board):
        lines = _lines(table)
        bold = {(place, 1) for place, tier in enumerate(table["tier"]) if tier == 1}
        rows = [list(line.values()) for line in lines]
        parts.append(latex_table(title(table), caption(table), list(lines[0]), rows, bold))
    return "\n".join(parts)


def latex_table(
    heading: str, note: str, header: Sequence[str], rows: Sequence[Sequence[str]], bold: Collection[Place] = ()
) -> str:
    """A `table` with booktabs rules; cells (row, column) of `bold` are bold."""
    body = [
        " & ".join(f"\\textbf{{{_latex(cell)}}}" if (y, x) in bold else _latex(cell) for x, cell in enumerate(row))
        for y, row in enumerate(rows)
    ]
    return "\n".join(
        (
            r"\begin{table}",
            r"\centering",
            f"\\caption{{{_latex(f'{heading}: {note}')}}}",
            f"\\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
            r"\toprule",
            " & ".join(_latex(name) for name in header) + r" \\",
            r"\midrule",
            *(line + r" \\" for line in body),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        )
    )


FORMATS: Mapping[str, Callable[[pl.DataFrame], str]] = {
    "csv": csv_text,
    "json": json_text,
    "markdown": markdown_text,
    "latex": latex_text,
}


def write(text: str, path: Path) -> None:
    """Write a file whole or not at all."""
    with atomic(path) as draft:
        draft.write_text(text, encoding="utf-8")


def title(table: pl.DataFrame) -> str:
    """What the rows of one table are results of."""
    first = table.row(0, named=True)
    variant = "" if first["variant"] == "clean" else f" · {first['variant']}"
    return f"{first['dataset']}{variant} · {first['task']} · {first['cohort']}"


def caption(table: pl.DataFrame) -> str:
    """What one must know to read the rows of one table."""
    first = table.row(0, named=True)
    better = "higher" if METRICS[first["metric"]].higher_is_better else "lower"
    known = [value for value in table["detectable"] if value is not None]
    differences = f" · detectable difference about {median(known):.4f}" if known else ""
    return (
        f"n = {first['n']:,} · {better} is better · task version {first['task_version']} · "
        f"protocol {first['protocol']} · split {first['split_hash'][:8]}{differences}"
    )


def labels(rows: pl.DataFrame) -> list[str]:
    """What tells the rows of a table apart: the runner, and the parameters that differ between rows of one runner."""
    given = [json.loads(text) for text in rows["parameters"]]
    found = []
    for runner, mine, truth in zip(rows["runner"], given, rows["reads_truth"], strict=True):
        others = [one for one, name in zip(given, rows["runner"], strict=True) if name == runner]
        keys = [key for key in mine if any(key not in one or one[key] != mine[key] for one in others)]
        which = " " + ",".join(f"{key}={mine[key]}" for key in keys) if keys else ""
        found.append(f"{runner}{which}{' *' if truth else ''}")
    return found


def interval(row: Mapping[str, Any]) -> str:
    """The ends of a row's interval."""
    return "-" if row["low"] is None else f"{row['low']:.4f} – {row['high']:.4f}"  # noqa: RUF001


def _tables(board: pl.DataFrame) -> list[pl.DataFrame]:
    return board.partition_by(TABLE, maintain_order=True)


def _lines(table: pl.DataFrame) -> list[dict[str, str]]:
    return [
        {
            "runner": label,
            row["metric"]: "-" if row["value"] is None else f"{row['value']:.4f}",
            "95 % interval": interval(row),
            "tier": "" if row["tier"] is None else str(row["tier"]),
            "unanswered": f"{row['unanswered']:,}",
            "seeds": row["seeds"],
        }
        for label, row in zip(labels(table), table.iter_rows(named=True), strict=True)
    ]


def _markdown(text: str) -> str:
    """Text that is nothing but text in a cell of a pipe table, and no HTML either."""
    plain = _SPACE.sub(" ", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]|#~])", r"\\\1", plain)


def _latex(text: str) -> str:
    """Text that is nothing but text in LaTeX."""
    return "".join(_LATEX.get(sign, sign) for sign in _SPACE.sub(" ", text))
