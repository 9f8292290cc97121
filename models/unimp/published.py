"""A model from published weights, and a saved model checked before it is used.

Language models: GPT-NeoX (RedPajama-INCITE), MPT, and MPT-1B, whose files are of MPT's first form (`mosaic_gpt`). They
are read by the code of this package and of transformers alone; code that comes with weights is never run.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import GPTNeoXConfig, MptConfig, PretrainedConfig

from unimp.config import UnimpConfig
from unimp.errors import CheckpointError
from unimp.flamingo import load_flamingo
from unimp.modeling import Unimp
from unimp.mpt import settings_of
from unimp.quiet import quiet
from unimp.weights import fill, listed, local_folder, weights_of

_BUFFERS = re.compile(r".*\.(attention\.(bias|masked_bias|rotary_emb\.inv_freq)|rotary_emb\.inv_freq)$")
_NEOX = [("gpt_neox.layers.", "body.layers."), ("gpt_neox.final_layer_norm.", "body.final_layer_norm.")]
_MPT = [
    ("transformer.blocks.", "body.blocks."),
    ("transformer.norm_f.", "body.norm_f."),
    ("transformer.ln_f.", "body.norm_f."),
]
_FIRST_MPT = [
    (".ln_1.", ".norm_1."),
    (".ln_2.", ".norm_2."),
    (".mlp.mlp_up.", ".ffn.up_proj."),
    (".mlp.mlp_down.", ".ffn.down_proj."),
]
_READ, _PREDICT = "embed.text.weight", "head.text.weight"


def from_published(
    language: str | Path,
    *,
    vision: PretrainedConfig | None,
    flamingo: str | Path | None = None,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    **sizes: Any,
) -> Unimp:
    """A model with the weights of a published language model and, if given, of an OpenFlamingo checkpoint over it.

    Weights are copied one tensor at a time from mapped files: memory holds the model and one tensor.

    Args:
        language: a local folder, or a name on the hub.
        vision: configuration of the tower (`VisionTower.from_pretrained(name).model.config`); None for a blind model.
        flamingo: a local `.pt` file of OpenFlamingo 2.0.1.
        dtype: of all weights.
        seed: of whatever is not published: rows of new ids, and blocks where there is no `flamingo`.
        sizes: the rest of `UnimpConfig`; `text_ids` is the tokenizer's length, not the matrix's.

    Raises:
        CheckpointError: weights that are missing, damaged, unknown or of other sizes.
    """
    folder = local_folder(language)
    config = UnimpConfig(text=language_config(folder), vision=vision, **sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Unimp = Unimp._from_config(config, dtype=dtype)  # type: ignore[no-untyped-call]
    load_language(model, folder, seed)
    if flamingo is not None:
        load_flamingo(model, flamingo)
    model.train(False)
    return model


def language_config(folder: Path) -> PretrainedConfig:
    """Configuration of a published language model, as `UnimpConfig` wants it.

    Raises:
        CheckpointError: no readable `config.json`, another family, or a variant that the body does not compute.
    """
    file = folder / "config.json"
    said = _read_settings(file)
    family = said.get("model_type")
    said = {name: value for name, value in said.items() if name not in ("auto_map", "torch_dtype", "dtype")}
    try:
        if family == "gpt_neox":
            return GPTNeoXConfig.from_dict(said)
        if family == "mosaic_gpt":
            return _first_mpt(said, file)
        if family == "mpt":
            config = MptConfig.from_dict(said)
            _refuse_variants(said | settings_of(config).to_dict(), file)
            return config
    except KeyError as problem:
        raise CheckpointError(f"{file} is no configuration of a {family}: it says nothing of {problem}") from problem
    except (TypeError, ValueError) as problem:
        raise CheckpointError(f"{file} is no configuration of a {family}: {_line(problem)}") from problem
    raise CheckpointError(f"{file} is of type {family}; known language models: gpt_neox, mpt, mosaic_gpt")


def _first_mpt(said: dict[str, Any], file: Path) -> MptConfig:
    """MPT-1B's settings under the names that they have since."""
    _refuse_variants({**said, "expansion_ratio": said.get("mlp_ratio", 4)}, file)
    return MptConfig(
        d_model=said["d_model"],
        n_heads=said["n_heads"],
        n_layers=said["n_layers"],
        max_seq_len=said["max_seq_len"],
        vocab_size=said["vocab_size"],
        attn_config={
            "qk_ln": said.get("attn_qk_ln", False),
            "clip_qkv": said.get("attn_clip_qkv"),
            "softmax_scale": said.get("softmax_scale"),
            "alibi_bias_max": said.get("alibi_bias_max", 8),
        },
    )


def _refuse_variants(said: dict[str, Any], file: Path) -> None:
    """MPT's settings that the body would silently ignore."""
    wanted = {
        "alibi": True,
        "no_bias": True,
        "expansion_ratio": 4,
        "logit_scale": None,
        "prefix_lm": False,
        "attn_type": "multihead_attention",
    }
    usual = {"alibi": False, "no_bias": False}  # what a file means that does not say
    for name, value in wanted.items():
        if (found := said.get(name, usual.get(name, value))) != value:
            raise CheckpointError(f"{file}: {name} is {found}; only {value} is supported")


