"""A whole system on the hand-sized shop: what it stands on is kept with it, and what it may find is bounded."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, GPTNeoXConfig, GPTNeoXForCausalLM

from tests import shop as small
from unimp import folders, keeping, parts, settling, stages
from unimp.answering import Answering
from unimp.config import UnimpConfig
from unimp.content import reset_rows
from unimp.errors import CheckpointError, UnimpError
from unimp.neighbours import Neighbours
from unimp.options import Options
from unimp.retrieval import retrieved
from unimp.shop import Example, Shop
from unimp.system import System
from unimp.text import TextEncoder, save_tokenizer, train_tokenizer
from unimp.validation import Validation
from unimp.vision import VisionTower
from unimp_bench.places import Home

QUICK = {"effort": 0.02, "item_rows": "free", "strategy": "multi_task"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    torch.set_num_threads(1)
    return folders.read_folder(small.build_shop(Home(tmp_path_factory.mktemp("home"))).folder)


def published(folder: Path, shop: Shop, seed: int = 0) -> dict[str, str]:
    """A language model and a tower as others would publish them."""
    torch.manual_seed(seed)
    tokenizer = train_tokenizer([*shop.items.bodies, *shop.reviews] * 3, 300)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    body = GPTNeoXConfig(**sizes, vocab_size=TextEncoder(tokenizer).size + 8, max_position_embeddings=512)
    GPTNeoXForCausalLM(body).save_pretrained(folder / "language")
    save_tokenizer(tokenizer, folder / "language")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    tower = VisionTower.from_config(CLIPVisionConfig(**sizes, image_size=16, patch_size=8))
    tower.save_pretrained(folder / "tower")
    return {"text_weights": str(folder / "language"), "vision_weights": str(folder / "tower")}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory, shop: Shop) -> tuple[System, Path]:
    folder = tmp_path_factory.mktemp("system")
    system = System(Options(**published(folder, shop), **QUICK), seed=1)
    system.fit(shop, folder / "work", tasks=("search",))
    system.save(folder / "saved")
    return system, folder


def test_published_parts_are_kept_with_the_system(fitted: tuple[System, Path], shop: Shop) -> None:
    system, folder = fitted
    again = System.load(folder / "saved", shop.items, folder / "scratch")
    assert again.parts.tower is not None
    assert np.array_equal(again.parts.has_picture, system.parts.has_picture)
    assert again.parts.has_picture.sum() == len(shop.items) - 1
    asked = shop.valid["search"][:3]
    mine, theirs = (Answering(one).ranking("search", asked) for one in (system, again))
    assert np.array_equal(mine, theirs)


def test_neighbours_are_kept_where_rankings_count_them(fitted: tuple[System, Path], shop: Shop, tmp_path: Path) -> None:
    again = System.load(fitted[1] / "saved", shop.items, fitted[1] / "scratch")
    asked = shop.valid["search"][:3]
    own = Answering(again).ranking("recommendation", asked)
    searched = Answering(again).ranking("search", asked)
    again.neighbours = Neighbours.of(shop.log, len(shop.items))
    np.testing.assert_array_equal(Answering(again).ranking("recommendation", asked), own)  # of no weight yet
    again.decisions = dataclasses.replace(again.decisions, neighbours={"recommendation": 2.0})
    near = again.neighbours.scores([e.history for e in asked])
    assert near.any()
    np.testing.assert_allclose(Answering(again).ranking("recommendation", asked), own + 2 * near, rtol=1e-6)
    np.testing.assert_array_equal(Answering(again).ranking("search", asked), searched)
    again.save(tmp_path / "saved")
    loaded = System.load(tmp_path / "saved", shop.items, tmp_path / "scratch")
    np.testing.assert_allclose(Answering(loaded).ranking("recommendation", asked), own + 2 * near, rtol=1e-6)
    again.style = dataclasses.replace(again.style, history=1, earlier=1)
    np.testing.assert_array_equal(again.near_scores(asked), again.neighbours.scores([e.history[-2:] for e in asked]))
    assert not np.array_equal(again.near_scores(asked), near)
    again.decisions = dataclasses.replace(again.decisions, neighbours={"recommendation": 0.0})
    again.save(tmp_path / "without")
    assert not (tmp_path / "without" / keeping.NEIGHBOURS).exists()
    file = tmp_path / "saved" / keeping.NEIGHBOURS
    save_file({name: tensor[:1] for name, tensor in again.neighbours.tensors().items()}, file)
    with pytest.raises(CheckpointError, match=rf"{file} is damaged \(offsets are not those of .*; fit it again$"):
        System.load(tmp_path / "saved", shop.items, tmp_path / "scratch")
    file.unlink()
    with pytest.raises(CheckpointError, match=r"lacks 'neighbours\.safetensors'"):
        System.load(tmp_path / "saved", shop.items, tmp_path / "scratch")


@pytest.mark.parametrize("noted", [True, False], ids=["noted", "saved before parts were noted"])
@pytest.mark.parametrize("lost", ["tower", "tokenizer", "model"])
def test_what_a_partial_copy_lost_is_named(
    fitted: tuple[System, Path], shop: Shop, tmp_path: Path, lost: str, noted: bool
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(fitted[1] / "saved", folder)
    note = folder / keeping.FACTS
    facts = json.loads(note.read_text())
    assert facts.pop("parts") == ["tokenizer", "tower"]
    if not noted:
        note.write_text(json.dumps(facts))
    assert System.load(folder, shop.items, tmp_path / "scratch").parts.tower is not None
    shutil.rmtree(folder / lost)
    with pytest.raises(CheckpointError, match=rf"{folder}.*{lost if lost != 'model' else 'config.json'}.*") as said:
        System.load(folder, shop.items, tmp_path / "scratch")
    assert "\n" not in str(said.value)


def test_lost_patch_tokens_are_made_again(fitted: tuple[System, Path], shop: Shop, tmp_path: Path) -> None:
    system, folder = fitted
    shutil.copytree(folder / "saved", tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "features")
    again = System.load(tmp_path / "copy", shop.items, tmp_path / "scratch")
    which = torch.arange(len(shop.items))[torch.from_numpy(system.parts.has_picture)]
    mine, theirs = (one.parts.patches(which) for one in (system, again))
    assert mine is not None and theirs is not None and torch.equal(mine, theirs)


def test_parts_that_are_needed_follow_from_the_model(tmp_path: Path) -> None:
    assert keeping.needed(UnimpConfig()) == ["tokenizer"]
    drawing = UnimpConfig(image_codes=8, item_levels=3, codebook=4)
    assert keeping.needed(drawing) == ["tokenizer", "images", "semantic.safetensors"]
    (tmp_path / "tokenizer").mkdir()
    for facts in ({}, {"parts": ["tokenizer", "images"]}):
        with pytest.raises(CheckpointError, match=r"lacks 'images', a part of the system; copy the whole folder"):
            keeping.present(tmp_path, facts, drawing)


def test_a_blind_system_of_lent_parts_stays_blind(fitted: tuple[System, Path], shop: Shop, tmp_path: Path) -> None:
    lent = tmp_path / "parts"
    System(fitted[0].options).pretrain(shop, lent)
    assert (lent / "tower").is_dir()
    blind = System(dataclasses.replace(fitted[0].options, vision="off", pretrained=str(lent)))
    blind.fit(shop, tmp_path / "work", tasks=("search",))
    blind.save(tmp_path / "saved")
    asked = shop.valid["search"][:3]
    expected = Answering(blind).ranking("search", asked)
    assert not (tmp_path / "saved" / "tower").exists()
    shutil.copytree(lent / "tower", tmp_path / "saved" / "tower")  # as it was kept before
    again = System.load(tmp_path / "saved", shop.items, tmp_path / "scratch")
    assert not again.style.pictures
    assert np.array_equal(Answering(again).ranking("search", asked), expected)


def test_the_log_of_every_stage_is_kept(fitted: tuple[System, Path], shop: Shop, tmp_path: Path) -> None:
    def stages_in(folder: Path) -> set[str]:
        kept = list((folder / "tensorboard").iterdir())
        assert all("tfevents" in file.name and file.stat().st_size for stage in kept for file in stage.iterdir())
        return {stage.name for stage in kept}

    system, folder = fitted
    assert stages_in(folder / "saved") == {*system.outcomes} >= {"multi_task"}
    again = System.load(folder / "saved", shop.items, folder / "scratch")
    again.save(tmp_path / "again")
    assert stages_in(tmp_path / "again") == {*system.outcomes}
    again.adapt(shop, tmp_path / "adapt")
    again.save(tmp_path / "adapted")
    shutil.rmtree(tmp_path / "adapt")
    assert stages_in(tmp_path / "adapted") == {"new_domain"}
    assert System.load(tmp_path / "adapted", shop.items, folder / "scratch").tasks == system.tasks


def test_parts_of_other_published_weights_are_refused(fitted: tuple[System, Path], shop: Shop) -> None:
    system, folder = fitted
    other = published(folder / "other", shop, seed=9)
    mixed = dataclasses.replace(system.options, vision_weights=other["vision_weights"])
    with pytest.raises(CheckpointError, match=r"begun with vision_weights .* remove it"):
        System(mixed, seed=1).fit(shop, folder / "work", tasks=("search",))
    lent = dataclasses.replace(mixed, pretrained=str(folder / "work" / "parts"))
    with pytest.raises(CheckpointError, match="another vision tower"):
        System(lent, seed=1).fit(shop, folder / "elsewhere", tasks=("search",))
    save_tokenizer(train_tokenizer(["other words altogether"] * 9, 270), folder / "language")
    with pytest.raises(CheckpointError, match="another tokenizer"):
        System(system.options, seed=1).fit(shop, folder / "work", tasks=("search",))


def test_a_checkpoint_over_no_language_model_is_refused() -> None:
    with pytest.raises(UnimpError, match="text_weights"):
        parts.need_weights(Options(flamingo="checkpoint.pt"))


def test_nothing_is_retrieved_twice_nor_what_must_not_be(
    fitted: tuple[System, Path], shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, _ = fitted
    asked = list(shop.valid["search"][:6])
    never = [e.answer_items[0] for e in asked]
    found = system.retrieve(asked, never)
    for example, two, one in zip(asked, found.tolist(), never, strict=True):
        assert len(set(two)) == 2
        assert not {*two} & {one, *example.history.tolist()}
        assert all(shop.items.domains[k] == "toys" for k in two)
    monkeypatch.setattr("unimp.retrieval.MOST_SCORES", 2 * len(shop.items))  # two examples at a time
    assert np.array_equal(system.retrieve(asked, never), found)


def test_a_picture_that_is_to_be_drawn_is_not_found_under_another_name(fitted: tuple[System, Path], shop: Shop) -> None:
    system, _ = fitted
    asked = list(shop.valid["search"][:4])
    shown = system.shown
    first = retrieved(system.decoder(), asked, shown)
    codes = np.arange(2 * len(shown)).reshape(-1, 2)
    for number, (one, other) in enumerate(first.tolist()):
        twins = codes.copy()
        twins[other] = twins[one]
        found = retrieved(system.decoder(), asked[number : number + 1], shown, twins, [one])[0]
        assert not {one, other} & {*found.tolist()}
        alone = retrieved(system.decoder(), asked[number : number + 1], shown, codes, [one])[0]
        assert alone[0] == other


def test_where_nothing_is_left_nothing_is_retrieved(fitted: tuple[System, Path], shop: Shop) -> None:
    system, _ = fitted
    toys = [k for k, domain in enumerate(shop.items.domains) if domain == "toys"]
    history = np.array(toys[:-1], dtype=np.int64)
    asked = Example("x", "", history, np.full(len(history), np.nan, np.float32), [None] * len(history), query="cars")
    assert system.retrieve([asked]).tolist() == [[toys[-1], -1]]
    assert system.retrieve([asked], [toys[-1]]).tolist() == [[-1, -1]]


def test_rows_from_content_reach_the_rows_that_a_task_has_of_its_own(fitted: tuple[System, Path], shop: Shop) -> None:
    folder = fitted[1]
    again = System.load(folder / "saved", shop.items, folder / "scratch")
    own = again.model.head.new.weight.detach().clone() + 1
    again.heads = {"search": {"head.new.weight": own.clone()}}
    known = np.array([domain == "toys" for domain in shop.items.domains])
    again._rows_from_content(known)
    first = again.vocabulary.item_ids.start - again.vocabulary.text
    changed = (again.heads["search"]["head.new.weight"] != own).any(1)[first:].numpy()
    assert changed[~known].all()
    assert not changed[known].any()


def test_rows_beside_content_begin_anew_where_nobody_bought() -> None:
    rows = torch.arange(12.0).reshape(6, 2)
    vocabulary = SimpleNamespace(item_ids=range(12, 16), text=10)
    reset_rows([rows], vocabulary, np.array([True, True, False, False]))  # type: ignore[arg-type]
    assert rows.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [5, 6], [5, 6]]


def test_a_held_out_domain_is_settled_by_its_own_customers(
    fitted: tuple[System, Path], shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = System.load(fitted[1] / "saved", shop.items, fitted[1] / "scratch")
    done: list[str] = []
    for module, name in ((stages, "new_domain"), (settling, "settle")):
        monkeypatch.setattr(module, name, lambda *_, name=name: done.append(name))
    again.adapt(shop, tmp_path / "adapt")
    assert done == ["new_domain", "settle"]


def test_without_validation_examples_nothing_is_chosen_by(fitted: tuple[System, Path], shop: Shop) -> None:
    system, _ = fitted
    assert Validation(system, shop, ["search"]).asked().keys() == {"validate", "select", "higher"}
    assert Validation(system, dataclasses.replace(shop, valid={}), ["search"]).asked() == {}


def test_validation_judges_the_model_that_it_is_given(fitted: tuple[System, Path], shop: Shop) -> None:
    system, folder = fitted
    watch = Validation(system, shop, ["search"])
    other = System.load(folder / "saved", shop.items, folder / "scratch").model
    before = watch(system.model)
    assert watch(other) == before
    with torch.no_grad():
        other.head.new.weight.neg_()
    assert watch(other) != before
    assert watch(system.model) == before


def test_as_many_labels_as_a_selection_has_candidates(fitted: tuple[System, Path], shop: Shop) -> None:
    system, _ = fitted
    assert system.model.config.candidates == parts.LEAST_CANDIDATES
    one = dataclasses.replace(shop.selection[0], candidates=tuple(range(20)) * 2)
    wide = dataclasses.replace(shop, selection=(one,))
    assert parts.config_of(wide, system.options, system.parts, 1, 0).candidates == 40


def test_a_body_of_another_preset_is_refused_in_one_line(tmp_path: Path, shop: Shop) -> None:
    options = Options(effort=0.02, vision="off", strategy="multi_task")
    System(options).pretrain(dataclasses.replace(shop, reviews=shop.reviews[:5]), tmp_path)
    file = tmp_path / "language.safetensors"
    save_file(load_file(file) | {"body.layers.7.attention.dense.weight": torch.zeros(2, 2)}, file)
    with pytest.raises(CheckpointError, match="another preset"):
        System(dataclasses.replace(options, pretrained=str(tmp_path))).fit(shop, tmp_path / "work", tasks=("search",))


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="make room") as said, keeping.writing(tmp_path):
        raise OSError(28, "No space left on device")
    assert "\n" not in str(said.value)
