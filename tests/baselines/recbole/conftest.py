"""What the tests of runners through RecBole share; all are skipped where it is not installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.shop import home_at
from unimp_bench.dataset import Dataset

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if find_spec("recbole") is None:
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="needs RecBole: pip install --no-deps recbole==1.2.1"))


@pytest.fixture
def shop(tmp_path: Path) -> Dataset:
    """The tiny shop, built."""
    return Dataset.open(home_at(tmp_path / "home"), "shop")
