"""Lists, category paths first of all, as people write them into one table cell."""

from __future__ import annotations

import re

from unimp_bench.data import values
from unimp_bench.data.literals import parse_literal

_SEPARATORS = (" > ", ">", "|", " / ")
# In an unquoted list a comma followed by a space belongs to a name ("Clothing, Shoes & Jewelry"), a bare one separates.
_BARE_COMMA = re.compile(r",(?! )")


def listed(cell: object) -> object:
    """The list that a text such as `['a', 'b']` spells; any other value as it is."""
    if not (isinstance(cell, str) and cell.lstrip().startswith("[")):
        return cell
    try:
        literal = parse_literal(cell.strip().encode())
    except ValueError:
        return cell
    return literal if isinstance(literal, list) else cell


def first_path(cell: object) -> list[str] | None:
    """One path, root first: of a list, a list of lists, `a > b`, `a|b`, `['a', 'b']` or the bare `[[a,b],[c]]`."""
    cell = listed(cell)
    if isinstance(cell, list):
        nested = any(isinstance(one, list) for one in cell)
        return values.best_path(cell) if nested else values.path(cell)
    if not isinstance(cell, str) or not cell.strip():
        return None
    text = cell.strip()
    if text[0] == "[" and text[-1] == "]":
        paths = [part.strip("[]") for part in re.split(r"\]\s*,\s*\[", text)]
        return values.best_path([[name.strip() for name in _BARE_COMMA.split(path)] for path in paths])
    for mark in _SEPARATORS:
        if mark in text:
            return values.path([name.strip() for name in text.split(mark)])
    return values.path([text])
