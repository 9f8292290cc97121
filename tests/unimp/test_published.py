"""Models from published weights, on small files of the same formats."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, MptConfig, MptForCausalLM

from tests.unimp.tiny import MPT, NEOX, SIZES, TEXT, VISION, batch, config, logits, model, patches, row, words
from unimp.config import UnimpConfig
from unimp.errors import CheckpointError
from unimp.modeling import Unimp
from unimp.published import check_compatible, from_published, load_model
from unimp.vocabulary import Vocabulary

IDS = Vocabulary.of(config())
MATRIX = TEXT + 8  # rows of the published matrices: more than the tokenizer has ids
VISION_CONFIG = config().vision


def neox(folder: Path, **changes: Any) -> GPTNeoXForCausalLM:
    torch.manual_seed(5)
    settings = {name: value for name, value in NEOX.items() if name != "model_type"} | changes
    made = GPTNeoXForCausalLM(GPTNeoXConfig(**settings, vocab_size=MATRIX, use_parallel_residual=False)).eval()
    loud(made)
    made.save_pretrained(folder)
    return made


def mpt(folder: Path, **changes: Any) -> MptForCausalLM:
    torch.manual_seed(5)
    settings = {name: value for name, value in MPT.items() if name != "model_type"} | changes
    made = MptForCausalLM(MptConfig(**settings, vocab_size=MATRIX)).eval()
    loud(made)
    made.save_pretrained(folder)
    return made


@torch.no_grad()
def loud(made: nn.Module) -> None:
    for parameter in made.parameters():
        if parameter.dim() > 1:
            parameter.mul_(6)


def build(folder: Path, flamingo: Path | None = None, **changes: Any) -> Unimp:
    sizes = {**SIZES, **changes}
    return from_published(folder, vision=VISION_CONFIG, flamingo=flamingo, **sizes)


FAMILIES = {"neox": neox, "mpt": mpt}
families = pytest.mark.parametrize("family", FAMILIES)
TOKENS = torch.tensor([[0, *words(12)], [0, *words(12, 9)]])
SEEING = row([0, IDS.image, *words(4)])


@families
def test_without_pictures_it_is_the_language_model_to_the_bit(tmp_path: Path, family: str) -> None:
    """With closed gates: an open one lets a block's feed-forward part act on all text, as it does in OpenFlamingo."""
    published = FAMILIES[family](tmp_path)
    made = build(tmp_path, gate=0.0)
    with torch.no_grad():
        assert torch.equal(build(tmp_path, fusion="none")(TOKENS).logits[..., :TEXT], made(TOKENS).logits[..., :TEXT])
        wanted = published(TOKENS).logits[..., :TEXT]
        assert torch.equal(made(TOKENS).logits[..., :TEXT], wanted)
        packed = made.head(made.read(batch(row(TOKENS[0].tolist()), row(TOKENS[1].tolist())), None))
    assert torch.allclose(packed[..., :TEXT], wanted, atol=1e-4)
    assert type(made.body.config) is type(published.config)


@families
def test_with_closed_gates_pictures_leave_the_language_model_as_it_is(tmp_path: Path, family: str) -> None:
    FAMILIES[family](tmp_path)
    made, seen = build(tmp_path, gate=0.0), patches(1)
    hidden = {**SEEING, "slots": [-1] * len(SEEING["ids"]), "which": [-1] * len(SEEING["ids"])}
    assert torch.equal(logits(made, batch(SEEING, pictures=1), seen), logits(made, batch(hidden), None))
    opened = build(tmp_path, gate=0.5)
    assert not torch.equal(logits(opened, batch(SEEING, pictures=1), seen), logits(opened, batch(hidden), None))