def load_language(model: Unimp, folder: Path, seed: int = 0) -> None:
    """Put a published language model into body, text rows and head; draw the rows of new ids after them.

    A matrix longer than the tokenizer (RedPajama's is) gives its first `text_ids` rows. A new row is drawn as
    N(mean, deviation^2), each column with its own mean and deviation over the published rows: the diagonal of their
    covariance, not the whole of it.

    Raises:
        CheckpointError: weights that are missing, damaged, unknown or of other sizes.
    """
    source = str(folder)
    weights = weights_of(folder)
    tied = not any(name in weights for name in ("embed_out.weight", "lm_head.weight"))
    count = model.config.text_ids
    for name in ("gpt_neox.embed_in.weight", "transformer.wte.weight"):
        if name in weights and len(weights[name]()) < count:
            raise CheckpointError(
                f"{source}: {name} has fewer rows than the tokenizer's {count} ids; another tokenizer"
            )

    def targets(name: str) -> list[str] | None:
        return _language_targets(name, tied)

    rows = {_READ: count, _PREDICT: count}
    fill(model, weights, targets, whole=("body.", _READ, _PREDICT), rows=rows, source=source)
    generator = torch.Generator().manual_seed(seed)
    for old, new in ((model.embed.text, model.embed.new), (model.head.text, model.head.new)):
        _draw_like(old.weight, new.weight, generator)


def _language_targets(name: str, tied: bool) -> list[str] | None:
    if _BUFFERS.match(name):
        return []  # what old versions saved besides weights: masks and frequencies
    if name in ("gpt_neox.embed_in.weight", "transformer.wte.weight"):
        return [_READ, _PREDICT] if tied else [_READ]
    if name in ("embed_out.weight", "lm_head.weight"):
        return [_PREDICT]
    for theirs, ours in (*_NEOX, *_MPT):
        if name.startswith(theirs):
            renamed = ours + name.removeprefix(theirs)
            for first, now in _FIRST_MPT if theirs in dict(_MPT) else ():
                renamed = renamed.replace(first, now)
            return [renamed]
    return None


@torch.no_grad()
def _draw_like(old: Tensor, new: Tensor, generator: torch.Generator) -> None:
    deviation, mean = torch.std_mean(old.float(), dim=0, correction=0)
    new.copy_(mean + deviation * torch.randn(new.shape, generator=generator))


def check_compatible(
    config: UnimpConfig,
    *,
    items: int,
    catalogue_hash: str | None = None,
    text_ids: int | None = None,
    where: str = "the model",
) -> None:
    """Whether a saved model is of this catalogue and this tokenizer.

    Args:
        config: the model's.
        items: items of the catalogue at hand.
        catalogue_hash: what the catalogue is known by; not checked if None or if the model says none.
        text_ids: ids of the tokenizer at hand; not checked if None.
        where: what an error calls the model.

    Raises:
        CheckpointError: another catalogue, or another vocabulary.
    """
    if config.items != items:
        raise CheckpointError(
            f"{where} knows {config.items} items, the catalogue has {items}; train it on this dataset"
        )
    own = getattr(config, "catalogue_hash", None)
    if catalogue_hash is not None and own is not None and own != catalogue_hash:
        raise CheckpointError(
            f"{where} is of catalogue {own[:12]}, this one is {catalogue_hash[:12]}; train it on this dataset"
        )
    if text_ids is not None and config.text_ids != text_ids:
        raise CheckpointError(
            f"{where} has {config.text_ids} text ids, the tokenizer {text_ids}; use the tokenizer saved with the model"
        )


def load_model(
    folder: Path,
    *,
    items: int,
    catalogue_hash: str | None = None,
    text_ids: int | None = None,
    dtype: torch.dtype | None = None,
) -> Unimp:
    """A model that `save_pretrained` wrote, in evaluation mode; safetensors only.

    Args:
        folder: where it was saved.
        items: see `check_compatible`, which is asked before any weight is read.
        catalogue_hash: likewise.
        text_ids: likewise.
        dtype: of all weights; as saved if None.

    Raises:
        CheckpointError: no model there, one of another catalogue or vocabulary, a damaged file, or weights missing.
    """
    file = folder / "config.json"
    said = _read_settings(file)
    if said.get("model_type") != UnimpConfig.model_type:
        raise CheckpointError(
            f"{file} is of type {said.get('model_type')}, not unimp; give the folder of a UniMP model"
        )
    try:
        config = UnimpConfig.from_dict(said)
        check_compatible(config, items=items, catalogue_hash=catalogue_hash, text_ids=text_ids, where=str(folder))
        with quiet():
            loaded = Unimp.from_pretrained(
                str(folder),
                config=config,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are an error of ours below
                dtype=dtype if dtype is not None else "auto",
            )
    except (OSError, ValueError, TypeError, RuntimeError, KeyError, SafetensorError) as problem:
        raise CheckpointError(
            f"{folder} cannot be loaded: {_line(problem)}; train it again or copy it whole"
        ) from problem
    model, found = cast(tuple[Unimp, dict[str, Any]], loaded)  # a pair, if asked for
    if wrong := sorted(str(one[0]) for one in found["mismatched_keys"]):
        raise CheckpointError(f"{folder}: weights of other sizes than config.json says: {listed(wrong)}")
    for what in ("missing_keys", "unexpected_keys"):
        if wrong := sorted(found[what]):
            raise CheckpointError(
                f"{folder}: {what.replace('_', ' ')} {listed(wrong)}; train it again or copy it whole"
            )
    model.train(False)
    return model


def _read_settings(file: Path) -> dict[str, Any]:
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise CheckpointError(f"{file} cannot be read: {_line(problem)}; is this the folder of a model?") from problem
    if not isinstance(said, dict):
        raise CheckpointError(f"{file} holds no settings; is this the folder of a model?")
    return said


def _line(problem: Exception) -> str:
    text = str(problem).strip()
    return text.split("\n")[0] if text else type(problem).__name__
