r"""Python-literal lines (the metadata of Amazon 2014) parsed without evaluating anything.

Three ways, each exact for what it accepts, the fastest first: swap the quotes (a line without `"` and `\` has no quote
inside a string); rewrite token by token to JSON; the literal parser of the standard library for what is left (tuples,
Python numbers). What none of them takes is refused: names, calls and operators are no literals.
"""

from __future__ import annotations

import ast
import re
import unicodedata
import warnings
from typing import Any

import orjson

_TOKEN = re.compile(r"""(?P<one>u?'(?:[^'\\]|\\.)*')|(?P<two>u?"(?:[^"\\]|\\.)*")|\b(?:None|True|False)\b""", re.DOTALL)
_NAMES = {"None": "null", "True": "true", "False": "false"}
_ESCAPE = re.compile(
    r"\\(?:(?P<hex>x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})|(?P<oct>[0-7]{1,3})|N\{(?P<name>[^}]*)\}|(?P<one>.))",
    re.DOTALL,
)
_SIMPLE = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "'": "'", '"': '"', "\\": "\\"}
_MAX_CODE = 0x10FFFF


def _unescape(match: re.Match[str]) -> str:
    if match["hex"] or match["oct"]:
        code = int(match["hex"][1:], 16) if match["hex"] else int(match["oct"], 8)
        if code > _MAX_CODE:
            raise ValueError(f"no character {match[0]}")
        return chr(code)
    if match["name"] is not None:
        try:
            return unicodedata.lookup(match["name"])
        except KeyError:
            raise ValueError(f"no character {match[0]}") from None
    if match["one"] == "\n":
        return ""
    if match["one"] in "xuUN":
        raise ValueError(f"broken escape {match[0]}")
    return _SIMPLE.get(match["one"], match[0])  # an unknown escape stays as it stands, as Python keeps it


def joined_surrogates(text: str) -> str:
    """The text with surrogate pairs joined and lone ones replaced, so that it can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _rewrite(match: re.Match[str]) -> str:
    token = match[0]
    if token in _NAMES:
        return _NAMES[token]
    inner = token[2:-1] if token[0] == "u" else token[1:-1]
    if "\\" in inner:
        inner = joined_surrogates(_ESCAPE.sub(_unescape, inner))
    return orjson.dumps(inner).decode()


def _tidy(value: Any) -> Any:
    """The value with tuples as lists, and text that can be written."""
    if isinstance(value, dict):
        return {_tidy(k): _tidy(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_tidy(v) for v in value]
    return joined_surrogates(value) if isinstance(value, str) else value


def parse_literal(line: bytes) -> Any:
    """The value of a Python literal.

    Raises:
        ValueError: not UTF-8, or anything but a literal.
    """
    if b'"' not in line and b"\\" not in line and not any(n in line for n in (b"None", b"True", b"False")):
        try:
            return orjson.loads(line.replace(b"'", b'"'))
        except orjson.JSONDecodeError:
            pass
    text = line.decode()
    try:
        return orjson.loads(_TOKEN.sub(_rewrite, text))
    except orjson.JSONDecodeError:
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            return _tidy(ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueError("code or broken syntax") from None
