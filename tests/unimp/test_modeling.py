"""The whole model: packing, padding, caches, saving, and what one step of training changes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from tests.unimp.tiny import MPT, MPT_NORMED, NEOX, batch, config, logits, model, patches, row, words
from unimp import modeling
from unimp.losses import focal
from unimp.modeling import Unimp
from unimp.rows import InputRows, OutputRows
from unimp.trainable import choose, parts_of
from unimp.vocabulary import IGNORED, Vocabulary

IDS = Vocabulary.of(config())
IMAGE = IDS.image
BODIES = {"neox": NEOX, "mpt": MPT, "mpt normed": MPT_NORMED}
bodies = pytest.mark.parametrize("text", BODIES.values(), ids=BODIES)

A, B, C = words(4, 10), words(5, 11), words(3, 12)
TRUNK = [0, IMAGE, *A, IMAGE, *B]
MIDDLE = 2 + len(A)  # before the second picture
BRANCHES = [(MIDDLE, [*C, IDS.answer, IDS.item(2)[0]]), (len(TRUNK), [IMAGE, *A[:2], IDS.answer]), (len(TRUNK), C)]


def packed() -> dict[str, list[int]]:
    return row(TRUNK, *[ids for _, ids in BRANCHES], horizons=tuple(start for start, _ in BRANCHES))


@bodies
@pytest.mark.parametrize("exclusive", [True, False])
def test_branches_that_share_a_trunk_equal_sequences_of_their_own(text: dict[str, Any], exclusive: bool) -> None:
    made, seen = model(text, exclusive=exclusive), patches(3)
    together = logits(made, batch(packed(), row([0, *C]), pictures=3), seen)[0]
    begin = len(TRUNK)
    alone = logits(made, batch(row(TRUNK), pictures=2), seen[:2])[0]
    assert torch.allclose(together[:begin], alone, atol=1e-5)
    for start, ids in BRANCHES:
        shown = 2 if start == len(TRUNK) else 1
        own = seen[[0, 1, 2]] if IMAGE in ids else seen[:shown]
        single = row([*TRUNK[:start], *ids])
        alone = logits(made, batch(single, pictures=len(own)), own)[0, start:]
        assert torch.allclose(together[begin : begin + len(ids)], alone, atol=1e-5)
        begin += len(ids)


@bodies
def test_a_branch_is_moved_by_its_trunk_and_by_no_other_branch(text: dict[str, Any]) -> None:
    made, seen = model(text), patches(3)
    old = logits(made, batch(packed(), pictures=3), seen)[0]
    first = len(TRUNK)
    changed = packed()
    changed["ids"][first] = changed["ids"][first] % 30 + 1  # a word of the first branch
    new = logits(made, batch(changed, pictures=3), seen)[0]
    own = slice(first, first + len(BRANCHES[0][1]))
    assert (old[own] - new[own]).abs().amax(-1).min() > 1e-4
    assert torch.equal(old[own.stop :], new[own.stop :])
    assert torch.equal(old[:first], new[:first])
    late = packed()
    late["ids"][MIDDLE + 1] = late["ids"][MIDDLE + 1] % 30 + 1  # a word of the trunk after the first branch starts
    new = logits(made, batch(late, pictures=3), seen)[0]
    assert torch.equal(old[own], new[own])
    assert (old[own.stop :] - new[own.stop :]).abs().amax(-1).min() > 1e-4


@bodies
def test_padding_changes_nothing(text: dict[str, Any]) -> None:
    made, seen = model(text), patches(2)
    short = batch(row([0, IMAGE, *A], pictures=0), pictures=1)
    both = batch(row([0, IMAGE, *A]), row([0, *A, *B, IMAGE, *B, *C], pictures=1), pictures=2)
    assert torch.allclose(logits(made, both, seen)[0, : 2 + len(A)], logits(made, short, seen[:1])[0], atol=1e-5)


def prompt(*chunks: tuple[int, list[int]]) -> tuple[list[int], list[int], list[int]]:
    """Ids, slots and `which` of pictures with their words."""
    ids, slots, which = [0], [-1], [-1]
    for picture, text in chunks:
        ids += [IMAGE, *text]
        slots += [picture] * (1 + len(text))
        which += [0] + [-1] * len(text)
    return ids, slots, which


def generated(made: Unimp, seen: Tensor, prompts: list[tuple[list[int], list[int], list[int]]], **how: Any) -> Tensor:
    """New ids of left-padded prompts."""
    longest = max(len(ids) for ids, _, _ in prompts)
    padded = [
        torch.tensor([[fill] * (longest - len(one[part])) + one[part] for one in prompts])
        for part, fill in enumerate((IDS.pad, -1, -1))
    ]
    mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids, _, _ in prompts])
    with torch.no_grad(), made.seeing(made.latents(seen)):
        out = made.generate(
            padded[0],
            attention_mask=mask,
            slots=padded[1],
            which=padded[2],
            do_sample=False,
            max_new_tokens=6,
            min_new_tokens=6,
            pad_token_id=IDS.pad,
            **how,
        )
    return out[:, longest:]


SHORT, LONG = prompt((0, A)), prompt((1, B), (2, [*C, *A]))


@bodies
@pytest.mark.parametrize("beams", [1, 3])
def test_a_cache_changes_no_answer(text: dict[str, Any], beams: int) -> None:
    made, seen = model(text), patches(3)
    cached, plain = (generated(made, seen, [SHORT, LONG], num_beams=beams, use_cache=use) for use in (True, False))
    assert cached.tolist() == plain.tolist()
    assert len(set(cached.flatten().tolist())) > 1


@bodies
@pytest.mark.parametrize("beams", [1, 3])
def test_a_left_padded_batch_answers_as_single_runs(text: dict[str, Any], beams: int) -> None:
    made, seen = model(text), patches(3)
    both = generated(made, seen, [SHORT, LONG], num_beams=beams)
    alone = [generated(made, seen, [one], num_beams=beams)[0].tolist() for one in (SHORT, LONG)]
    assert both.tolist() == alone


@bodies
def test_steps_with_a_cache_have_the_logits_of_one_pass(text: dict[str, Any]) -> None:
    made, seen = model(text), patches(3)
    ids, slots, which = (torch.tensor([one]) for one in LONG)
    whole = logits(made, batch(row(LONG[0]), pictures=2), seen[1:])
    with torch.no_grad(), made.seeing(made.latents(seen)):
        cut = 4
        first = made(ids[:, :cut], slots=slots[:, :cut], which=which[:, :cut], use_cache=True)
        steps = [first.logits]
        for place in range(cut, ids.shape[1]):
            now = slice(place, place + 1)
            steps.append(
                made(
                    ids[:, now],
                    slots=slots[:, now],
                    which=which[:, now],
                    past_key_values=first.past_key_values,
                    position_ids=torch.tensor([[place]]),
                    use_cache=True,
                ).logits
            )
    assert torch.allclose(torch.cat(steps, 1), whole, atol=1e-4)


def test_generated_ids_see_what_the_last_id_saw() -> None:
    made, seen = model(), patches(3)
    ids, slots, which = (torch.tensor([one]) for one in LONG)
    with torch.no_grad(), made.seeing(made.latents(seen)):
        out = made.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            slots=slots,
            which=which,
            do_sample=False,
            max_new_tokens=5,
            min_new_tokens=5,
            pad_token_id=IDS.pad,
            return_dict_in_generate=True,
            output_logits=True,
        )
    whole = row(LONG[0])
    for name, fill in (("slots", whole["slots"][-1]), ("which", -1), ("segments", 0), ("horizon", 0)):
        whole[name] = whole[name] + [fill] * 5
    whole["ids"] = out.sequences[0].tolist()
    whole["positions"] = list(range(len(whole["ids"])))
    one_pass = logits(made, batch(whole, pictures=2), seen[1:])[0, -6:-1]
    assert torch.allclose(torch.cat(out.logits), one_pass, atol=1e-4)
    blind = {**whole, "slots": whole["slots"][:-5] + [-1] * 5}
    assert not torch.allclose(one_pass[1:], logits(made, batch(blind, pictures=2), seen[1:])[0, -5:-1], atol=1e-2)


def test_keys_of_pictures_are_computed_once_while_text_is_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    made, seen = model(), patches(3)
    calls = []
    for block in made.blocks.values():
        block.to_kv.register_forward_hook(lambda *_: calls.append(1))
    generated(made, seen, [SHORT, LONG], num_beams=2)
    assert len(calls) == len(made.blocks)


def test_nothing_of_a_pass_stays_behind() -> None:
    made = model()
    made.read(batch(row(TRUNK), pictures=2), patches(2))
    assert modeling._PASSING.get() is None
    generated(made, patches(3), [SHORT])
    assert not hasattr(made, "_given")


def test_a_copy_looks_through_its_own_blocks() -> None:
    made, given, seen = model(), batch(row(TRUNK), pictures=2), patches(2)
    twin = copy.deepcopy(made)
    before = logits(twin, given, seen)
    with torch.no_grad():
        for parameter in made.blocks.parameters():
            parameter.zero_()
    assert torch.equal(logits(twin, given, seen), before)
    assert not torch.equal(logits(made, given, seen), before)


@bodies
def test_a_saved_model_is_the_same_model(tmp_path: Path, text: dict[str, Any]) -> None:
    made, given, seen = model(text), batch(row(TRUNK), pictures=2), patches(2)
    with torch.no_grad():
        made.blocks["1"].gate_attention.fill_(0.3)  # neither at its start value nor at zero
    made.save_pretrained(tmp_path)
    loaded = Unimp.from_pretrained(tmp_path).eval()
    for (name, ours), (other, theirs) in zip(made.named_parameters(), loaded.named_parameters(), strict=True):
        assert name == other
        assert torch.equal(ours, theirs), name
    assert torch.equal(logits(made, given, seen), logits(loaded, given, seen))


def test_every_weight_is_saved_once_and_shared_with_none(tmp_path: Path) -> None:
    made = model()
    made.save_pretrained(tmp_path)
    assert [one.name for one in tmp_path.glob("*.safetensors")] == ["model.safetensors"]
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        names = list(file.keys())
    assert sorted(names) == sorted(name for name, _ in made.named_parameters())
    assert len({one.data_ptr() for one in made.parameters()}) == len(names)
    assert len(list(made.parameters())) == len(list(made.named_parameters(remove_duplicate=False)))


def supervised_loss(made: Unimp) -> Tensor:
    labels = [[IGNORED] * (len(TRUNK) - 2) + [A[0], IDS.item(3)[0]]]
    given = batch(row(TRUNK), pictures=2, labels=labels)
    scores, places = made.supervised(given, patches(2))
    assert places.tolist() == [len(TRUNK) - 2, len(TRUNK) - 1]
    return focal(scores, given.labels.flatten()[places], 2.0).sum()


@pytest.mark.parametrize("rows", ["new", "all"])
def test_one_step_changes_what_is_trained_and_nothing_else(rows: str) -> None:
    made = model(train_rows=rows).train()
    names = set(choose(made, parts_of(made.config, "multi_task")))
    heads = {"embed.new.weight", "head.new.weight"} | (
        {"embed.text.weight", "head.text.weight"} if rows == "all" else set()
    )
    seeing = {name for name, _ in made.named_parameters() if name.startswith(("resampler.", "blocks."))}
    assert names == heads | seeing
    before = {name: one.detach().clone() for name, one in made.named_parameters()}
    optimizer = torch.optim.AdamW([one for one in made.parameters() if one.requires_grad], lr=1e-3, weight_decay=0)
    supervised_loss(made).backward()
    optimizer.step()
    changed = {name for name, one in made.named_parameters() if not torch.equal(one, before[name])}
    assert changed == names
    head = (made.head.new.weight - before["head.new.weight"]).detach().abs().amax(1)
    assert head[IDS.item(3)[0] - IDS.text] > 0


def test_the_label_is_predicted_from_what_stands_before_it() -> None:
    made, given = model(), batch(row(TRUNK), pictures=2, labels=[[IGNORED] * 3 + [5] + [IGNORED] * (len(TRUNK) - 4)])
    with torch.no_grad():
        scores, places = made.supervised(given, patches(2))
    assert places.tolist() == [3]
    assert torch.allclose(scores[0], logits(made, given, patches(2))[0, 2], atol=1e-6)


@bodies
def test_checkpointed_activations_give_the_same_gradients(text: dict[str, Any]) -> None:
    made = model(text).train()
    found = []
    for on in (False, True):
        if on:
            made.activation_checkpointing_enable()
        made.zero_grad()
        supervised_loss(made).backward()
        found.append({name: one.grad.clone() for name, one in made.named_parameters() if one.grad is not None})
    assert found[0].keys() == found[1].keys() == {name for name, _ in made.named_parameters()}
    for name, one in found[0].items():
        assert torch.allclose(one, found[1][name], rtol=1e-4, atol=1e-6), name


def test_checkpointing_recomputes_with_the_pictures_of_its_own_pass() -> None:
    """Two passes before one backward: what the second looked at must not reach the first's gradients."""
    made = model().train()
    made.activation_checkpointing_enable()
    supervised_loss(made).backward()
    wanted = made.blocks["1"].to_kv.weight.grad.clone()
    made.zero_grad()
    loss = supervised_loss(made)
    made.read(batch(row([0, *A, *B]), pictures=0), None)
    loss.backward()
    assert torch.equal(made.blocks["1"].to_kv.weight.grad, wanted)