@families
def test_shards_and_old_pickles_give_the_same_model(tmp_path: Path, family: str) -> None:
    published = FAMILIES[family](tmp_path / "one")
    wanted = build(tmp_path / "one").state_dict()
    published.save_pretrained(tmp_path / "many", max_shard_size="20KB")
    assert len(list((tmp_path / "many").glob("model-*.safetensors"))) > 2
    old = tmp_path / "old"
    old.mkdir()
    shutil.copy(tmp_path / "one" / "config.json", old)
    tensors = load_file(tmp_path / "one" / "model.safetensors")
    if family == "neox":  # as the files of 2023 name and hold things
        tensors = {name.replace("lm_head.", "embed_out."): tensor for name, tensor in tensors.items()}
        tensors["gpt_neox.layers.0.attention.bias"] = torch.ones(1, 1, 8, 8, dtype=torch.bool)
        tensors["gpt_neox.layers.0.attention.masked_bias"] = torch.tensor(-1e9)
        tensors["gpt_neox.layers.0.attention.rotary_emb.inv_freq"] = torch.ones(4)
    torch.save(tensors, old / "pytorch_model.bin")
    for folder in (tmp_path / "many", old):
        found = build(folder).state_dict()
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@families
def test_new_rows_are_drawn_like_the_published_ones(tmp_path: Path, family: str) -> None:
    FAMILIES[family](tmp_path)
    made, again, other = build(tmp_path, items=4000), build(tmp_path, items=4000), build(tmp_path, items=4000)
    for old, new in ((made.embed.text, made.embed.new), (made.head.text, made.head.new)):
        assert torch.allclose(new.weight.mean(0), old.weight.mean(0), atol=0.02)
        assert torch.allclose(new.weight.std(0), old.weight.std(0, correction=0), rtol=0.1)
    assert torch.equal(made.embed.new.weight, again.embed.new.weight)
    assert not torch.equal(made.embed.new.weight, made.head.new.weight)
    assert torch.equal(made.blocks["1"].to_q.weight, other.blocks["1"].to_q.weight)


def test_a_half_precision_model_is_made_of_the_type_asked_for(tmp_path: Path) -> None:
    neox(tmp_path / "a").half().save_pretrained(tmp_path / "a")
    assert json.loads((tmp_path / "a" / "config.json").read_text())["dtype"] == "float16"
    assert {one.dtype for one in build(tmp_path / "a").parameters()} == {torch.float32}
    made = from_published(tmp_path / "a", vision=VISION_CONFIG, dtype=torch.bfloat16, **SIZES)
    assert {one.dtype for one in made.parameters()} == {torch.bfloat16}


def first_mpt(folder: Path) -> dict[str, Tensor]:
    """A model in MPT's first form, with normed queries and keys; its tensors."""
    width, layers = MPT["d_model"], MPT["n_layers"]
    torch.manual_seed(6)
    tensors = {"transformer.wte.weight": torch.randn(MATRIX, width), "transformer.ln_f.weight": torch.rand(width) + 0.5}
    for number in range(layers):
        at = f"transformer.blocks.{number}."
        for norm in ("ln_1", "ln_2", "attn.q_ln", "attn.k_ln"):
            tensors[f"{at}{norm}.weight"] = torch.rand(width) + 0.5
        tensors[f"{at}attn.Wqkv.weight"] = torch.randn(3 * width, width) / 6
        tensors[f"{at}attn.out_proj.weight"] = torch.randn(width, width) / 6
        tensors[f"{at}mlp.mlp_up.weight"] = torch.randn(4 * width, width) / 6
        tensors[f"{at}mlp.mlp_down.weight"] = torch.randn(width, 4 * width) / 12
    folder.mkdir(exist_ok=True)
    torch.save(tensors, folder / "pytorch_model.bin")
    settings = {
        "model_type": "mosaic_gpt",
        "auto_map": {"AutoModelForCausalLM": "mosaic_gpt.MosaicGPT"},
        "d_model": width,
        "n_heads": MPT["n_heads"],
        "n_layers": layers,
        "max_seq_len": 64,
        "mlp_ratio": 4,
        "vocab_size": MATRIX,
        "attn_qk_ln": True,
        "alibi": True,
        "alibi_bias_max": 8,
        "no_bias": True,
        "torch_dtype": "float16",
    }
    (folder / "config.json").write_text(json.dumps(settings))
    return tensors


