"""Every system through RecBole learns what its data tells, and a killed training ends as if nothing had been."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.baselines.recbole.contract import resumes
from tests.baselines.recbole.styled import COLOURS, styled
from unimp_baselines.recbole.bert4rec import BERT4Rec
from unimp_baselines.recbole.causalrec import CausalRec
from unimp_baselines.recbole.generic import RecBole
from unimp_baselines.recbole.gru4rec import GRU4Rec
from unimp_baselines.recbole.hgn import HGN
from unimp_baselines.recbole.lightgcn import LightGCN
from unimp_baselines.recbole.lightsans import LightSANs
from unimp_baselines.recbole.macr import MACR
from unimp_baselines.recbole.mf import MF
from unimp_baselines.recbole.mmgcl import MMGCL
from unimp_baselines.recbole.mmssl import MMSSL
from unimp_baselines.recbole.runner import RecBoleRunner
from unimp_baselines.recbole.s3rec import S3Rec
from unimp_baselines.recbole.sasrec import SASRec
from unimp_baselines.recbole.ultragcn import UltraGCN
from unimp_baselines.recbole.unisrec import UniSRec
from unimp_baselines.recbole.vbpr import VBPR
from unimp_bench.dataset import Dataset
from unimp_bench.runners.protocol import Context

ITEMS, BOUGHT = 72, 8  # twelve items of a style, of which a user has seven when the eighth is asked for
Make = Callable[..., RecBoleRunner]
MAKES: dict[str, Make] = {
    "mf": MF,
    "lightgcn": LightGCN,
    "hgn": HGN,
    "gru4rec": lambda **s: GRU4Rec(**s, hidden=16),
    "sasrec": lambda **s: SASRec(**s, inner=16),
    "s3rec": lambda **s: S3Rec(**s, inner=16, pretrain_epochs=3),
    "bert4rec": lambda **s: BERT4Rec(**s, inner=16),
    "macr": MACR,
    # Its defaults are for 90,000 items: 500 drawn ones at a weight of 500 bury six purchases of 72.
    "ultragcn": lambda **s: UltraGCN(**s, negatives=20, negative_weight=5.0, neighbours=3, start=0.1),
    "vbpr": lambda **s: VBPR(**s, visual=4, pictures="thumbnail"),
    "causalrec": lambda **s: CausalRec(**s, visual=4, pictures="thumbnail"),
    "mmgcl": lambda **s: MMGCL(**s, pictures="thumbnail"),
    "mmssl": lambda **s: MMSSL(**s, pictures="thumbnail", critic_items=16, critic_users=8, neighbours=3),
    "lightsans": lambda **s: LightSANs(**s, inner=16, interests=4),
    "unisrec": lambda **s: UniSRec(**s, inner=16, experts=2, pretrain_epochs=3),
    "recbole:NARM": lambda embedding, **s: RecBole(**s, model="NARM", set=f"embedding_size={embedding};hidden_size=16"),
    "recbole:NeuMF": lambda embedding, **s: RecBole(
        **s, model="NeuMF", set=f"mf_embedding_size={embedding};mlp_embedding_size={embedding}"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKES)
def test_every_runner_is_far_better_than_chance_after_training(tmp_path: Path, name: str) -> None:
    shop = styled(tmp_path, ITEMS, BOUGHT, named=True)
    folder = tmp_path / "fit"
    folder.mkdir()
    settings: dict[str, Any] = {"embedding": 16, "epochs": 40, "batch": 64, "lr": 0.01, "patience": 40}
    runner = MAKES[name](**settings)
    runner.fit({"recommendation": shop.data}, Context(0, folder))
    # Chance among the 65 items that a user has not seen is 0.07; knowing the style alone gives 0.59.
    assert shop.ndcg(runner, Context(0, folder)) > 0.21


def test_the_style_is_what_there_is_to_learn(tmp_path: Path) -> None:
    shop = styled(tmp_path, ITEMS, BOUGHT, named=True)
    index = shop.data.catalogue.index
    kinds = {item: int(item[1:]) % len(COLOURS) for item in index}
    pasts = [[one["item_id"] for one in row] for row in shop.test["history"].to_list()]
    for past, answer in zip(pasts, shop.answers, strict=True):
        assert len(past) == BOUGHT - 1
        assert {kinds[item] for item in past} == {kinds[answer]}
        assert answer not in past


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "mf" else pytest.mark.slow) for n in MAKES])
def test_a_killed_training_goes_on_and_ends_as_if_nothing_had_been(shop: Dataset, tmp_path: Path, name: str) -> None:
    settings: dict[str, Any] = {"embedding": 8, "epochs": 6, "batch": 32, "patience": 100}
    resumes(shop, lambda: MAKES[name](**settings), tmp_path, "fit", 4)
