"""Every registered runner keeps the contract: those that train nothing here, the others in their own tests."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.shop import home_at
from unimp_bench import answers
from unimp_bench.dataset import Dataset
from unimp_bench.fitting import Adapting, fitted_tasks, task_data
from unimp_bench.runners import registry
from unimp_bench.runners.protocol import Context
from unimp_bench.tasks.spec import TASKS

TESTS = Path(__file__).parent.parent
CLASSES: dict[str, Any] = {name: registry.runner_class(name) for name in registry.found()}
# What is tested by a shop of its own, in tests that are not called after the contract.
ELSEWHERE = {
    "oracle": "baselines/test_oracle.py::test_answers_do_not_depend_on_the_company",
    "oracle_history": "baselines/test_oracle.py::test_answers_do_not_depend_on_the_company",
    "oracle_unordered": "baselines/test_oracle.py::test_without_order_each_purchase_may_have_been_the_last",
    "unimp": "unimp/test_runner.py::test_every_task_is_answered_for_every_cohort",
}
HERE = [name for name, cls in CLASSES.items() if not hasattr(cls, "device") and name not in ELSEWHERE]


def _tested(path: Path) -> set[str]:
    """Names of classes that a file uses, if it has a test of the contract; imports and annotations are no use."""
    tree = ast.parse(path.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    if not any(one.name.startswith("test_") and "contract" in one.name for one in functions):
        return set()
    annotations = [note for node in ast.walk(tree) for note in (getattr(node, "annotation", None),) if note]
    annotations += [one.returns for one in functions if one.returns]
    left_out = {id(part) for note in annotations for part in ast.walk(note)}
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in left_out}


def test_every_runner_is_in_a_test_of_the_contract_and_nobody_else_is_named() -> None:
    used = {name for path in TESTS.glob("baselines/**/test_*.py") if path != Path(__file__) for name in _tested(path)}
    covered = {name for name, cls in CLASSES.items() if cls.__name__ in used and hasattr(cls, "device")}
    assert {*covered, *HERE, *ELSEWHERE} == set(CLASSES)
    assert covered.isdisjoint({*HERE, *ELSEWHERE})


def test_a_file_without_a_test_of_the_contract_covers_nobody(tmp_path: Path) -> None:
    path = tmp_path / "test_x.py"
    path.write_text("def test_the_contract(x: Hinted) -> Told:\n    Used(), partial(Also)\n")
    assert _tested(path) == {"Used", "Also", "partial"}
    path.write_text("def test_something_else():\n    Used()\n")
    assert _tested(path) == set()


@pytest.mark.parametrize("place", sorted(set(ELSEWHERE.values())))
def test_the_others_are_where_it_is_said(place: str) -> None:
    file, _, name = place.partition("::")
    assert f"def {name}(" in (TESTS / file).read_text()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return Dataset.open(home_at(tmp_path_factory.mktemp("shop") / "home"), "shop")


def _learned(shop: Dataset, name: str, task: str, folder: Path, *, adapt: bool) -> Any:
    """A runner that has learned, been written and been read again."""
    runner: Any = registry.load(name)
    tasks = fitted_tasks(runner, task, list(shop.tasks))
    for stage, new in (("fit", False), ("adapt", True)) if adapt else (("fit", False),):
        state = folder / stage
        state.mkdir(parents=True)
        getattr(runner, stage)({t: task_data(shop, t, new_domains=new) for t in tasks}, Context(0, folder))
        runner.save(state)
        runner = registry.load(name)
        runner.load(state)
    return runner


@pytest.mark.parametrize("name", HERE)
def test_what_trains_nothing_keeps_the_contract(shop: Dataset, tmp_path: Path, name: str) -> None:
    cls, answered = CLASSES[name], 0
    for task in sorted(cls.tasks & set(shop.tasks)):
        for new in (False, True):
            claimed = pl.col("cohort").is_in(sorted(cls.cohorts)) & ((pl.col("cohort") == "new_domain") == new)
            examples = shop.examples(task, "test").filter(claimed).collect()
            if not examples.height:
                continue
            adapt = new and isinstance(registry.load(name), Adapting)
            runner, again = (
                _learned(shop, name, task, tmp_path / f"{task}-{new}-{which}", adapt=adapt) for which in "ab"
            )

            def said(one: Any, asked: pl.DataFrame, task: str = task) -> pl.DataFrame:
                checked = answers.Asked.of(TASKS[task].answer, asked, shop.catalogue(), shop, 0)
                found = one.predict(task, asked, shop.catalogue(), Context(0, tmp_path))
                return checked.checked(list(checked.settle(found))).sort("example_id")

            whole = said(runner, examples)
            parts = pl.concat([said(runner, part) for part in examples.iter_slices(5)]).sort("example_id")
            for other in (said(again, examples), said(runner, examples.reverse()), parts):
                assert other.equals(whole), (name, task, new)
            answered += whole.height
    assert answered
