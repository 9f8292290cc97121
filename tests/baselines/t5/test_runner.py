"""P5 and VIP5 on the tiny shop: parameters, published weights, and what every runner promises."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

if any(find_spec(name) is None for name in ("torch", "transformers", "tokenizers")):
    pytest.skip("needs PyTorch and transformers: pip install -e '.[unimp]'", allow_module_level=True)

import torch

from tests.baselines.t5 import pieces
from tests.baselines.t5.leaking import data_at
from tests.shop import home_at
from unimp_baselines.t5 import P5, VIP5, training, weights
from unimp_bench import answers, curves
from unimp_bench.dataset import Dataset
from unimp_bench.errors import ConfigError, IncompleteError
from unimp_bench.fitting import task_data
from unimp_bench.runners import registry
from unimp_bench.runners.protocol import Context
from unimp_bench.tasks.spec import TASKS

SMALL: dict[str, Any] = {"width": 16, "layers": 1, "heads": 2, "epochs": 1, "windows": 1, "sentence": 8, "beam": 4}
NAMES = ("explanation", "preference", "recommendation", "selection")


@pytest.fixture
def shop(tmp_path: Path) -> Dataset:
    return Dataset.open(home_at(tmp_path / "home"), "shop")


def fitted(shop: Dataset, folder: Path, runner: P5, *, adapt: bool = False, seed: int = 0) -> P5:
    """The runner after a fit (and an adaptation), saved and taken up by a fresh one."""
    fresh = type(runner)(**registry.resolved(runner))
    for stage in ("fit", "adapt") if adapt else ("fit",):
        scratch, state = folder / stage, folder / f"{stage}-state"
        scratch.mkdir(parents=True)
        state.mkdir()
        data = {task: task_data(shop, task, new_domains=stage == "adapt") for task in NAMES}
        getattr(runner, stage)(data, Context(seed, scratch, curve=folder / f"{stage}.jsonl"))
        runner.save(state)
        runner = type(fresh)(**registry.resolved(fresh))
        runner.load(state)
    return runner


def said(shop: Dataset, runner: P5, task: str, examples: pl.DataFrame) -> pl.DataFrame:
    """Checked predictions."""
    asked = answers.Asked.of(TASKS[task].answer, examples, shop.catalogue(), shop, 0)
    return asked.checked(list(asked.settle(runner.predict(task, examples, shop.catalogue(), Context(0, Path())))))


def same(a: pl.DataFrame, b: pl.DataFrame) -> bool:
    """Equal answers, numbers equal but for the last digits."""
    a, b = a.sort("example_id"), b.sort("example_id")
    for name in a.columns:
        left, right = a[name].to_list(), b[name].to_list()
        if name in ("scores", "rating"):
            flat = [
                np.array([v for row in side for v in (row if isinstance(row, list) else [row])], float)
                for side in (left, right)
            ]
            if not np.allclose(*flat, rtol=1e-4, atol=1e-4, equal_nan=True):
                return False
        elif left != right:
            return False
    return True


def keeps(shop: Dataset, runner: P5, again: P5 | None, *, new: bool) -> None:
    """Every answer is valid and does not depend on order, company or who learned it again."""
    for task in NAMES:
        examples = shop.examples(task, "test").filter((pl.col("cohort") == "new_domain") == new).collect()
        if not examples.height:
            assert new
            assert task == "selection"  # the shop's office is too small
            continue
        whole = said(shop, runner, task, examples)
        assert whole.height == examples.height
        assert sum(whole.null_count().row(0)[:2]) == 0
        assert same(whole, said(shop, runner, task, examples.reverse()))
        assert same(whole, pl.concat([said(shop, runner, task, part) for part in examples.iter_slices(7)]))
        if again is not None:
            assert same(whole, said(shop, again, task, examples))


def test_a_small_p5_keeps_the_contract(shop: Dataset, tmp_path: Path) -> None:
    runner = fitted(shop, tmp_path / "a", P5(**SMALL))
    keeps(shop, runner, None, new=False)
    curve = curves.read(tmp_path / "a" / "fit.jsonl")
    names = set(curve["name"].to_list())
    assert names == {"loss", "valid_ndcg10", "valid_ndcg10_by_number", *(f"valid_{task}_loss" for task in NAMES)}
    with (tmp_path / "a/fit-state/tokenizer.json").open("ab") as file:
        file.write(b" ")
    with pytest.raises(IncompleteError, match=r"tokenizer.json is missing or was changed"):
        P5(**SMALL).load(tmp_path / "a/fit-state")


@pytest.mark.slow
@pytest.mark.parametrize("adapt", [False, True])
@pytest.mark.parametrize(
    ("kind", "changed"),
    [(P5, {}), (P5, {"item_ids": "atomic"}), (P5, {"item_ids": "sequential", "stars": "mode"}), (VIP5, {})],
)
def test_the_contract(shop: Dataset, tmp_path: Path, kind: type[P5], changed: dict[str, Any], adapt: bool) -> None:
    runner, again = (fitted(shop, tmp_path / name, kind(**SMALL, **changed), adapt=adapt) for name in "ab")
    keeps(shop, runner, again, new=adapt)
    if not adapt:
        other = fitted(shop, tmp_path / "c", kind(**SMALL, **changed), seed=1)
        asked = shop.examples("preference", "test").filter(pl.col("cohort") != "new_domain").collect()
        assert changed.get("stars") or not same(*(said(shop, one, "preference", asked) for one in (runner, other)))


@pytest.mark.slow
def test_a_killed_fit_ends_as_if_nothing_had_been(
    shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {task: task_data(shop, task, new_domains=False) for task in NAMES}
    monkeypatch.setattr(training.Plan, "checkpoint_seconds", 0.0)
    plan = P5._plan
    monkeypatch.setattr(P5, "_plan", lambda *a: training.Plan(**{**vars(plan(*a)), "checkpoint_seconds": 0.0}))
    step, count = training._step, 0

    def killed(*given: Any) -> float:
        nonlocal count
        count += 1
        if count == 9:
            raise KeyboardInterrupt
        return step(*given)

    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}-state").mkdir()
    whole, resumed = P5(**SMALL), P5(**SMALL)
    whole.fit(data, Context(0, tmp_path / "a"))
    with monkeypatch.context() as patched:
        patched.setattr(training, "_step", killed)
        with pytest.raises(KeyboardInterrupt):
            P5(**SMALL).fit(data, Context(0, tmp_path / "b"))
    assert (tmp_path / "b" / "in_domain.checkpoint").is_file()
    resumed.fit(data, Context(0, tmp_path / "b"))
    for name, one in (("a", whole), ("b", resumed)):
        one.save(tmp_path / f"{name}-state")
    files = [(tmp_path / f"{name}-state" / "weights.safetensors").read_bytes() for name in "ab"]
    assert files[0] == files[1]


def test_sequential_numbers_tell_validation_answers_and_drawn_ones_do_not(tmp_path: Path) -> None:
    """Users of a made shop whose items never meet: nothing but P5's numbers can tell what comes next."""
    data = data_at()
    found = {}
    for ids in ("sequential", "shuffled"):
        (tmp_path / ids).mkdir()
        runner = P5(**{**SMALL, "item_ids": ids})
        runner.fit(data, Context(0, tmp_path / ids, curve=tmp_path / f"{ids}.jsonl"))
        curve = curves.read(tmp_path / f"{ids}.jsonl").filter(name="valid_ndcg10_by_number")
        (found[ids],) = curve["value"].to_list()
    assert found["sequential"] == 1.0
    assert found["shuffled"] < 0.1


