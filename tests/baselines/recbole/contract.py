"""What every runner through RecBole promises: valid answers, the same ones for the same seed, order and batches apart.

One warm worker serves all who ask.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from tests.shop import OFFICE
from unimp_baselines.recbole import client, requests
from unimp_baselines.recbole.runner import RecBoleRunner
from unimp_bench import answers
from unimp_bench.dataset import Dataset
from unimp_bench.fitting import Adapting, task_data
from unimp_bench.runners.protocol import Context

TASKS = ("recommendation", "selection")
Make = Callable[[], RecBoleRunner]
Weights = dict[str, torch.Tensor]


def learned(shop: Dataset, runner: RecBoleRunner, folder: Path, *, adapt: bool = False, seed: int = 0) -> RecBoleRunner:
    """The runner after a fit (and an adaptation), saved and loaded again."""
    data = {task: task_data(shop, task, new_domains=False) for task in TASKS}
    for stage in ("fit", "adapt") if adapt else ("fit",):
        scratch, state = folder / stage, folder / f"{stage}-state"
        scratch.mkdir(parents=True)
        state.mkdir()
        if stage == "adapt":
            assert isinstance(runner, Adapting)
            data = {task: task_data(shop, task, new_domains=True) for task in TASKS}
        getattr(runner, stage)(data, Context(seed, scratch, curve=folder / "curve.jsonl"))
        runner.save(state)
        runner.load(state)
    return runner


def said(shop: Dataset, runner: RecBoleRunner, task: str, examples: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Checked predictions."""
    folder.mkdir(exist_ok=True)
    asked = answers.Asked.of("selection" if task == "selection" else "ranking", examples, shop.catalogue(), shop, 0)
    frames = runner.predict(task, examples, shop.catalogue(), Context(0, folder))
    return asked.checked(list(asked.settle(frames)))


def asked(shop: Dataset, runner: RecBoleRunner, task: str) -> pl.DataFrame:
    """Test examples of cohorts that the runner answers without an adaptation."""
    cohorts = list(runner.cohorts - {"new_domain"})
    return shop.examples(task, "test").filter(pl.col("cohort").is_in(cohorts)).sort("example_id").collect()


def held_out(shop: Dataset, task: str) -> pl.DataFrame:
    """Test examples of the held-out domain; its users are too short for selections, so candidates are added here."""
    of_it = pl.col("cohort") == "new_domain"
    found = shop.examples("recommendation", "test").filter(of_it).sort("example_id").collect()
    assert found.height
    return found if task == "recommendation" else found.with_columns(candidates=pl.lit(OFFICE))


def close(a: pl.DataFrame, b: pl.DataFrame) -> bool:
    """Equal lists, scores equal but for the last digits."""
    scores = [np.concatenate([np.array(s or [], float) for s in frame["scores"].to_list()]) for frame in (a, b)]
    return a["item_ids"].to_list() == b["item_ids"].to_list() and np.allclose(*scores, rtol=1e-5, atol=1e-6)


def keeps(shop: Dataset, make: Make, folder: Path, *, adapt: bool = False) -> RecBoleRunner:
    """Hold a runner to the contract on all its tasks, for a held-out domain if it shall `adapt`; the trained runner."""
    runner, again = (learned(shop, make(), folder / where, adapt=adapt) for where in "ab")
    for task in TASKS:
        examples = held_out(shop, task) if adapt else asked(shop, runner, task)
        assert examples.height
        whole = said(shop, runner, task, examples, folder / "p")
        assert whole["item_ids"].null_count() == 0
        assert close(whole, said(shop, again, task, examples, folder / "p"))  # same seed, same answers
        turned = said(shop, runner, task, examples.sample(fraction=1, shuffle=True, seed=1), folder / "p")
        assert close(whole, turned)
        parts = pl.concat([said(shop, runner, task, part, folder / "p") for part in examples.iter_slices(7)])
        assert close(whole, parts)
        if adapt and task == "recommendation":
            assert all(len(items) and set(items) <= set(OFFICE) for items in whole["item_ids"])
    return runner


def fitted(shop: Dataset, runner: RecBoleRunner, folder: Path) -> Weights:
    """Weights after a fit in this folder."""
    folder.mkdir(exist_ok=True)
    runner.fit({"recommendation": task_data(shop, "recommendation", new_domains=False)}, Context(0, folder))
    weights: Weights = torch.load(folder / "weights.pt", weights_only=True)["parameters"]
    return weights


@contextmanager
def dying(stage: str, epoch: int) -> Iterator[list[tuple[str, int]]]:
    """Within, the worker keeps a checkpoint after each epoch and is killed when it first tells of this one.

    What it told is in the list that is given.
    """
    real, made = client.Worker.ask, requests.Train.__init__
    told: list[tuple[str, int]] = []

    def often(self: Any, **values: Any) -> None:
        made(self, **{**values, "checkpoint_seconds": 0.0})

    def killing(self: client.Worker, request: Any, file: Path, step: Any = None) -> dict[str, Any]:
        def deadly(values: Mapping[str, Any]) -> None:
            told.append((values["stage"], values["epoch"]))
            if told[-1] == (stage, epoch) and told.count((stage, epoch)) == 1:
                assert self.pid is not None
                os.kill(self.pid, signal.SIGKILL)

        return real(self, request, file, deadly)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests.Train, "__init__", often)
        patch.setattr(client.Worker, "ask", killing)
        yield told


def resumes(
    shop: Dataset,
    make: Make,
    folder: Path,
    stage: str,
    epoch: int,
    fit: Callable[[Dataset, RecBoleRunner, Path], Weights] = fitted,
) -> None:
    """A training that is killed goes on where it stood, and ends with the weights of one that nobody disturbed."""
    undisturbed = fit(shop, make(), folder / "a")
    with dying(stage, epoch) as told:
        with pytest.raises(client.WorkerError, match=r"killed by signal 9 .* run the same command again"):
            fit(shop, make(), folder / "b")
        before = len(told)
        resumed = fit(shop, make(), folder / "b")
    first_stage, first_epoch = told[before]
    assert first_stage == stage  # a stage that was finished is not done again
    assert first_epoch >= epoch  # it did not begin anew
    assert undisturbed.keys() == resumed.keys()
    assert all(torch.equal(undisturbed[key], resumed[key]) for key in undisturbed)
