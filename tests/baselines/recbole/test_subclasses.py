"""MACR, UltraGCN, VBPR and CausalRec: formulas, the contract, and item features on their way to the worker."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from tests.baselines.recbole.contract import asked, keeps, learned
from tests.baselines.recbole.styled import styled
from tests.fakes import encoders
from unimp_baselines.recbole import vectors
from unimp_baselines.recbole.causalrec import CausalRec
from unimp_baselines.recbole.macr import MACR
from unimp_baselines.recbole.runner import RecBoleRunner
from unimp_baselines.recbole.ultragcn import UltraGCN
from unimp_baselines.recbole.vbpr import VBPR
from unimp_bench.dataset import Catalogue, Dataset
from unimp_bench.errors import ConfigError, IncompleteError
from unimp_bench.features import item_features
from unimp_bench.features.thumbnail import Thumbnail
from unimp_bench.fitting import task_data
from unimp_bench.runners.protocol import Context, ScoreBlock

SMALL: dict[str, Any] = {"embedding": 8, "epochs": 2, "batch": 32}
SEEING: dict[str, Any] = {**SMALL, "visual": 4, "pictures": "thumbnail"}
RUNNERS = {
    "macr": lambda: MACR(**SMALL, eval_every=1),
    "ultragcn": lambda: UltraGCN(**SMALL, negatives=5, neighbours=3),
    "vbpr": lambda: VBPR(**SEEING),
    "causalrec": lambda: CausalRec(**SEEING),
    "causalrec-deep": lambda: CausalRec(**SEEING, tanh=2),
}


def checked(tmp_path: Path, script: str) -> None:
    # A process of its own: RecBole changes NumPy for all that share one with it.
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name(script))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip().endswith("fine"), done.stderr[-3000:]


@pytest.mark.slow
def test_losses_and_scores_are_those_of_the_formulas(tmp_path: Path) -> None:
    checked(tmp_path, "subclass_script.py")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("cornac") is None, reason="needs Cornac: pip install cornac==3.0.1")
def test_losses_and_scores_are_those_of_cornac(tmp_path: Path) -> None:
    checked(tmp_path, "cornac_script.py")


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "vbpr" else pytest.mark.slow) for n in RUNNERS])
def test_every_runner_keeps_the_contract(shop: Dataset, tmp_path: Path, name: str) -> None:
    assert keeps(shop, RUNNERS[name], tmp_path).cohorts == {"in_domain"}


def test_a_training_out_of_time_is_tuned_before_it_ends(shop: Dataset, tmp_path: Path) -> None:
    runner = MACR(**{**SMALL, "epochs": 60}, eval_every=50, max_seconds=1e-3, c=(7.0, 3.0))
    runner.fit({"recommendation": task_data(shop, "recommendation", new_domains=False)}, Context(0, tmp_path))
    assert runner._learned is not None
    assert runner._learned.facts["epochs"] < 50
    assert runner._learned.facts["valid_ndcg10"] is not None
    weights = torch.load(tmp_path / "weights.pt", weights_only=True)["parameters"]
    assert float(weights["c"]) in (3.0, 7.0)


def scores(shop: Dataset, runner: RecBoleRunner, view: Catalogue, folder: Path) -> np.ndarray[Any, Any]:
    """Scores of the test examples of recommendation `(examples, items)`."""
    folder.mkdir(exist_ok=True)
    blocks = list(runner.predict("recommendation", asked(shop, runner, "recommendation"), view, Context(0, folder)))
    assert all(isinstance(block, ScoreBlock) for block in blocks)
    return np.concatenate([block.scores for block in blocks if isinstance(block, ScoreBlock)])


def swapped(view: Catalogue, *pair: str) -> Catalogue:
    """A view in which two items show each other's pictures."""
    a, b = (view.items["image_id"][view.index[item]] for item in pair)
    other = pl.col("image_id").replace({a: b, b: a})
    return replace(view, items=view.items.with_columns(other))


def test_a_noisy_view_is_seen_and_words_do_not_matter_to_a_model_of_pictures(shop: Dataset, tmp_path: Path) -> None:
    runner = learned(shop, VBPR(**{**SEEING, "lr": 0.05, "epochs": 5}), tmp_path / "a")
    view = shop.catalogue()
    plain = scores(shop, runner, view, tmp_path / "p")
    silent = replace(view, items=view.items.with_columns(title=pl.lit(None, dtype=pl.String)))
    assert np.array_equal(plain, scores(shop, runner, silent, tmp_path / "p"))
    seen = scores(shop, runner, swapped(view, "i00", "i15"), tmp_path / "p")
    changed = ~np.isclose(seen, plain, atol=1e-4).all(0)
    assert set(view.items["item_id"].to_numpy()[changed]) == {"i00", "i15"}


