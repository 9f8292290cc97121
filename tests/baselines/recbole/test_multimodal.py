"""MMGCL and MMSSL: formulas, the contract, and an adversarial training that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from tests.baselines.recbole.test_contract import TASKS, asked, close, learned, said
from unimp_baselines.recbole import client, requests
from unimp_baselines.recbole.mmgcl import MMGCL
from unimp_baselines.recbole.mmssl import MMSSL
from unimp_baselines.recbole.runner import RecBoleRunner
from unimp_bench.dataset import Dataset
from unimp_bench.errors import ConfigError
from unimp_bench.fitting import task_data
from unimp_bench.runners.protocol import Context

SCRIPT = Path(__file__).with_name("multimodal_script.py")
SMALL: dict[str, Any] = {"embedding": 8, "epochs": 2, "batch": 32, "pictures": "thumbnail"}
CRITICAL: dict[str, Any] = {**SMALL, "critic_items": 8, "critic_users": 4, "rebuild": 2, "neighbours": 3}
RUNNERS: dict[str, Callable[[], RecBoleRunner]] = {
    "mmgcl": lambda: MMGCL(**SMALL),
    "mmgcl-literal": lambda: MMGCL(**SMALL, literal=True),
    "mmssl": lambda: MMSSL(**CRITICAL),
    "mmssl-alone": lambda: MMSSL(**CRITICAL, adversarial=0.0),
}


@pytest.mark.slow
def test_losses_scores_and_graphs_are_those_of_the_formulas(tmp_path: Path) -> None:
    # A process of its own: RecBole changes NumPy for all that share one with it.
    done = subprocess.run([sys.executable, str(SCRIPT)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "fine", done.stderr[-3000:]


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "mmssl" else pytest.mark.slow) for n in RUNNERS])
def test_every_runner_keeps_the_contract(shop: Dataset, tmp_path: Path, name: str) -> None:
    runner = learned(shop, RUNNERS[name](), tmp_path / "a")
    again = learned(shop, RUNNERS[name](), tmp_path / "b")
    assert runner.cohorts == {"in_domain"}
    for task in TASKS:
        examples = asked(shop, runner, task)
        whole = said(shop, runner, task, examples, tmp_path / "p")
        assert examples.height
        assert whole["item_ids"].null_count() == 0
        assert close(whole, said(shop, again, task, examples, tmp_path / "p"))  # same seed, same answers
        turned = said(shop, runner, task, examples.sample(fraction=1, shuffle=True, seed=1), tmp_path / "p")
        assert close(whole, turned)
        parts = pl.concat([said(shop, runner, task, part, tmp_path / "p") for part in examples.iter_slices(7)])
        assert close(whole, parts)


def fitted(shop: Dataset, folder: Path) -> dict[str, Any]:
    """Weights of the best of some epochs, critic and graphs included."""
    folder.mkdir(exist_ok=True)
    runner = MMSSL(**{**CRITICAL, "epochs": 5, "eval_every": 5, "patience": 100})
    data = {"recommendation": task_data(shop, "recommendation", new_domains=False)}
    runner.fit(data, Context(0, folder))
    weights: dict[str, Any] = torch.load(folder / "weights.pt", weights_only=True)["parameters"]
    return weights


@pytest.mark.slow
def test_a_killed_adversarial_training_goes_on_and_ends_as_if_nothing_had_been(
    shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = fitted(shop, tmp_path / "a")
    assert (undisturbed["image_near"] != 0).any()
    real, kept = client.Worker.ask, requests.Train.__init__
    seen: list[int] = []

    def often(self: Any, **values: Any) -> None:
        kept(self, **{**values, "checkpoint_seconds": 0.0})

    def killing(self: client.Worker, request: Any, file: Path, step: Any = None) -> dict[str, Any]:
        def deadly(values: Mapping[str, Any]) -> None:
            seen.append(values["epoch"])
            if len(seen) == 3:
                assert self.pid is not None
                os.kill(self.pid, signal.SIGKILL)

        return real(self, request, file, deadly)

    with monkeypatch.context() as patch:
        patch.setattr(requests.Train, "__init__", often)
        patch.setattr(client.Worker, "ask", killing)
        with pytest.raises(client.WorkerError, match=r"killed by signal 9"):
            fitted(shop, tmp_path / "b")
        resumed = fitted(shop, tmp_path / "b")
    assert seen[3] > 2  # it did not begin anew
    assert undisturbed.keys() == resumed.keys()
    assert all(torch.equal(undisturbed[key], resumed[key]) for key in undisturbed)


def test_the_literal_loss_has_its_own_weight_unless_one_is_given() -> None:
    given = {"literal": MMGCL(literal=True), "paper": MMGCL(), "own": MMGCL(literal=True, contrast=0.1)}
    found = {name: runner.settings()["contrast_weight"] for name, runner in given.items()}
    assert found == {"literal": 0.4, "paper": 0.02, "own": 0.1}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MMGCL(layers=0), "MMGCL: layers=0"),
        (lambda: MMGCL(drop=1.0), "MMGCL: drop=1.0"),
        (lambda: MMGCL(temperature=0.0), "MMGCL: temperature=0.0"),
        (lambda: MMSSL(embedding=10, heads=4), "MMSSL: embedding=10 is no multiple of heads=4"),
        (lambda: MMSSL(rebuild=0), "MMSSL: rebuild=0"),
        (lambda: MMSSL(critic_items=0), "MMSSL: critic_items=0"),
        (lambda: MMSSL(dropout=1.0), "MMSSL: dropout=1.0"),
        (lambda: MMSSL(critic_lr=0.0), "MMSSL: critic_lr=0.0"),
    ],
)
def test_parameters_without_meaning_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
