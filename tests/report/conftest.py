from __future__ import annotations

from typing import Any

import pytest

from tests.report.shop import hostile
from unimp_bench.dataset import Dataset
from unimp_bench.places import Home
from unimp_bench.report import collect


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return hostile(tmp_path_factory.mktemp("report") / "home")


@pytest.fixture(scope="session")
def data(home: Home) -> dict[str, Any]:
    return collect(home, Dataset.open(home, "shop"))
