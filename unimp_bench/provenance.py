"""Where a thing came from: hashes, versions and the manifest whose presence means that a folder is whole."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from unimp_bench.errors import IncompleteError
from unimp_bench.places import atomic

MANIFEST = "manifest.json"
_PACKAGES = ("unimp-bench", "polars", "pyarrow", "numpy", "pillow")


def digest(request: object) -> str:
    """16 hex digits that name a request: equal requests, whatever the order of their keys, get equal names."""
    text = json.dumps(request, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape what is written."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


@cache
def git_commit() -> str | None:
    """Commit of the checkout that this code runs from, with `+` if it was changed; None outside a checkout."""
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return None
    try:
        commit = subprocess.run(  # noqa: S603
            ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.stdout.strip()


@dataclass(frozen=True)
class Manifest:
    """What was asked, what went in, what came out.

    `inputs` maps a path as the user gave it, `outputs` a path relative to the folder, each to a SHA-256. `facts` are
    counts and statistics of the stage; nothing in them depends on the clock.
    """

    kind: str
    id: str
    request: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=versions)
    git_commit: str | None = field(default_factory=git_commit)
    created: str | None = None  # ISO 8601, UTC

    def write(self, folder: Path) -> None:
        """Write it as the last file of the folder."""
        with atomic(folder / MANIFEST) as draft:
            draft.write_text(json.dumps(dataclasses.asdict(self), indent=1, default=str) + "\n")


def read_manifest(folder: Path) -> Manifest | None:
    """The folder's manifest, or None if the folder was never finished.

    Raises:
        IncompleteError: the manifest is there and is not one.
    """
    path = folder / MANIFEST
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    try:
        return Manifest(**json.loads(text))
    except (ValueError, TypeError):
        raise IncompleteError(f"{path} is not a manifest of this version; remove {folder} and make it again") from None


def hash_outputs(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder but the manifest, by relative path; hidden files are left out."""
    return {
        str(path.relative_to(folder)): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST and not path.name.startswith(".")
    }


def sha256_tree(folder: Path) -> str:
    """One SHA-256 over the relative names and contents of all files of a folder, hidden ones left out."""
    tree = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            tree.update(f"{path.relative_to(folder)}\0{sha256(path)}\n".encode())
    return tree.hexdigest()
