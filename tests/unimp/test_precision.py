"""Half precision as on a GPU, on the CPU: autocast there rounds the same products."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.unimp import learning_shop, tiny, training_runs
from unimp import attention, precision, streams, trainable
from unimp.decoding import Decoder
from unimp.errors import TrainingError
from unimp.loading import Loader
from unimp.modeling import Unimp
from unimp.options import Options
from unimp.published import load_model
from unimp.recipe import HALVES, Recipe
from unimp.shop import Example
from unimp.trainable import part_of

CPU = torch.device("cpu")
FROZEN = frozenset({"resampler", "cross"}) | trainable.ROWS_NEW
SHORT = Recipe(epochs=1, lr=1e-3)


@pytest.fixture
def as_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "DEVICES", ["cuda", "cpu"])
    monkeypatch.setattr(attention, "WHOLE", [])


def half(model: Unimp) -> Unimp:
    return precision.halved(model, Options(preset="paper"), CPU)


def test_a_frozen_body_has_half_matrices_and_nothing_else(as_gpu: None) -> None:
    model = half(learning_shop.model())
    for name, parameter in model.named_parameters():
        halved = part_of(name) == "body" and parameter.dim() > 1
        assert parameter.dtype == (torch.bfloat16 if halved else torch.float32), name
    assert {p.dtype for p in learning_shop.model().body.parameters()} == {torch.float32}


def test_a_body_that_learns_and_one_on_a_cpu_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {p.dtype for p in half(learning_shop.model()).parameters()} == {torch.float32}
    monkeypatch.setattr(precision, "DEVICES", ["cpu"])
    scratch = precision.halved(learning_shop.model(), Options(preset="tiny"), CPU)
    assert {p.dtype for p in scratch.parameters()} == {torch.float32}


@pytest.mark.parametrize("text", [tiny.NEOX, tiny.MPT])
def test_half_matrices_compute_what_whole_ones_do_under_autocast(as_gpu: None, text: dict[str, object]) -> None:
    ids = tiny.words(9)
    batch = tiny.batch(tiny.row([1, 41, *ids]), pictures=1)
    seen = tiny.patches(1)
    with precision.products(CPU):
        whole = tiny.logits(tiny.model(text), batch, seen)
        halved = tiny.logits(half(tiny.model(text)), batch, seen)
    plain = tiny.logits(tiny.model(text), batch, seen)
    assert torch.equal(whole, halved)
    assert not torch.equal(whole, plain)  # autocast was on


def test_training_beside_a_half_body_equals_that_beside_a_whole_one(as_gpu: None, tmp_path: Path) -> None:
    frozen = {n: p.clone() for n, p in half(learning_shop.model()).named_parameters() if part_of(n) == "body"}
    trained = {}
    for name, model in (("whole", learning_shop.model()), ("half", half(learning_shop.model()))):
        training_runs.run(tmp_path / name, SHORT, model, parts=FROZEN)
        trained[name] = {n: p for n, p in model.named_parameters() if part_of(n) != "body"}
        if name == "half":
            for n, before in frozen.items():
                after = model.get_parameter(n)
                assert after.dtype == before.dtype
                assert torch.equal(after, before)
    for name, parameter in trained["half"].items():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, trained["whole"][name]), name
    before = learning_shop.model().get_parameter("head.new.weight")
    assert not torch.equal(before, trained["half"]["head.new.weight"])


def test_a_half_body_is_not_trained(as_gpu: None, tmp_path: Path) -> None:
    model = half(learning_shop.model())
    with pytest.raises(TrainingError, match=r"bfloat16 and part of what is trained \(body\); load it in float32"):
        training_runs.run(tmp_path, SHORT, model)


def test_a_half_body_is_saved_and_read_as_it_was(as_gpu: None, tmp_path: Path) -> None:
    model = half(learning_shop.model())
    model.save_pretrained(tmp_path)
    read = half(load_model(tmp_path, items=learning_shop.ITEMS, dtype=torch.float32))
    for name, parameter in model.named_parameters():
        assert read.get_parameter(name).dtype == parameter.dtype, name
        assert torch.equal(read.get_parameter(name), parameter), name


def asked(count: int = 5) -> list[Example]:
    shop = learning_shop.shop()
    found = []
    for user in range(count):
        rows = slice(int(shop.log.offsets[user]), int(shop.log.offsets[user]) + 3)
        history = shop.log.item[rows]
        whys: list[str | None] = [None] * 3
        found.append(
            Example(str(user), "", history, shop.log.rating[rows], whys, query="red ones", target=3, candidates=(1, 2))
        )
    return found


def decoder(model: Unimp) -> Decoder:
    nn.init.normal_(model.head.new.weight, generator=torch.Generator().manual_seed(0))
    nn.init.normal_(model.embed.new.weight, generator=torch.Generator().manual_seed(1))
    return Decoder(model, learning_shop.rows().writer, learning_shop.patches, learning_shop.HAS_PICTURE)


def test_answers_of_a_half_body_are_near_and_their_logits_whole(as_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[streams.Stream] = []
    plain = streams.Stream.begin.__func__  # type: ignore[attr-defined]

    def begin(cls: type, *args: object, **kwargs: object) -> streams.Stream:
        kept.append(plain(cls, *args, **kwargs))
        return kept[-1]

    monkeypatch.setattr(streams.Stream, "begin", classmethod(begin))
    halved = decoder(half(learning_shop.model()))
    scores = halved.rank("search", asked())
    assert {stream.last.dtype for stream in kept} == {torch.float32}
    # Logits of 8 bits would be equal to their own rounding.
    assert (torch.from_numpy(scores).bfloat16().float().numpy() != scores).mean() > 0.9
    words = halved.explain(asked(), lambda ids: " ".join(map(str, ids)), beams=2, most_words=4)
    rated, chosen = halved.rate(asked())[0], halved.choose(asked())[1]
    keys = next(stream for stream in kept if stream.keys).keys
    assert {k.dtype for pair in keys.values() for k in pair} == {torch.bfloat16}
    monkeypatch.setattr(precision, "DEVICES", ["cuda"])
    whole = decoder(learning_shop.model())
    np.testing.assert_allclose(scores, whole.rank("search", asked()), atol=0.1)
    np.testing.assert_allclose(rated, whole.rate(asked())[0], atol=0.05)
    np.testing.assert_allclose(chosen, whole.choose(asked())[1], atol=0.05)
    assert len(words) == 5


def test_hidden_states_that_are_kept_are_those_of_half_products(as_gpu: None, tmp_path: Path) -> None:
    head = frozenset({"rows_out_new"})
    runs = []
    for name, cached in (("plain", False), ("kept", True)):
        recipe = replace(SHORT, epochs=2, draws=1, cached_hidden=cached)
        model, outcome = training_runs.run(tmp_path / name, recipe, half(learning_shop.model()), parts=head)
        runs.append((training_runs.weights(model), outcome.history))
    assert training_runs.differing(runs[0][0], runs[1][0]) == []
    assert runs[0][1] == runs[1][1]


def test_a_batch_of_trunks_and_branches_is_read_in_half_precision(
    as_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    plainly, kinds = functional.scaled_dot_product_attention, set()

    def attending(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *mask: Any, **more: Any) -> torch.Tensor:
        assert query.dtype == key.dtype == value.dtype  # whatever autocast made of each before
        found = plainly(query, key, value, *mask, **more)
        kinds.add(found.dtype)
        return found

    monkeypatch.setattr(functional, "scaled_dot_product_attention", attending)
    rows = learning_shop.rows()
    load = Loader(rows, 0, learning_shop.HAS_PICTURE, learning_shop.patches).load(0, [0, 1, 2])
    assert load.batch is not None
    assert bool((load.batch.segments > 0).any())
    model = learning_shop.model().eval()
    with torch.no_grad():
        plain = model.read(load.batch, load.patches)
        with precision.products(CPU):
            read = model.read(load.batch, load.patches)
    assert kinds == {torch.float32, torch.bfloat16}  # without and with half products
    assert read.dtype == torch.float32
    assert not torch.equal(read, plain)
    torch.testing.assert_close(read, plain, atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ("device", "where", "units", "expected"),
    [
        ("cuda", "gpu", False, True),
        ("cuda", "amx", False, True),
        ("cuda", "never", True, False),
        ("cpu", "amx", True, True),
        ("cpu", "amx", False, False),
        ("cpu", "gpu", True, False),
        ("cpu", "never", True, False),
    ],
)
def test_training_is_in_half_precision_where_it_is_wanted_and_brings_something(
    monkeypatch: pytest.MonkeyPatch, device: str, where: str, units: bool, expected: bool
) -> None:
    monkeypatch.setattr(precision, "has_matrix_units", lambda: units)
    assert precision.halves(torch.device(device), where) is expected


def test_units_are_those_that_the_system_names() -> None:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        pytest.skip("no /proc/cpuinfo to compare with")
    assert precision.has_matrix_units() is (" amx_bf16 " in cpuinfo.read_text())


def test_a_cpu_with_matrix_units_learns_in_half_products_but_attends_and_answers_in_whole_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    attended, multiplied = set(), set()
    attending, linear = functional.scaled_dot_product_attention, nn.Linear.forward

    def attention_seen(*given: torch.Tensor, **more: Any) -> torch.Tensor:
        attended.update(one.dtype for one in given[:3])
        return attending(*given, **more)

    def linear_seen(module: nn.Linear, x: torch.Tensor) -> torch.Tensor:
        multiplied.add((found := linear(module, x)).dtype)
        return found

    monkeypatch.setattr(functional, "scaled_dot_product_attention", attention_seen)
    monkeypatch.setattr(nn.Linear, "forward", linear_seen)
    monkeypatch.setattr(precision, "has_matrix_units", lambda: True)
    model, outcome = training_runs.run(tmp_path / "half", replace(SHORT, bf16="amx"))
    assert multiplied == {torch.bfloat16}
    assert attended == {torch.float32}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    plain, plainly = training_runs.run(tmp_path / "whole", SHORT)
    assert training_runs.differing(training_runs.weights(model), training_runs.weights(plain))
    assert outcome.history[0]["loss"] == pytest.approx(plainly.history[0]["loss"], rel=0.01)
    multiplied.clear()
    Decoder(model, learning_shop.rows().writer, learning_shop.patches, learning_shop.HAS_PICTURE).rate(asked())
    assert multiplied == {torch.float32}


def test_a_cpu_without_units_learns_the_same_bits_however_it_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(precision, "has_matrix_units", lambda: False)
    learned = [
        training_runs.weights(training_runs.run(tmp_path / where, replace(SHORT, bf16=where))[0]) for where in HALVES
    ]
    assert training_runs.differing(learned[0], learned[1]) == []
    assert training_runs.differing(learned[0], learned[2]) == []


def test_attention_under_autocast_is_that_of_its_inputs_in_float32() -> None:
    drawn = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, 5, 8, generator=drawn).bfloat16() for _ in range(3))
    mask = torch.zeros(2, 1, 5, 5).masked_fill_(torch.ones(5, 5).triu(1).bool(), float("-inf"))
    expected = functional.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(attention.attend(q, k, v, mask.bfloat16()), expected)
        assert torch.equal(attention.attend(q, k, v, mask == 0), expected)
    assert attention.attend(q, k, v).dtype == torch.bfloat16


def test_preset_small_alone_takes_half_products_on_a_cpu() -> None:
    assert [Options(preset=p).half for p in ("tiny", "small", "paper")] == ["gpu", "amx", "gpu"]
    assert Options(preset="small", bf16="never").half == "never"


def test_an_unknown_place_for_half_products_is_refused() -> None:
    with pytest.raises(TrainingError, match="bf16 is 'always'; known: never, gpu, amx"):
        Recipe(bf16="always")
