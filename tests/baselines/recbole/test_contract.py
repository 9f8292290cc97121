"""What every runner through RecBole promises, on the tiny shop, in one warm worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.baselines.recbole.contract import asked, close, keeps, learned, said
from unimp_baselines.recbole.bert4rec import BERT4Rec
from unimp_baselines.recbole.generic import RecBole
from unimp_baselines.recbole.gru4rec import GRU4Rec
from unimp_baselines.recbole.hgn import HGN
from unimp_baselines.recbole.lightgcn import LightGCN
from unimp_baselines.recbole.mf import MF
from unimp_baselines.recbole.runner import RecBoleRunner
from unimp_baselines.recbole.s3rec import S3Rec
from unimp_baselines.recbole.sasrec import SASRec
from unimp_bench import curves
from unimp_bench.dataset import Dataset
from unimp_bench.fitting import task_data
from unimp_bench.runners.protocol import Context, ScoreBlock

FEW: dict[str, Any] = {"epochs": 2, "batch": 32}
SMALL: dict[str, Any] = {**FEW, "embedding": 8}
RUNNERS: dict[str, Callable[[], RecBoleRunner]] = {
    "mf": lambda: MF(**SMALL),
    "lightgcn": lambda: LightGCN(**SMALL, layers=2),
    "hgn": lambda: HGN(**SMALL),
    "hgn-ce": lambda: HGN(**SMALL, loss="ce", pooling="max"),
    "gru4rec": lambda: GRU4Rec(**SMALL, hidden=8),
    "sasrec": lambda: SASRec(**SMALL, inner=8),
    "sasrec-bpr": lambda: SASRec(**SMALL, inner=8, loss="bpr"),
    "s3rec": lambda: S3Rec(**SMALL, inner=8, pretrain_epochs=2),
    "bert4rec": lambda: BERT4Rec(**SMALL, inner=8),
    "recbole:Pop": lambda: RecBole(**FEW, model="Pop"),
    "recbole:ItemKNN": lambda: RecBole(**FEW, model="ItemKNN", set="k=5"),
    "recbole:NeuMF": lambda: RecBole(
        **FEW, model="NeuMF", set="mf_embedding_size=8;mlp_embedding_size=8"
    ),  # pairs only
    "recbole:NARM": lambda: RecBole(**FEW, model="NARM", set="embedding_size=8;hidden_size=8"),
}
SEQUENCES = ("gru4rec", "sasrec", "sasrec-bpr", "s3rec", "bert4rec", "recbole:NARM")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in ("mf", "sasrec") else pytest.mark.slow) for n in RUNNERS]
)
def test_every_runner_keeps_the_contract(shop: Dataset, tmp_path: Path, name: str) -> None:
    keeps(shop, RUNNERS[name], tmp_path)
    curve = curves.read(tmp_path / "a" / "curve.jsonl")
    assert set(curve["stage"]) == ({"pretrain", "fit"} if name == "s3rec" else {"fit"})
    assert "valid_ndcg10" in curve["name"].to_list()


def test_models_of_histories_are_those_that_learn_held_out_domains() -> None:
    assert {name for name in RUNNERS if "new_domain" in RUNNERS[name]().cohorts} == set(SEQUENCES)


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "sasrec" else pytest.mark.slow) for n in SEQUENCES])
def test_a_held_out_domain_is_answered_as_the_contract_says(shop: Dataset, tmp_path: Path, name: str) -> None:
    keeps(shop, RUNNERS[name], tmp_path, adapt=True)


def test_another_seed_learns_something_else(shop: Dataset, tmp_path: Path) -> None:
    frames = []
    for seed in (0, 1):
        runner = learned(shop, MF(**SMALL), tmp_path / str(seed), seed=seed)
        frames.append(said(shop, runner, "recommendation", asked(shop, runner, "recommendation"), tmp_path / "p"))
    assert not close(*frames)


def test_users_and_items_that_nobody_trained_on_get_popular_items(shop: Dataset, tmp_path: Path) -> None:
    runner = learned(shop, MF(**SMALL), tmp_path / "a")
    strangers = asked(shop, runner, "recommendation").with_columns(user_id=pl.lit("nobody"))
    (tmp_path / "p").mkdir()
    blocks = list(runner.predict("recommendation", strangers, shop.catalogue(), Context(0, tmp_path / "p")))
    counts = dict(
        shop.interactions().filter(pl.col("domain") == "toys").collect().group_by("item_id").len().iter_rows()
    )
    items = shop.catalogue().items
    wanted = np.array([np.log1p(counts.get(i, 0)) for i in items["item_id"]], dtype=np.float32)
    wanted[(items["domain"] == "office").to_numpy()] = -np.inf
    for block in blocks:
        assert isinstance(block, ScoreBlock)
        assert np.allclose(block.scores, wanted)


def test_a_model_without_weights_is_that_of_its_own_feed(shop: Dataset, tmp_path: Path) -> None:
    whole = task_data(shop, "recommendation", new_domains=False)
    half = replace(whole, interactions=whole.interactions.filter(pl.col("position") % 2 == 0))
    runners, found = [], []
    for name, data in (("whole", whole), ("half", half)):
        folder = tmp_path / name
        folder.mkdir()
        runners.append(RecBole(**FEW, model="ItemKNN", set="k=5"))
        runners[-1].fit({"recommendation": data}, Context(0, folder))
    examples = asked(shop, runners[0], "recommendation")
    for runner in (*runners, runners[0]):
        found.append(said(shop, runner, "recommendation", examples, tmp_path / "p"))
    assert runners[0]._learned is not None
    assert runners[1]._learned is not None
    assert runners[0]._learned.digest == runners[1]._learned.digest
    assert not close(found[0], found[1])
    assert close(found[0], found[2])
