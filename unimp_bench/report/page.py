"""The page: template, style, scripts and data in one file, under a policy that lets nothing else in.

Nothing from a dataset ever becomes markup: it stands in one JSON block whose `<`, `>` and `&` are escaped, and the
script puts it into the page as text alone. The policy allows the one script whose hash it names, and no connection.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from unimp_bench.dataset import Dataset
from unimp_bench.places import Home, atomic
from unimp_bench.progress import Progress, Silent
from unimp_bench.report.collect import collect

SCRIPTS = (
    "base.js",
    "filters.js",
    "table.js",
    "plots.js",
    "curves.js",
    "learning.js",
    "mistakes.js",
    "examples.js",
    "page.js",
)
_ESCAPED = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def write_report(home: Home, dataset: Dataset, path: Path, progress: Progress | None = None) -> int:
    """Write the report on a dataset's runs to a file, whole or not at all; returns its size in bytes.

    Raises:
        ConfigError: there is no finished run to report on.
        IncompleteError: a finished run's files cannot be read.
    """
    text = assemble(collect(home, dataset, progress or Silent())).encode()
    with atomic(path) as draft:
        draft.write_bytes(text)
    return len(text)


def assemble(data: Mapping[str, Any]) -> str:
    """The whole page around the data of `collect`."""
    script = _script()
    parts = {
        "title": html.escape(f"{data['meta']['dataset']} · unimp-bench report"),
        "policy": html.escape(_policy(script), quote=True).replace("&#x27;", "'"),
        "style": _static("page.css"),
        "data": embedded(data),
        "script": script,
    }
    # One pass: a title that holds the name of another part stays what it is.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _static("page.html"))


def embedded(data: Mapping[str, Any]) -> str:
    """The data as JSON that cannot end the block it stands in."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).translate(_ESCAPED)


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _script() -> str:
    """All scripts as one, in a scope of its own."""
    parts = "\n".join(_static(name) for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}\n}})();\n'


def _static(name: str) -> str:
    # Line ends as the browser sees them, or the hash would not match.
    return files("unimp_bench.report").joinpath("static", name).read_text("utf-8").replace("\r\n", "\n")