def test_shuffled_pictures_are_those_of_other_items(shop: Dataset, tmp_path: Path) -> None:
    runner = learned(shop, VBPR(**{**SEEING, "pictures": "thumbnail@shuffled"}), tmp_path / "a")
    assert runner._learned is not None
    every = item_features(shop.catalogue(), "thumbnail", Context(0, tmp_path)).values
    own = every[[shop.catalogue().index[item] for item in runner._learned.items.to_list()]]
    given = np.load(tmp_path / "a" / "fit-state" / "image.npy")
    alike = (given[:, None] == every[None]).all(-1)
    assert alike.any(1).all()
    assert not (given == own).all(1)[own.any(1)].any()


def test_a_fit_is_scoreable_without_what_made_it(
    shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = learned(shop, VBPR(**SEEING), tmp_path / "a")
    here = scores(shop, runner, shop.catalogue(), tmp_path / "p")
    shutil.move(tmp_path / "a" / "fit-state", tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "a")
    encoders(monkeypatch, [])  # nothing is encoded again
    again = VBPR(**SEEING)
    again.load(tmp_path / "elsewhere")
    assert np.allclose(here, scores(shop, again, shop.catalogue(), tmp_path / "q"), atol=1e-6)
    with (tmp_path / "elsewhere" / "image.npy").open("ab") as file:
        file.write(b"x")
    with pytest.raises(IncompleteError, match=r"image.npy is missing or was changed"):
        VBPR(**SEEING).load(tmp_path / "elsewhere")


def test_an_encoder_that_changed_is_told(shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = learned(shop, VBPR(**SEEING), tmp_path / "a")
    monkeypatch.setattr(Thumbnail, "identity", lambda self: "thumbnail 99")
    noisy = replace(swapped(shop.catalogue(), "i00", "i15"), origin=shop.folder / "visible/items.parquet")
    with pytest.raises(ConfigError, match="encoder 'thumbnail' is no longer what it was at this fit"):
        scores(shop, runner, noisy, tmp_path / "p")


def test_weights_are_not_warmed_up_with_the_features_of_another_encoder(
    shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def facts(view: Catalogue) -> dict[str, dict[str, str]]:
        items = pl.Series(["i00", "i15"])
        return vectors.write("VBPR", {"image": "thumbnail"}, view, items, Context(0, tmp_path))

    earlier = facts(shop.catalogue())
    vectors.check_same(facts(shop.catalogue()), earlier)
    monkeypatch.setattr(Thumbnail, "identity", lambda self: "thumbnail 99")
    with pytest.raises(ConfigError, match="encoder 'thumbnail' is no longer what it was at this fit"):
        vectors.check_same(facts(shop.catalogue()), earlier)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [VBPR, CausalRec])
def test_pictures_help_and_shuffled_ones_do_not(tmp_path: Path, kind: type[VBPR]) -> None:
    shop = styled(tmp_path)
    reached = {}
    for pictures in ("thumbnail", "thumbnail@shuffled"):
        folder = tmp_path / pictures
        folder.mkdir()
        runner = kind(pictures=pictures, lr=0.01, batch=128, epochs=24, eval_every=4)
        runner.fit({"recommendation": shop.data}, Context(0, folder))
        reached[pictures] = shop.ndcg(runner, Context(0, folder))
    # Chance is 0.006; knowing the style and nothing else, 0.04.
    assert reached["thumbnail"] > 0.02
    assert reached["thumbnail"] > 2 * reached["thumbnail@shuffled"]


@pytest.mark.parametrize(
    ("parameters", "without", "message"),
    [
        ({}, True, "VBPR learns from pictures and no item here has one; run mf, or build the dataset with pictures"),
        ({"pictures": "tfidf_svd"}, False, "VBPR: encoder 'tfidf_svd' reads texts; name one that reads pictures"),
        ({"pictures": "thumbnails"}, False, "unknown encoder 'thumbnails'; did you mean thumbnail"),
    ],
)
def test_what_cannot_be_seen_is_one_line(
    shop: Dataset, tmp_path: Path, parameters: dict[str, str], without: bool, message: str
) -> None:
    data = task_data(shop, "recommendation", new_domains=False)
    if without:
        items = data.catalogue.items.with_columns(image_id=pl.lit(None, dtype=pl.String))
        data = replace(data, catalogue=replace(data.catalogue, items=items, origin=None))
    with pytest.raises(Exception, match=message) as told:
        VBPR(**{**SEEING, **parameters}).fit({"recommendation": data}, Context(0, tmp_path))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MACR(c=()), "MACR: c is empty"),
        (lambda: UltraGCN(w=(1.0, 1.0)), "UltraGCN: w=.*; wanted four numbers"),
        (lambda: UltraGCN(negatives=0), "UltraGCN: negatives=0"),
        (lambda: VBPR(visual=0), "VBPR: visual=0"),
        (lambda: CausalRec(lr=0.0), "CausalRec: lr=0.0"),
    ],
)
def test_parameters_without_meaning_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
