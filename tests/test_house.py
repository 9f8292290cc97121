"""Rules of the house that the import contracts cannot say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import unimp_bench

ROOT = Path(unimp_bench.__file__).parent


def test_only_tables_touches_parquet() -> None:
    words = ("pyarrow.parquet", "read_parquet", "scan_parquet", "write_parquet", "sink_parquet")
    guilty = [
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        if path.name != "tables.py" and any(word in path.read_text() for word in words)
    ]
    assert guilty == []


def test_help_imports_neither_polars_nor_torch() -> None:
    code = """
import sys
from unimp_bench.cli.main import app
from typer.testing import CliRunner
names = [command.name or command.callback.__name__ for command in app.registered_commands]
assert "build" in names
for command in ("", *names):
    assert CliRunner().invoke(app, [*command.split(), "--help"]).exit_code == 0, command
heavy = {"polars", "torch", "pyarrow", "numpy", "PIL", "scipy", "evaluate", "httpx"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_the_package_offers_is_what_it_lists() -> None:
    assert dir(unimp_bench) == unimp_bench.__all__ == sorted(unimp_bench.__all__)
    for name in unimp_bench.__all__:
        assert getattr(unimp_bench, name) is not None