def test_checkpointing_runs_blocks_again_instead_of_keeping_them() -> None:
    made = model().train()
    made.activation_checkpointing_enable()
    calls = []
    made.blocks["1"].feed.register_forward_hook(lambda *_: calls.append(1))
    supervised_loss(made).backward()
    assert len(calls) == 2


def test_rows_of_text_and_of_new_ids_come_from_their_own_tables() -> None:
    read, predict = InputRows(3, 2, 4), OutputRows(3, 2, 4)
    ids = torch.tensor([[0, 2, 3, 4]])
    wanted = torch.stack([read.text.weight[0], read.text.weight[2], read.new.weight[0], read.new.weight[1]])
    assert torch.equal(read(ids)[0], wanted)
    x = torch.randn(2, 4)
    assert torch.allclose(predict(x), x @ torch.cat([predict.text.weight, predict.new.weight]).T, atol=1e-6)
    assert torch.allclose(predict.some(x, range(4, 5)), predict(x)[:, 4:5], atol=1e-6)
    read(ids).sum().backward()
    assert read.text.weight.grad is not None and read.new.weight.grad is not None
    assert read.text.weight.grad[:, 0].tolist() == [1, 0, 1]
    assert read.new.weight.grad[:, 0].tolist() == [1, 1]


def test_the_body_has_no_table_of_its_own() -> None:
    for text in BODIES.values():
        made = model(text)
        assert not [name for name, _ in made.body.named_parameters() if "embed" in name or "wte" in name]


def test_a_body_is_of_the_type_of_everything_else() -> None:
    """Published configurations name float16."""
    made = Unimp(config({**NEOX, "dtype": "float16"}))
    assert {one.dtype for one in made.parameters()} == {torch.float32}


def test_scaled_first_weights_carry_what_depends_on_a_token(tmp_path: Path) -> None:
    plain, scaled = Unimp(config()), Unimp(config(scaled=True))
    width = scaled.config.width
    for name, weight in scaled.named_parameters():
        if name.endswith(("query_key_value.weight", "to_q.weight")):
            assert weight.std().item() == pytest.approx(weight.shape[1] ** -0.5, rel=0.2)
        if name.endswith(("attention.dense.weight", "blocks.1.to_out.weight")):
            assert weight.std().item() < 0.6 * weight.shape[1] ** -0.5
    ids = torch.arange(8).unsqueeze(0)
    assert scaled.embed(ids).std().item() == pytest.approx(0.02 * width**0.5, rel=0.3)
    assert plain.embed(ids).std().item() == pytest.approx(0.02, rel=0.3)
    scaled.save_pretrained(tmp_path)
    again = Unimp.from_pretrained(tmp_path)
    assert torch.equal(again.embed(ids), scaled.embed(ids))
