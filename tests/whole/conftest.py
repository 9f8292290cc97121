"""A tiny synthetic shop, built once for all tests that look at a whole dataset."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.calling import call


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the built dataset `synthetic-tiny` and its raw dumps."""
    home = tmp_path_factory.mktemp("shop")
    done = call(home, "build", "synthetic", "--size", "tiny", "--noise", "NT", "--noise", "NV")
    assert done.returncode == 0, done.stderr
    return home
