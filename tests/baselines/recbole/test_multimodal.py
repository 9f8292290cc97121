"""MMGCL and MMSSL: formulas, the contract, and an adversarial training that is killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.baselines.recbole.contract import Weights, fitted, keeps, resumes
from unimp_baselines.recbole.mmgcl import MMGCL
from unimp_baselines.recbole.mmssl import MMSSL
from unimp_baselines.recbole.runner import RecBoleRunner
from unimp_bench.dataset import Dataset
from unimp_bench.errors import ConfigError

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
    assert keeps(shop, RUNNERS[name], tmp_path).cohorts == {"in_domain"}


@pytest.mark.slow
def test_a_killed_adversarial_training_goes_on_and_ends_as_if_nothing_had_been(shop: Dataset, tmp_path: Path) -> None:
    def fit(shop: Dataset, runner: RecBoleRunner, folder: Path) -> Weights:
        found = fitted(shop, runner, folder)
        assert (found["image_near"] != 0).any()  # graphs are among what is compared
        return found

    lasting = {**CRITICAL, "epochs": 5, "eval_every": 5, "patience": 100}
    resumes(shop, lambda: MMSSL(**lasting), tmp_path, "fit", 3, fit)


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
