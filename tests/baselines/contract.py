"""What trained runners promise: valid answers, the same ones for the same seed, order and batches apart; fits resume.

All questions are those of the tiny shop. `recbole/contract.py` says the same of runners that a worker trains.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partialmethod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest

from tests.shop import OFFICE
from unimp_baselines import learning
from unimp_bench import answers, curves
from unimp_bench.dataset import Dataset
from unimp_bench.fitting import task_data
from unimp_bench.runners.protocol import Context
from unimp_bench.tasks.spec import TASKS

Fresh = Callable[[], Any]


def _data(shop: Dataset, runner: Any, *, new: bool) -> dict[str, Any]:
    return {task: task_data(shop, task, new_domains=new) for task in sorted(type(runner).tasks)}


def fitted(shop: Dataset, folder: Path, fresh: Fresh, *, adapt: bool = False, seed: int = 0) -> Any:
    """A runner that has learned all tasks it claims, been written and been read again."""
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


def said(shop: Dataset, runner: Any, task: str, examples: pl.DataFrame) -> pl.DataFrame:
    """The runner's answers, as `run` checks and ranks them."""
    view = shop.catalogue()
    asked = answers.Asked.of(TASKS[task].answer, examples, view, shop, 0)
    with TemporaryDirectory() as scratch:
        return asked.checked(list(asked.settle(runner.predict(task, examples, view, Context(0, Path(scratch))))))


def examples_for(shop: Dataset, runner: Any, task: str, *, adapt: bool = False) -> pl.DataFrame:
    """Test questions of the cohorts that the runner claims: of held-out domains, or all others."""
    claimed = pl.col("cohort").is_in(sorted(type(runner).cohorts)) & ((pl.col("cohort") == "new_domain") == adapt)
    if adapt and task == "selection":  # office users have too few rows for selections: candidates are added here
        return shop.examples("recommendation", "test").filter(claimed).collect().with_columns(candidates=pl.lit(OFFICE))
    return shop.examples(task, "test").filter(claimed).collect()


def holds(shop: Dataset, folder: Path, fresh: Fresh, *, adapt: bool = False) -> Any:
    """Hold a runner to the contract on all its tasks, for a held-out domain if it shall `adapt`; the fitted runner."""
    runner, again, other = (
        fitted(shop, folder / name, fresh, adapt=adapt, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    differ = []
    for task in sorted(type(runner).tasks):
        examples = examples_for(shop, runner, task, adapt=adapt)
        assert set(examples["cohort"]) == {name for name in type(runner).cohorts if (name == "new_domain") == adapt}
        whole = said(shop, runner, task, examples)
        assert whole.drop_nulls().height == examples.height
        if "rating" in whole.columns:
            assert whole["rating"].is_between(1, 5).all()
        parts = pl.concat([said(shop, runner, task, part) for part in examples.iter_slices(5)]).sort("example_id")
        assert said(shop, again, task, examples).equals(whole), task  # same seed, same answers
        assert said(shop, runner, task, examples.reverse()).equals(whole), task
        assert parts.equals(whole), task
        assert list(runner.predict(task, examples.head(0), shop.catalogue(), Context(0, folder))) == []
        differ.append(not said(shop, other, task, examples).equals(whole))
    assert any(differ)  # or the seed would do nothing
    return runner


class Stopped(Context):
    """A context whose run is killed after some epochs."""

    def record(self, stage: str, step: int, **values: float) -> None:
        """Stop after the second epoch."""
        if step == 2:
            raise KeyboardInterrupt


def resumes(shop: Dataset, folder: Path, fresh: Fresh) -> None:
    """A fit that is killed goes on where it stood, and ends with weights and answers of one that nobody disturbed."""
    runner, resumed = fresh(), fresh()
    data = _data(shop, runner, new=False)
    scratch, state, curve = (folder / name for name in ("scratch", "state", "curve.jsonl"))
    with pytest.MonkeyPatch.context() as patch:  # a checkpoint after each epoch
        patch.setattr(learning.Plan, "__init__", partialmethod(learning.Plan.__init__, checkpoint_seconds=0.0))
        undisturbed = fitted(shop, folder / "whole", fresh)
        scratch.mkdir()
        with pytest.raises(KeyboardInterrupt):
            runner.fit(data, Stopped(0, scratch))
        assert list(scratch.glob("*.checkpoint"))
        resumed.fit(data, Context(0, scratch, curve=curve))
    rest = curves.read(folder / "whole/fit.jsonl").filter(pl.col("step") > 2)
    assert curves.read(curve).equals(rest)  # it did not begin anew, nor otherwise
    state.mkdir()
    resumed.save(state)
    weights = [path / "weights.safetensors" for path in (folder / "whole/fit-state", state)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    for task in sorted(type(resumed).tasks):
        examples = examples_for(shop, resumed, task)
        assert said(shop, resumed, task, examples).equals(said(shop, undisturbed, task, examples)), task