@pytest.mark.parametrize("tied", [True, False])
def test_weights_of_a_folder_are_taken_and_vip5_freezes_them(shop: Dataset, tmp_path: Path, tied: bool) -> None:
    folder = tmp_path / "t5"
    own = pieces.known()
    torch.manual_seed(5)
    config = weights.small(own.text_rows, 16, 1, 2, 0.0).config.to_dict()
    t5 = weights.described({**config, "scale_decoder_outputs": tied}, tied=tied)
    if not tied:
        torch.nn.init.normal_(t5.lm_head.weight)
    t5.save_pretrained(folder)
    if not tied:  # as T5 v1.1 says it in its file
        said = json.loads((folder / "config.json").read_text()) | {"tie_word_embeddings": False}
        said.pop("scale_decoder_outputs", None)
        (folder / "config.json").write_text(json.dumps(said))
    own.tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    taken, tokenizer = weights.published(str(folder))
    assert torch.equal(taken.shared.weight, t5.shared.weight)
    assert torch.equal(taken.lm_head.weight, t5.lm_head.weight)
    assert taken.config.scale_decoder_outputs == tied
    assert tokenizer.encode("Blue train").ids == own.tokenizer.encode("Blue train").ids
    runner = fitted(shop, tmp_path / "a", VIP5(**{**SMALL, "weights": str(folder)}))
    facts = runner._learned.facts
    assert 0 < facts["learned"] < facts["weights"]
    after = runner._learned.network.t5
    assert torch.equal(after.shared.weight, t5.shared.weight)
    assert torch.equal(after.lm_head.weight, t5.lm_head.weight)
    assert torch.equal(
        after.encoder.block[0].layer[0].SelfAttention.q.weight, t5.encoder.block[0].layer[0].SelfAttention.q.weight
    )
    assert not torch.equal(after.encoder.final_layer_norm.weight, t5.encoder.final_layer_norm.weight)


def test_weights_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        weights.published(str(tmp_path / "none"))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", "d_model": 16}))
    (tmp_path / "pytorch_model.bin").write_bytes(b"never opened")
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        weights.published(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong", [{"width": 0}, {"width": 10}, {"nameless": 1.5}, {"lr": 0.0}, {"vocabulary": 9}, {"dropout": 1.0}]
)
@pytest.mark.parametrize("kind", [P5, VIP5])
def test_parameters_without_meaning_are_refused(kind: type[P5], wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=kind.__name__.lower()):
        kind(**wrong)


def test_vip5_without_pictures_is_one_line(shop: Dataset, tmp_path: Path) -> None:
    from dataclasses import replace

    bare = shop.catalogue().items.with_columns(pl.lit(None, dtype=pl.String).alias("image_id"))
    given = task_data(shop, "preference", new_domains=False)
    given = replace(given, catalogue=replace(given.catalogue, items=bare))
    with pytest.raises(ConfigError, match="no pictures"):
        VIP5(**SMALL).fit({"preference": given}, Context(0, tmp_path))


def test_the_command_line_can_set_every_field() -> None:
    made = registry.create("vip5", VIP5, {"item_ids": "atomic", "features": "f.npy", "weights": "t5-small"})
    assert registry.resolved(made) | {"item_ids": "atomic", "weights": "t5-small"} == registry.resolved(made)
