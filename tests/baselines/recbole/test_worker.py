"""The worker process: what it says when something is wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.baselines.recbole.contract import asked, fitted, learned, said
from unimp_baselines import common
from unimp_baselines.recbole import client, requests
from unimp_baselines.recbole.generic import RecBole
from unimp_baselines.recbole.mf import MF
from unimp_baselines.recbole.s3rec import S3Rec
from unimp_baselines.recbole.sasrec import SASRec
from unimp_bench.dataset import Dataset
from unimp_bench.errors import ConfigError, IncompleteError, UnknownNameError

SMALL: dict[str, Any] = {"embedding": 8, "epochs": 6, "batch": 32, "patience": 100}


def test_a_crash_is_one_line_with_its_last_words(tmp_path: Path) -> None:
    model = requests.Model("MF", True, {}, False, False)
    lost = requests.Score(model, str(tmp_path / "gone.npz"), "", "", "", str(tmp_path / "out.npy"), 8, 0)
    with pytest.raises(
        client.WorkerError, match=r"ended with code 1 at MF \(score\).*FileNotFoundError.*gone.npz"
    ) as told:
        client.shared().ask(lost, tmp_path / "request.json")
    assert "\n" not in str(told.value)


def test_a_loss_that_is_no_number_is_told(shop: Dataset, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"MF through RecBole: the loss is (NaN|nan|inf) in epoch \d+; set a lower lr"
    ):
        fitted(shop, MF(**{**SMALL, "lr": 1e30, "epochs": 20}), tmp_path / "a")


def test_a_validation_that_is_no_number_is_told(tmp_path: Path) -> None:
    # A process of its own: RecBole changes NumPy for all that share one with it.
    script = (
        "from types import SimpleNamespace as Thing\n"
        "from unimp_baselines.recbole import compat\n"
        "compat.apply()\n"
        "from unimp_baselines.recbole import refusals, training\n"
        "trainer = Thing(_valid_epoch=lambda rows: (float('nan'), {}))\n"
        "try:\n"
        "    training._validated(Thing(model=None, trainer=trainer, valid=None), 3)\n"
        "except refusals.RefusalError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "validation gives nan in epoch 3; set a lower lr"


def test_without_recbole_the_extra_is_named(shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs the package 'recbole'.*pip install --no-deps recbole==1.2.1"):
        fitted(shop, MF(), tmp_path / "a")


def test_changed_weights_are_not_taken_up(shop: Dataset, tmp_path: Path) -> None:
    runner = MF(**{**SMALL, "epochs": 1})
    fitted(shop, runner, tmp_path / "a")
    state = tmp_path / "state"
    state.mkdir()
    runner.save(state)
    with (state / "weights.pt").open("ab") as file:
        file.write(b"x")
    with pytest.raises(IncompleteError, match=r"weights.pt is missing or was changed"):
        MF().load(state)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"model": "SASRek"}, "unknown RecBole model 'SASRek'; did you mean SASRec"),
        ({"model": "S3Rec"}, "recbole:S3Rec: RecBole's own class would stop after pre-training; run s3rec"),
        ({"model": "SASRec", "set": "n_layers"}, "is no key=value"),
        ({"model": "SASRec", "set": "loss_type=__import__('os')"}, "is no key=value"),
        ({"model": "SASRec", "lr": 0.0}, "recbole:SASRec: lr=0.0"),
        ({"model": "NARM", "embedding": 8}, "embedding=8 is not read; give --set 'set=embedding_size=8'"),
    ],
)
def test_generic_models_refuse_what_they_do_not_know(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises((UnknownNameError, ConfigError), match=message.replace("(", r"\(")):
        RecBole(**wrong)


def test_an_unknown_setting_is_answered_with_the_nearest(shop: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown setting 'n_layer'; did you mean n_layers"):
        fitted(shop, RecBole(epochs=6, batch=32, model="SASRec", set="n_layer=1"), tmp_path / "a")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ('metrics=["RMSE"]', "setting metrics is the toolkit's own"),
        ("seed=7;topk=3", "setting seed, topk is the toolkit's own"),
        ("repeatable=false", "its settings do not fit together: Sequential models currently only support repeatable"),
        ("loss_type=CE;train_neg_sample_args=7", "its settings do not fit together: train_neg_sample_args"),
    ],
)
def test_settings_that_cannot_be_are_one_line(shop: Dataset, tmp_path: Path, setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"SASRec through RecBole: {message}"):
        fitted(shop, RecBole(epochs=1, batch=32, model="SASRec", set=setting), tmp_path / "a")


@pytest.mark.parametrize("name", ["EASE", "FPMC", "HGN", "SHAN", "TransRec", "Caser", "FOSSIL", "HRM", "NPE"])
def test_models_with_vectors_of_users_claim_known_users_only(name: str) -> None:
    runner = RecBole(model=name)
    assert runner.cohorts == {"in_domain"}
    assert runner.by_user


@pytest.mark.parametrize("name", ["LightSANs", "SINE", "DIN", "NARM"])
def test_models_of_histories_alone_claim_everybody(name: str) -> None:
    runner = RecBole(model=name)
    assert runner.cohorts == {"in_domain", "new_user", "new_domain"}
    assert not runner.by_user


@pytest.mark.parametrize(
    "wrong", [{"embedding": 0}, {"epochs": 0}, {"lr": 0.0}, {"patience": -1}, {"embedding": 9, "heads": 2}]
)
def test_parameters_without_meaning_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"SASRec: {next(iter(wrong))}="):
        SASRec(**wrong)


def test_s3rec_without_pretraining_is_refused() -> None:
    with pytest.raises(ConfigError, match="without pre-training, run sasrec"):
        S3Rec(pretrain_epochs=0)


def test_pretraining_without_attributes_is_refused(
    shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(S3Rec, "attributes", False)
    with pytest.raises(ConfigError, match="S3Rec through RecBole: no item has a category below the root or a brand"):
        fitted(shop, S3Rec(**SMALL), tmp_path / "a")


@pytest.mark.slow
def test_the_worker_ends_with_its_parent(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from unimp_baselines.recbole import client\n"
        "process = client.Worker()._started()\n"
        "print(process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    for _ in range(300):
        if not Path(f"/proc/{worker}").exists():
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker outlived its parent by 30 s")


def test_a_home_may_be_named_from_where_we_stand(
    shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runner = learned(shop, MF(**{**SMALL, "epochs": 1}), Path("here"))
    assert said(shop, runner, "recommendation", asked(shop, runner, "recommendation"), Path("there")).height
