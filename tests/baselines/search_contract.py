"""What the tests of the search systems share: a runner fitted on the tiny shop, and its checked answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from unimp_bench import answers
from unimp_bench.dataset import Dataset
from unimp_bench.fitting import task_data
from unimp_bench.runners.protocol import Context


def fitted(shop: Dataset, folder: Path, fresh: Callable[[], Any], *, adapt: bool = False) -> Any:
    """A runner that has learned, been written and been read again."""
    runner = fresh()
    for stage, new in (("fit", False), ("adapt", True)) if adapt else (("fit", False),):
        scratch, state = folder / stage, folder / f"{stage}-state"
        scratch.mkdir(parents=True)
        state.mkdir()
        getattr(runner, stage)({"search": task_data(shop, "search", new_domains=new)}, Context(0, scratch))
        runner.save(state)
        runner = fresh()
        runner.load(state)
    return runner


def said(shop: Dataset, runner: Any, examples: pl.DataFrame) -> pl.DataFrame:
    """The runner's answers, as `run` checks and ranks them."""
    asked = answers.Asked.of("ranking", examples, shop.catalogue(), shop, 0)
    found = runner.predict("search", examples, shop.catalogue(), Context(0, Path()))
    return asked.checked(list(asked.settle(found)))


def examples_for(shop: Dataset, runner: Any, *, adapt: bool = False) -> pl.DataFrame:
    """Test questions of the cohorts that the runner claims: of held-out domains, or all others."""
    claimed = pl.col("cohort").is_in(sorted(type(runner).cohorts))
    return shop.examples("search", "test").filter(claimed & ((pl.col("cohort") == "new_domain") == adapt)).collect()


def holds(shop: Dataset, folder: Path, fresh: Callable[[], Any], *, adapt: bool = False) -> None:
    """Valid answers, the same for the same seed, whatever the order and the batches of the questions."""
    runner, again = (fitted(shop, folder / name, fresh, adapt=adapt) for name in "ab")
    examples = examples_for(shop, runner, adapt=adapt)
    assert examples.height
    whole = said(shop, runner, examples)
    assert whole["item_ids"].null_count() == 0
    others = [
        said(shop, again, examples),
        said(shop, runner, examples.reverse()),
        pl.concat([said(shop, runner, part) for part in examples.iter_slices(5)]).sort("example_id"),
    ]
    for other in others:
        assert other["item_ids"].to_list() == whole["item_ids"].to_list()
        assert other["scores"].to_list() == whole["scores"].to_list()


class Stopped(Context):
    """A context whose run is killed after some epochs."""

    def record(self, stage: str, step: int, **values: float) -> None:
        """Stop after the second epoch."""
        if step == 2:
            raise KeyboardInterrupt


def resumes(shop: Dataset, folder: Path, fresh: Callable[[], Any]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Answers after an undisturbed fit and after one that was killed and resumed, the checkpoint of each epoch kept."""
    undisturbed = fitted(shop, folder / "whole", fresh)
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    data = {"search": task_data(shop, "search", new_domains=False)}
    killed = False
    try:
        fresh().fit(data, Stopped(0, scratch))
    except KeyboardInterrupt:
        killed = True
    assert killed and list(scratch.iterdir())
    resumed = fresh()
    resumed.fit(data, Context(0, scratch))
    examples = examples_for(shop, resumed)
    return said(shop, undisturbed, examples), said(shop, resumed, examples)
