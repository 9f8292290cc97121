"""What the tests of whole builds share: the command line as a user calls it, and all Parquet bytes of a folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any


def call(home: Path, *words: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command line as a user calls it."""
    line = [sys.executable, "-m", "unimp_bench", "--home", str(home), *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, check=False, **options)


def parquet(folder: Path) -> dict[str, bytes]:
    """Bytes of every Parquet file, by relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}
