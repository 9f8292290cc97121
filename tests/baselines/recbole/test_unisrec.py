"""UniSRec and LightSANs: their networks, the contract for each task and cohort, transfer to items nobody bought."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
import torch

from tests.baselines.recbole.contract import Weights, asked, fitted, keeps, learned, resumes
from tests.fakes import encoders
from tests.shop import ITEM_IDS, OFFICE, add_variant
from unimp_baselines.recbole.lightsans import LightSANs
from unimp_baselines.recbole.runner import RecBoleRunner
from unimp_baselines.recbole.unisrec import UniSRec
from unimp_bench import curves
from unimp_bench.dataset import Catalogue, Dataset
from unimp_bench.errors import ConfigError, IncompleteError
from unimp_bench.features import registry
from unimp_bench.features.protocol import Modality, Present, Values
from unimp_bench.fitting import task_data
from unimp_bench.runners.protocol import Context, ScoreBlock

SMALL: dict[str, Any] = {"embedding": 8, "epochs": 2, "batch": 32, "inner": 8}
TEXT: dict[str, Any] = {**SMALL, "experts": 2, "pretrain_epochs": 2}
RUNNERS: dict[str, Callable[[], RecBoleRunner]] = {
    "lightsans": lambda: LightSANs(**SMALL, interests=2),
    "lightsans-bpr": lambda: LightSANs(**SMALL, interests=2, loss="bpr"),
    "unisrec": lambda: UniSRec(**TEXT),
    "unisrec-transductive": lambda: UniSRec(**TEXT, mode="transductive", freeze=False),
    "unisrec-zero": lambda: UniSRec(**TEXT, new_domain="zero_shot"),
}
ANGLES = {item: 2 * np.pi * k / 16 for k, item in enumerate(ITEM_IDS[:16])}
ANGLES |= {item: 2 * np.pi * (k + 8.5) / 16 for k, item in enumerate(OFFICE)}


class Circle:
    """An encoder by which items stand on a circle, those of the held-out domain between the others."""

    modality: ClassVar[Modality] = "text"

    def identity(self) -> str:
        """Its name."""
        return "circle"

    def encode(self, view: Catalogue, context: Context) -> tuple[Values, Present]:
        """Cosine and sine of each item's angle, and of twice the angle."""
        angles = np.array([[m * ANGLES[item] for m in (1, 2)] for item in view.items["item_id"]])
        return np.concatenate([np.cos(angles), np.sin(angles)], 1).astype(np.float32), np.ones(len(angles), bool)


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"tfidf_svd": "unimp_bench.features.tfidf:TfidfSvd", "circle": f"{__name__}:Circle"}
    entries = [EntryPoint(name, at, registry.GROUP) for name, at in known.items()]
    encoders(monkeypatch, entries)


