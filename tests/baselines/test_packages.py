"""Every learned system where its packages are not installed: one line that names what to install."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.shop import home_at
from unimp_baselines import common
from unimp_bench.dataset import Dataset
from unimp_bench.errors import ConfigError
from unimp_bench.fitting import task_data
from unimp_bench.runners import registry
from unimp_bench.runners.protocol import Context

LEARNED = [
    name
    for name, entry in registry.found().items()
    if entry.module.startswith("unimp_baselines.") and hasattr(registry.runner_class(name), "device")
]
TOLD = r"needs the package '(torch|recbole)', which is not installed; [^\n]*\[(models|unimp|recbole)\]"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return Dataset.open(home_at(tmp_path_factory.mktemp("shop") / "home"), "shop")


@pytest.fixture(autouse=True)
def nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "find_spec", lambda name: None)


def test_there_are_such_systems() -> None:
    assert {"sasrec_ce", "dense", "tiger", "mrg", "sancl", "p5", "mf", "rtm"} <= set(LEARNED)


@pytest.mark.parametrize("name", LEARNED)
def test_without_its_packages_a_system_says_what_to_install(name: str, shop: Dataset, tmp_path: Path) -> None:
    def fit() -> None:
        runner = registry.load(f"{name}NARM" if name.endswith(":") else name)
        data = {task: task_data(shop, task, new_domains=False) for task in runner.tasks}
        runner.fit(data, Context(0, tmp_path))

    with pytest.raises(ConfigError, match=TOLD) as told:
        fit()
    assert "\n" not in str(told.value)
    declared = registry.runner_class(name).packages  # type: ignore[attr-defined]
    assert f"needs the package '{declared[0]}'" in str(told.value)  # what `--model all` looks at


@pytest.mark.parametrize("name", [name for name in LEARNED if not name.endswith(":")])
def test_asking_where_it_computes_says_so_too(name: str) -> None:
    runner: Any = registry.load(name)
    with pytest.raises(ConfigError, match=TOLD):
        _ = runner.device