def first_mpt_by_hand(tensors: dict[str, Tensor], ids: Tensor) -> Tensor:
    """Its logits, written out: pre-norm blocks, normed queries and keys, biases linear in the distance."""
    width, heads = MPT["d_model"], MPT["n_heads"]

    def norm(x: Tensor, name: str) -> Tensor:
        return functional.layer_norm(x, (width,), tensors[name])

    x = tensors["transformer.wte.weight"][ids]
    place = torch.arange(ids.shape[1])
    distance = (place[:, None] - place[None, :]).float()
    for number in range(MPT["n_layers"]):
        at = f"transformer.blocks.{number}."
        q, k, v = (norm(x, f"{at}ln_1.weight") @ tensors[f"{at}attn.Wqkv.weight"].T).chunk(3, dim=-1)
        q, k = norm(q, f"{at}attn.q_ln.weight"), norm(k, f"{at}attn.k_ln.weight")
        mixed = []
        for head in range(heads):
            cut = slice(head * width // heads, (head + 1) * width // heads)
            scores = q[..., cut] @ k[..., cut].transpose(1, 2) / (width / heads) ** 0.5
            scores = scores - distance * 2.0 ** (-8 * (head + 1) / heads)
            mixed.append(scores.masked_fill(distance < 0, -torch.inf).softmax(-1) @ v[..., cut])
        x = x + torch.cat(mixed, -1) @ tensors[f"{at}attn.out_proj.weight"].T
        up = functional.gelu(norm(x, f"{at}ln_2.weight") @ tensors[f"{at}mlp.mlp_up.weight"].T)
        x = x + up @ tensors[f"{at}mlp.mlp_down.weight"].T
    return norm(x, "transformer.ln_f.weight") @ tensors["transformer.wte.weight"].T


def test_mpt_1b_of_the_first_form(tmp_path: Path) -> None:
    tensors = first_mpt(tmp_path / "mpt")
    made = build(tmp_path / "mpt", gate=0.0)
    with torch.no_grad():
        assert torch.allclose(
            made(TOKENS).logits[..., :TEXT], first_mpt_by_hand(tensors, TOKENS)[..., :TEXT], atol=1e-4
        )


@pytest.mark.parametrize(
    ("name", "value"), [("alibi", False), ("no_bias", False), ("mlp_ratio", 2), ("prefix_lm", True)]
)
def test_variants_that_would_be_computed_wrongly_are_refused(tmp_path: Path, name: str, value: object) -> None:
    first_mpt(tmp_path / "mpt")
    change_settings(tmp_path / "mpt", **{name: value})
    with pytest.raises(CheckpointError, match=f"is {value}; only .* is supported"):
        build(tmp_path / "mpt")


def change_settings(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def change_weights(folder: Path, change: Any) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file, metadata={"format": "pt"})


def drop(name: str) -> Any:
    return lambda tensors: tensors.pop(name)


def put(name: str, *shape: int) -> Any:
    return lambda tensors: tensors.update({name: torch.ones(shape)})


BIAS = "gpt_neox.layers.2.mlp.dense_h_to_4h.bias"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (drop(BIAS), "lacks weights of this model: body.layers.2.mlp.dense_h_to_4h.bias"),
        (put("gpt_neox.layers.9.extra", 3), "no place for: gpt_neox.layers.9.extra"),
        (put("adapter.weight", 3), "no place for: adapter.weight"),
        (put(BIAS, 5), r"is \(5,\), the model's body.layers.2.mlp.dense_h_to_4h.bias \(48,\); it belongs to another"),
        (put("gpt_neox.embed_in.weight", TEXT - 1, 32), f"fewer rows than the tokenizer's {TEXT} ids"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path: Path, change: Any, said: str) -> None:
    neox(tmp_path)
    change_weights(tmp_path, change)
    with pytest.raises(CheckpointError, match=said) as caught:
        build(tmp_path)
    assert "\n" not in str(caught.value)


def test_damaged_and_foreign_folders_are_refused_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    neox(tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    neox(tmp_path / "none")
    (tmp_path / "none" / "model.safetensors").unlink()
    neox(tmp_path / "llama")
    change_settings(tmp_path / "llama", model_type="llama")
    first_mpt(tmp_path / "narrow")
    settings = json.loads((tmp_path / "narrow/config.json").read_text())
    del settings["d_model"]
    (tmp_path / "narrow/config.json").write_text(json.dumps(settings))
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for folder, said in {
        "cut": "model.safetensors is damaged",
        "none": "has no weights",
        "llama": "is of type llama; known language models: gpt_neox, mpt, mosaic_gpt",
        "narrow": "is no configuration of a mosaic_gpt: it says nothing of 'd_model'",
        "empty": "config.json cannot be read",
    }.items():
        with pytest.raises(CheckpointError, match=said) as caught:
            build(tmp_path / folder)
        assert "\n" not in str(caught.value)


def test_a_name_that_the_hub_cannot_give_is_refused_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> str:
        raise OSError("no network here\nand more")

    monkeypatch.setattr("unimp.weights.snapshot_download", offline)
    with pytest.raises(CheckpointError, match=r"'some/model' is no folder and cannot be fetched .*: no network"):
        build(Path("some/model"))


# OpenFlamingo


def flamingo(text: str, layers: list[int], rows: int = TEXT + 3, width: int = 32, seed: int = 8) -> dict[str, Tensor]:
    """What OpenFlamingo 2.0.1 saves: resampler, blocks under the layers they stand before, embeddings."""
    generator = torch.Generator().manual_seed(seed)
    media, inner = VISION["hidden_size"], 16

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) / 3

    def feed(at: str, wide: int) -> dict[str, Tensor]:
        return {
            f"{at}0.weight": draw(wide),
            f"{at}0.bias": draw(wide),
            f"{at}1.weight": draw(2 * wide, wide),
            f"{at}3.weight": draw(wide, 2 * wide),
        }

    out = {
        "perceiver.latents": draw(3, media),
        "perceiver.norm.weight": draw(media),
        "perceiver.norm.bias": draw(media),
    }
    at = "perceiver.layers.0."
    for norm in ("norm_media", "norm_latents"):
        out |= {f"{at}0.{norm}.weight": draw(media), f"{at}0.{norm}.bias": draw(media)}
    out |= {f"{at}0.to_q.weight": draw(inner, media), f"{at}0.to_kv.weight": draw(2 * inner, media)}
    out |= {f"{at}0.to_out.weight": draw(media, inner)} | feed(f"{at}1.", media)
    home = "gpt_neox.layers" if text == "neox" else "transformer.blocks"
    for layer in layers:
        at = f"lang_encoder.{home}.{layer}.gated_cross_attn_layer."
        out |= {f"{at}attn_gate": draw(1), f"{at}ff_gate": draw(1)}
        out |= {f"{at}attn.norm.weight": draw(width), f"{at}attn.norm.bias": draw(width)}
        out |= {f"{at}attn.to_q.weight": draw(inner, width), f"{at}attn.to_kv.weight": draw(2 * inner, media)}
        out |= {f"{at}attn.to_out.weight": draw(width, inner)} | feed(f"{at}ff.", width)
    table = "gpt_neox.embed_in" if text == "neox" else "transformer.wte"
    return out | {f"lang_encoder.{table}.weight": draw(rows, width)}


@families
@pytest.mark.parametrize("rows", [TEXT + 2, TEXT + 3])
def test_an_openflamingo_checkpoint_goes_over_its_language_model(tmp_path: Path, family: str, rows: int) -> None:
    FAMILIES[family](tmp_path)
    plain = build(tmp_path)
    tensors = flamingo(family, [1, 3], rows)
    torch.save(tensors, tmp_path / "checkpoint.pt")
    made = build(tmp_path, tmp_path / "checkpoint.pt")
    home = "gpt_neox.layers" if family == "neox" else "transformer.blocks"
    table = next(tensor for name, tensor in tensors.items() if "embed_in" in name or "wte" in name)
    at = f"lang_encoder.{home}.3.gated_cross_attn_layer."
    own, block = made.state_dict(), made.blocks["3"]
    assert torch.equal(block.gate_attention, tensors[at + "attn_gate"])
    assert torch.equal(block.gate_feed, tensors[at + "ff_gate"])
    assert torch.equal(block.to_kv.weight, tensors[at + "attn.to_kv.weight"])
    assert torch.equal(block.feed[3].weight, tensors[at + "ff.3.weight"])
    assert torch.equal(own["resampler.layers.0.to_kv.weight"], tensors["perceiver.layers.0.0.to_kv.weight"])
    assert torch.equal(own["resampler.layers.0.feed.1.weight"], tensors["perceiver.layers.0.1.1.weight"])
    assert torch.equal(made.embed(torch.tensor([[3, IDS.chunk_end, IDS.image]]))[0], table[[3, TEXT, TEXT + 1]])
    if family == "mpt":
        assert torch.equal(made.head.new.weight[:2], table[[TEXT + 1, TEXT]])
    changed = {name for name, one in plain.state_dict().items() if not torch.equal(one, own[name])}
    assert {name for name in own if name.startswith(("resampler.", "blocks."))} <= changed
    assert not {name for name in changed if name.startswith("body.")}
    others = plain.state_dict()
    later = ["embed.new.weight", "head.new.weight"]
    assert all(torch.equal(own[name][2:], others[name][2:]) for name in later)


def test_other_wrappings_and_second_names_are_the_same_checkpoint(tmp_path: Path) -> None:
    neox(tmp_path)
    tensors = flamingo("neox", [1, 3])
    torch.save(tensors, tmp_path / "a.pt")
    old = "lang_encoder.gpt_neox.layers.1."
    more = dict(tensors)
    for name, tensor in tensors.items():
        if name.startswith(f"{old}gated_cross_attn_layer."):
            more[name.replace(f"{old}gated_cross_attn_layer.", "lang_encoder.gated_cross_attn_layers.1.")] = tensor
    more["lang_encoder.old_decoder_blocks.0.input_layernorm.weight"] = torch.ones(32)
    more[f"{old}decoder_layer.input_layernorm.weight"] = torch.ones(32)
    wrapped = {"epoch": 3, "model_state_dict": {f"module.{name}": tensor for name, tensor in more.items()}}
    torch.save(wrapped, tmp_path / "b.pt")
    one, two = (build(tmp_path, tmp_path / name).state_dict() for name in ("a.pt", "b.pt"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    more["lang_encoder.gated_cross_attn_layers.1.attn_gate"] = torch.tensor([9.0])
    torch.save(more, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match=r"blocks.1.gate_attention under two names with different values"):
        build(tmp_path, tmp_path / "c.pt")


GATE = "lang_encoder.gpt_neox.layers.1.gated_cross_attn_layer.attn_gate"


@pytest.mark.parametrize(
    ("layers", "rows", "change", "said"),
    [
        ([1, 3], TEXT + 3, drop(GATE), "lacks weights of this model: blocks.1.gate_attention"),
        ([1, 3], TEXT + 3, drop("perceiver.latents"), "lacks weights of this model: resampler.latents"),
        ([1, 3], TEXT + 3, put("perceiver.frame_embs", 2), "no place for: perceiver.frame_embs"),
        ([1, 2, 3], TEXT + 3, lambda tensors: None, "no place for: lang_encoder.gpt_neox.layers.2.gated_cross_attn"),
        ([3], TEXT + 3, lambda tensors: None, "lacks weights of this model: blocks.1"),
        ([1, 3], TEXT + 9, lambda tensors: None, f"has {TEXT + 9} rows, {TEXT + 2} or {TEXT + 3} go with a tokenizer"),
        ([1, 3], TEXT + 3, drop("lang_encoder.gpt_neox.embed_in.weight"), "lacks the embeddings"),
        ([1, 3], TEXT + 3, put("perceiver.latents", 5, 24), r"perceiver.latents is \(5, 24\)"),
    ],
)
def test_a_checkpoint_that_does_not_fit_says_why(
    tmp_path: Path, layers: list[int], rows: int, change: Any, said: str
) -> None:
    neox(tmp_path)
    tensors = flamingo("neox", layers, rows)
    change(tensors)
    torch.save(tensors, tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError, match=said) as caught:
        build(tmp_path, tmp_path / "checkpoint.pt")
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_another_language_model_is_refused(tmp_path: Path) -> None:
    neox(tmp_path)
    torch.save(flamingo("neox", [1, 3], width=48), tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError, match="48 wide, the model 32: another language model"):
        build(tmp_path, tmp_path / "checkpoint.pt")


class Runs:
    """What a malicious pickle is made of: it leaves a file where it is run."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.trace,))


def test_nothing_in_a_pickle_is_run(tmp_path: Path) -> None:
    neox(tmp_path)
    for number, held in enumerate(
        ({"perceiver.latents": Runs(tmp_path / "was-run")}, {"perceiver.latents": "text"}, [1, 2])
    ):
        file = tmp_path / f"{number}.pt"
        torch.save(held, file)
        with pytest.raises(CheckpointError, match=r"cannot be read as weights|holds no tensors by name"):
            build(tmp_path, file)
    (tmp_path / "cut.pt").write_bytes((tmp_path / "0.pt").read_bytes()[:50])
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        build(tmp_path, tmp_path / "cut.pt")
    assert not (tmp_path / "was-run").exists()


# Saved models


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    made = model()
    made.config.catalogue_hash = "a" * 64
    made.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_saved_model_is_loaded_as_it_was(saved: Path) -> None:
    loaded = load_model(saved, items=6, catalogue_hash="a" * 64, text_ids=TEXT)
    assert not loaded.training
    wanted = model().state_dict()
    assert all(torch.equal(one, wanted[name]) for name, one in loaded.state_dict().items())
    assert load_model(saved, items=6, dtype=torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"items": 7}, "knows 6 items, the catalogue has 7; train it on this dataset"),
        ({"items": 6, "catalogue_hash": "b" * 64}, "is of catalogue aaaaaaaaaaaa, this one is bbbbbbbbbbbb"),
        ({"items": 6, "text_ids": 99}, f"has {TEXT} text ids, the tokenizer 99"),
    ],
)
def test_a_model_of_another_dataset_is_refused(saved: Path, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        load_model(saved, **asked)


def test_a_model_that_says_no_catalogue_is_not_held_against_one() -> None:
    check_compatible(UnimpConfig(**SIZES), items=6, catalogue_hash="c")


def cut_short(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])


DAMAGES = [
    (cut_short, "cannot be loaded"),
    (lambda folder: (folder / "model.safetensors").unlink(), "cannot be loaded"),
    (lambda folder: (folder / "config.json").unlink(), "config.json cannot be read"),
    (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read"),
    (lambda folder: (folder / "config.json").write_text("[]"), "holds no settings"),
    (lambda folder: change_settings(folder, model_type="gpt2"), "is of type gpt2, not unimp"),
    (lambda folder: change_settings(folder, fusion="middle"), "fusion is 'middle'"),
    (lambda folder: change_settings(folder, latents=5), "weights of other sizes than config.json says"),
    (lambda folder: change_settings(folder, text_ids=41), "weights of other sizes than config.json says"),
    (lambda folder: change_settings(folder, cross_every=1), r"missing keys blocks\.0"),
    (lambda folder: change_weights(folder, drop("head.new.weight")), r"missing keys head\.new\.weight"),
    (lambda folder: change_weights(folder, put("more", 2)), "unexpected keys more"),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGES)
def test_a_damaged_model_is_refused_in_a_line(saved: Path, damage: Any, said: str) -> None:
    damage(saved)
    with pytest.raises(CheckpointError, match=said) as caught:
        load_model(saved, items=6)
    assert "\n" not in str(caught.value)


def test_pickled_weights_of_a_model_are_not_read(saved: Path) -> None:
    torch.save(load_file(saved / "model.safetensors"), saved / "pytorch_model.bin")
    (saved / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_model(saved, items=6)
