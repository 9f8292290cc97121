"""Options and fixtures that all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--real-data", metavar="DIR", type=Path, default=None, help="folder of real shop data")


@pytest.fixture(scope="session")
def real_data(request: pytest.FixtureRequest) -> Path:
    """The folder of real data; tests that ask for it are skipped where it is absent."""
    folder: Path | None = request.config.getoption("--real-data")
    if folder is None:
        pytest.skip("needs real files: pytest --real-data=DIR")
    if not folder.is_dir():
        pytest.fail(f"--real-data {folder} is no folder")
    return folder.resolve()
