"""The leaderboard as text for others: CSV and JSON with every column, Markdown and LaTeX as tables to be read.

Names come from other people's packages and datasets, so whatever a format gives a meaning to is escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
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
    "·": r"\textperiodcentered{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}
_SPACE = re.compile(r"\s+")


def csv_text(board: pl.DataFrame) -> str:
    """All rows and columns as CSV."""
    return board.write_csv()


def json_text(board: pl.DataFrame) -> str:
    """All rows and columns as a JSON list of objects; parameters are an object, what is not known is null."""
    rows = [{**row, "parameters": json.loads(row["parameters"])} for row in board.iter_rows(named=True)]
    return json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def markdown_text(board: pl.DataFrame) -> str:
    """Every table of the leaderboard as a pipe table under a heading."""
    parts = []
    for table in _tables(board):
        cells = [[_markdown(cell) for cell in line.values()] for line in _lines(table)]
        header = [_markdown(name) for name in _lines(table)[0]]
        rule = ["---", *["---:"] * (len(header) - 1)]
        drawn = "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *cells))
        parts.append(f"### {_markdown(title(table))}\n\n{drawn}\n\n{_markdown(caption(table))}\n")
    return "\n".join(parts)


def latex_text(board: pl.DataFrame) -> str:
    r"""Every table of the leaderboard as a `table` with booktabs rules; the first tier is bold."""
    parts = ["% needs \\usepackage{booktabs}\n"]
    for table in _tables(board):
        lines = _lines(table)
        body = []
        for tier, line in zip(table["tier"], lines, strict=True):
            cells = [_latex(cell) for cell in line.values()]
            if tier == 1:
                cells[1] = f"\\textbf{{{cells[1]}}}"
            body.append(" & ".join(cells) + r" \\")
        columns = "l" + "r" * (len(lines[0]) - 1)
        parts.append(
            "\n".join(
                (
                    r"\begin{table}",
                    r"\centering",
                    f"\\caption{{{_latex(f'{title(table)}: {caption(table)}')}}}",
                    f"\\begin{{tabular}}{{{columns}}}",
                    r"\toprule",
                    " & ".join(_latex(name) for name in lines[0]) + r" \\",
                    r"\midrule",
                    *body,
                    r"\bottomrule",
                    r"\end{tabular}",
                    r"\end{table}",
                    "",
                )
            )
        )
    return "\n".join(parts)


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