@pytest.mark.slow
@pytest.mark.parametrize("script", ["unisrec_script.py", "lightsans_script.py"])
def test_networks_keep_what_their_docstrings_say(tmp_path: Path, script: str) -> None:
    # A process of its own: RecBole changes NumPy for all that share one with it.
    path = Path(__file__).with_name(script)
    done = subprocess.run([sys.executable, str(path)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "fine", done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNNERS)
@pytest.mark.parametrize("adapt", [False, True], ids=["known", "new_domain"])
def test_every_cohort_is_answered_as_the_contract_says(shop: Dataset, tmp_path: Path, name: str, adapt: bool) -> None:
    assert adapt or set(asked(shop, RUNNERS[name](), "recommendation")["cohort"]) == {"in_domain", "new_user"}
    assert keeps(shop, RUNNERS[name], tmp_path, adapt=adapt).cohorts == {"in_domain", "new_user", "new_domain"}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Tensors that a fit keeps: "weights.pt", and "pretrained.pt" with a prefix."""
    found: dict[str, torch.Tensor] = torch.load(folder / "weights.pt", weights_only=True)["parameters"]
    first = torch.load(folder / "pretrained.pt", weights_only=True)["state_dict"]
    return {**found, **{f"pretrained {name}": value for name, value in first.items()}}


def test_texts_with_gaps_are_made_for_pretraining_alone(
    shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RecBoleRunner, "_learn", lambda *_: None)
    runner, found = UniSRec(**TEXT), []
    for cohort, warm in (("in_domain", None), ("new_domain", tmp_path / "pretrained.pt")):
        context = Context(0, tmp_path / cohort)
        context.scratch.mkdir()
        data = {"recommendation": task_data(shop, "recommendation", new_domains=warm is not None)}
        runner._learn(data, context, cohort, warm)
        found.append(sorted(runner.learns_from(context.scratch)))
    assert found == [["text", "text_with_gaps"], ["text"]]


@pytest.mark.slow
def test_pretraining_is_what_fine_tuning_and_every_domain_begin_with(shop: Dataset, tmp_path: Path) -> None:
    runner = learned(shop, UniSRec(**TEXT), tmp_path / "a", adapt=True)
    assert isinstance(runner, UniSRec)
    first, second = (weights(tmp_path / "a" / f"{stage}-state") for stage in ("fit", "adapt"))
    curve = curves.read(tmp_path / "a" / "curve.jsonl")
    assert curve.filter(pl.col("stage") == "pretrain")["step"].max() == TEXT["pretrain_epochs"]
    frozen = [name for name in first if name.startswith(("trm_encoder", "position_embedding"))]
    assert len(frozen) > 20
    for name in frozen:  # an encoder that was not taken over would have been drawn anew
        assert torch.equal(first[name], first[f"pretrained {name}"])
        assert torch.equal(second[name], first[f"pretrained {name}"])
    assert not torch.equal(first["adaptor.weight"], first["pretrained adaptor.weight"])
    assert not torch.equal(second["adaptor.weight"], first["adaptor.weight"])
    other = learned(shop, UniSRec(**{**TEXT, "pretrain_epochs": 3}), tmp_path / "b")
    assert isinstance(other, UniSRec)
    assert not torch.equal(weights(tmp_path / "b" / "fit-state")[frozen[0]], first[frozen[0]])
    (tmp_path / "a" / "adapt-state" / "pretrained.pt").write_bytes(b"x")
    with pytest.raises(IncompleteError, match=r"pretrained.pt is missing or was changed"):
        UniSRec(**TEXT).load(tmp_path / "a" / "adapt-state")


@pytest.mark.slow
def test_items_are_read_as_a_variant_shows_them(shop: Dataset, tmp_path: Path) -> None:
    runner = UniSRec(**TEXT)
    fitted(shop, runner, tmp_path / "a")
    add_variant(shop)  # without titles
    examples = asked(shop, runner, "recommendation")[:5]
    clean, noisy = (
        next(iter(runner.predict("recommendation", examples, shop.catalogue(variant), Context(0, tmp_path / "a"))))
        for variant in ("clean", "NT-0.2")
    )
    assert isinstance(clean, ScoreBlock)
    assert isinstance(noisy, ScoreBlock)
    assert not np.allclose(clean.scores, noisy.scores)


@pytest.mark.slow
def test_zero_shot_trains_nothing(shop: Dataset, tmp_path: Path) -> None:
    learned(shop, UniSRec(**TEXT, new_domain="zero_shot"), tmp_path / "a", adapt=True)
    first, second = (weights(tmp_path / "a" / f"{stage}-state") for stage in ("fit", "adapt"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def rounds(shop: Dataset) -> Any:
    """What may be learned where everybody walks round the circle of 16 items, and nobody ever bought i05."""
    walks = [[(start + step) % 16 for step in range(8)] for start in range(16)]
    names = [[ITEM_IDS[k] for k in walk if k != 5] for walk in walks]
    rows = [(f"u{u}", position, item) for u, walk in enumerate(names) for position, item in enumerate(walk)]
    columns = ["user_id", "position", "item_id"]
    kind = pl.List(pl.Struct({"item_id": pl.String}))
    given = task_data(shop, "recommendation", new_domains=False)
    asked = pl.DataFrame(
        {
            "user_id": [f"u{u}" for u in range(16)],
            "history": [[{"item_id": item} for item in walk[:3]] for walk in names],
            "item_ids": [[walk[3]] for walk in names],
        },
        schema_overrides={"history": kind},
    )
    return replace(given, interactions=pl.LazyFrame(rows, schema=columns, orient="row"), valid=asked.lazy())


def following(runner: Any, view: Catalogue, histories: list[list[str]], folder: Path) -> list[list[str]]:
    """Items that were scored, best first, after each history, of those that it does not show."""
    folder.mkdir(exist_ok=True)
    rows = {"example_id": [str(k) for k in range(len(histories))], "user_id": "nobody"}
    examples = pl.DataFrame({**rows, "history": [[{"item_id": item} for item in row] for row in histories]})
    found = []
    for block in runner.predict("recommendation", examples, view, Context(0, folder)):
        assert isinstance(block, ScoreBlock)
        for name, scores in zip(block.example_ids, block.scores, strict=True):
            seen = [view.index[item] for item in histories[int(name)]]
            scores[seen] = -np.inf
            order = np.argsort(-scores)[: np.isfinite(scores).sum()]
            found.append(view.items["item_id"][order].to_list())
    return found


@pytest.mark.slow
def test_what_texts_tell_is_carried_over_to_items_that_nobody_bought(shop: Dataset, tmp_path: Path) -> None:
    data, view = rounds(shop), shop.catalogue()
    settings: dict[str, Any] = {"embedding": 16, "inner": 16, "experts": 4, "pretrain_epochs": 60, "epochs": 60}
    runner = UniSRec(
        **settings, batch=32, pretrain_batch=64, lr=0.01, dropout=0.1, text="circle", new_domain="zero_shot"
    )
    folders = [tmp_path / name for name in ("fit", "adapt")]
    for folder in folders:
        folder.mkdir()
    runner.fit({"recommendation": data}, Context(0, folders[0]))
    histories = [[ITEM_IDS[(start + step) % 16] for step in range(3)] for start in range(16)]
    lists = following(runner, view, histories, tmp_path / "p")
    right = [ITEM_IDS[(start + 3) % 16] for start in range(16)]
    assert sum(a[0] == b for a, b in zip(lists, right, strict=True)) >= 10  # one by chance
    assert "i05" in lists[2][:2]  # its text says that it follows i04, where everybody went on to i06
    office = {"recommendation": task_data(shop, "recommendation", new_domains=True)}
    runner.adapt(office, Context(0, folders[1]))
    after = following(runner, view, [[item] for item in OFFICE[:3]], tmp_path / "p")
    assert [row[0] for row in after] == OFFICE[1:]  # on round the circle; by chance one time in 27


@pytest.mark.slow
def test_lightsans_learns_an_order(shop: Dataset, tmp_path: Path) -> None:
    runner = LightSANs(embedding=16, inner=16, epochs=60, batch=32, lr=0.01, dropout=0.1, attention_dropout=0.1)
    runner.fit({"recommendation": rounds(shop)}, Context(0, tmp_path))
    histories = [[ITEM_IDS[(start + step) % 16] for step in range(3)] for start in range(6, 16)]
    found = following(runner, shop.catalogue(), histories, tmp_path / "p")
    right = [ITEM_IDS[(start + 3) % 16] for start in range(6, 16)]
    assert sum(a[0] == b for a, b in zip(found, right, strict=True)) >= 7  # one by chance


def test_lightsans_refuses_no_interests() -> None:
    with pytest.raises(ConfigError, match="LightSANs: interests=0; wanted at least 1"):
        LightSANs(interests=0)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["pretrain", "fit"])
def test_a_killed_stage_goes_on_and_ends_as_if_nothing_had_been(shop: Dataset, tmp_path: Path, stage: str) -> None:
    settings: dict[str, Any] = {**TEXT, "epochs": 4, "pretrain_epochs": 4, "patience": 9}

    def fit(shop: Dataset, runner: RecBoleRunner, folder: Path) -> Weights:
        return {**fitted(shop, runner, folder), **weights(folder)}

    resumes(shop, lambda: UniSRec(**settings), tmp_path, stage, 2, fit)
