"""What the tests of systems that rate or explain share: a runner fitted on the tiny shop, and its checked answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.baselines.search_contract import Stopped
from unimp_bench import answers
from unimp_bench.dataset import Dataset
from unimp_bench.fitting import task_data
from unimp_bench.runners.protocol import Context
from unimp_bench.tasks.spec import TASKS

Fresh = Callable[[], Any]


def _data(shop: Dataset, runner: Any, *, new: bool) -> dict[str, Any]:
    return {task: task_data(shop, task, new_domains=new) for task in sorted(type(runner).tasks)}


def fitted(shop: Dataset, folder: Path, fresh: Fresh, *, adapt: bool = False, seed: int = 0) -> Any:
    """A runner that has learned, been written and been read again."""
    runner = fresh()
    for stage, new in (("fit", False), ("adapt", True)) if adapt else (("fit", False),):
        scratch, state = folder / stage, folder / f"{stage}-state"
        scratch.mkdir(parents=True)
        state.mkdir()
        getattr(runner, stage)(_data(shop, runner, new=new), Context(seed, scratch, curve=folder / f"{stage}.jsonl"))
        runner.save(state)
        runner = fresh()
        runner.load(state)
    return runner


def said(shop: Dataset, runner: Any, task: str, examples: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """The runner's answers, as `run` checks them."""
    asked = answers.Asked.of(TASKS[task].answer, examples, shop.catalogue(), shop, 0)
    return asked.checked(list(asked.settle(runner.predict(task, examples, shop.catalogue(), Context(0, folder)))))


def examples_for(shop: Dataset, runner: Any, task: str, *, adapt: bool = False) -> pl.DataFrame:
    """Test questions of the cohorts that the runner claims: of held-out domains, or all others."""
    claimed = pl.col("cohort").is_in(sorted(type(runner).cohorts))
    return shop.examples(task, "test").filter(claimed & ((pl.col("cohort") == "new_domain") == adapt)).collect()


def holds(shop: Dataset, folder: Path, fresh: Fresh, *, adapt: bool = False) -> None:
    """Valid answers, the same for the same seed, whatever the order and the batches of the questions."""
    runner, again, other = (
        fitted(shop, folder / name, fresh, adapt=adapt, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    differ = []
    for task in sorted(type(runner).tasks):
        examples = examples_for(shop, runner, task, adapt=adapt)
        assert examples.height
        whole = said(shop, runner, task, examples, folder)
        column = "rating" if task == "preference" else "text"
        assert whole[column].null_count() == 0
        if task == "preference":
            assert whole[column].is_between(1, 5).all()
        others = [
            said(shop, again, task, examples, folder),
            said(shop, runner, task, examples.reverse(), folder),
            pl.concat([said(shop, runner, task, part, folder) for part in examples.iter_slices(5)]).sort("example_id"),
        ]
        for one in others:
            assert one[column].to_list() == whole[column].to_list()
        differ.append(said(shop, other, task, examples, folder)[column].to_list() != whole[column].to_list())
    assert any(differ)  # or the seed would do nothing


def resumes(shop: Dataset, folder: Path, fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> tuple[bytes, bytes]:
    """Weights after an undisturbed fit and after one killed and resumed, the checkpoint of each epoch kept."""
    from functools import partial

    from unimp_baselines import learning

    monkeypatch.setattr(learning, "Plan", partial(learning.Plan, checkpoint_seconds=0.0))
    fitted(shop, folder / "whole", fresh)
    scratch, state = folder / "scratch", folder / "state"
    scratch.mkdir(parents=True)
    state.mkdir()
    runner = fresh()
    with pytest.raises(KeyboardInterrupt):
        runner.fit(_data(shop, runner, new=False), Stopped(0, scratch))
    assert list(scratch.glob("*.checkpoint"))
    resumed = fresh()
    resumed.fit(_data(shop, resumed, new=False), Context(0, scratch))
    resumed.save(state)
    name = "weights.safetensors"
    return (folder / "whole/fit-state" / name).read_bytes(), (state / name).read_bytes()
