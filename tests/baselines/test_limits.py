"""What a budget asks of every baseline: training that keeps to a limit, and values to search that make sense."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

if find_spec("torch") is None:
    pytest.skip("needs PyTorch: pip install -e '.[models]'", allow_module_level=True)

import torch

from tests.shop import home_at
from unimp_baselines.learning import Plan, is_late, train
from unimp_bench import curves
from unimp_bench.dataset import Dataset
from unimp_bench.errors import ConfigError
from unimp_bench.fitting import task_data
from unimp_bench.runners import registry
from unimp_bench.runners.protocol import Context

_FAST = ("sasrec_ce", "hem")
_SMALL = {  # where a runner has such a parameter
    **{"embedding": "16", "hidden": "16", "inner": "16", "width": "16", "layers": "1", "vocabulary": "300"},
    **{"windows": "1", "selections": "1", "valid_questions": "5", "heads": "2", "beam": "2"},
}


def _found() -> dict[str, Any]:
    """Classes of all baselines at hand."""
    found = {}
    for name, entry in registry.found().items():
        if entry.module.startswith("unimp_baselines.") and not name.endswith(registry.FAMILY):
            try:
                found[name] = registry.runner_class(name)
            except ConfigError:  # its extra is not installed
                continue
    return found


FOUND = _found()
LEARNING = sorted(name for name, cls in FOUND.items() if "max_seconds" in registry.parameters(cls))
THROUGH_RECBOLE = [name for name in LEARNING if ".recbole." in FOUND[name].__module__]


@pytest.fixture
def shop(tmp_path: Path) -> Dataset:
    return Dataset.open(home_at(tmp_path / "home"), "shop")


def _epochs(shop: Dataset, folder: Path, name: str, max_seconds: float | None) -> tuple[dict[str, int], Context]:
    """The last epoch of each stage of a fit that may have two of them."""
    folder.mkdir()
    cls = FOUND[name]
    fields = registry.parameters(cls)
    two = {key: "2" for key in fields if key == "epochs" or key.endswith("_epochs")}
    small = {key: value for key, value in _SMALL.items() if key in fields}
    runner = registry.create(name, cls, {**small, **two})
    data = {task: task_data(shop, task, new_domains=False) for task in sorted(cls.tasks)}
    context = Context(0, folder, curve=folder / curves.NAME, max_seconds=max_seconds)
    runner.fit(data, context)
    curve = curves.read(folder / curves.NAME)
    return {stage: max(curve.filter(curve["stage"] == stage)["step"]) for stage in curve["stage"].unique()}, context


@pytest.mark.parametrize(
    "name", [name if name in _FAST else pytest.param(name, marks=pytest.mark.slow) for name in LEARNING]
)
def test_training_keeps_to_the_limit(shop: Dataset, tmp_path: Path, name: str) -> None:
    if name in THROUGH_RECBOLE and find_spec("recbole") is None:
        pytest.skip("needs RecBole: pip install --no-deps recbole==1.2.1")
    free, _ = _epochs(shop, tmp_path / "free", name, None)
    bound, _ = _epochs(shop, tmp_path / "bound", name, 1e-9)
    assert free["fit"] == 2
    assert set(bound.values()) == {1}


@pytest.mark.parametrize(("own", "given", "limit"), [(0, None, 0), (5, None, 5), (0, 3, 3), (5, 3, 3), (2, 3, 2)])
def test_the_lesser_of_two_limits_counts(own: float, given: float | None, limit: float, tmp_path: Path) -> None:
    assert Context(0, tmp_path, max_seconds=given).limit(own) == limit


def test_no_epoch_begins_that_would_end_late() -> None:
    assert not is_late(10.0, 5, 12.0)  # the sixth takes two seconds, and ends in time
    assert is_late(10.0, 5, 11.9)
    assert not is_late(10.0, 5, 0.0)


def test_an_epoch_that_is_too_long_is_cut(tmp_path: Path) -> None:
    batches: list[int] = []

    def epoch(generator: torch.Generator, number: int) -> Iterator[tuple[torch.Tensor, int]]:
        for batch in range(1_000):
            batches.append(batch)
            time.sleep(0.01)
            yield network(torch.ones(1, 1)).sum(), 1

    network = torch.nn.Linear(1, 1)
    facts = train(
        network, epoch, lambda: None, Plan("cut", 5, 5, 0.1, 0, 0.1), tmp_path / "checkpoint", lambda *_: None
    )
    assert 1 <= len(batches) <= 10
    assert facts["epoch"] == 1


def test_a_validation_that_is_no_number_is_told(tmp_path: Path) -> None:
    def epoch(generator: torch.Generator, number: int) -> Iterator[tuple[torch.Tensor, int]]:
        yield network(torch.ones(1, 1)).sum(), 1

    network, given = torch.nn.Linear(1, 1), iter([0.1, float("nan")])
    plan = Plan("mine", 5, 5, 0.1, 0, 0.0)
    with pytest.raises(ConfigError, match=r"^mine: validation gives nan in epoch 2; set a lower lr$"):
        train(network, epoch, lambda: next(given), plan, tmp_path / "checkpoint", lambda *_: None)


def test_the_worker_tells_of_its_memory(shop: Dataset, tmp_path: Path) -> None:
    if find_spec("recbole") is None:
        pytest.skip("needs RecBole: pip install --no-deps recbole==1.2.1")
    _, context = _epochs(shop, tmp_path / "a", "mf", None)
    assert context.megabytes_elsewhere > 100  # PyTorch alone takes more


@pytest.mark.parametrize("name", sorted(name for name, cls in FOUND.items() if getattr(cls, "search", {})))
def test_every_value_that_is_searched_makes_sense(name: str) -> None:
    cls = FOUND[name]
    for values in itertools.product(*cls.search.values()):
        setting = dict(zip(cls.search, map(str, values), strict=True))
        assert {key: str(getattr(registry.create(name, cls, setting), key)) for key in setting} == setting
