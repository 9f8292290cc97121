"""An OpenFlamingo 2.0.1 checkpoint: resampler, gated blocks and their gates, rows of `<image>` and `<|endofchunk|>`.

Such a file holds what was trained; blocks appear under the layer they stand before, in some files a second time in a
list of their own, and frozen layers may come along. Its tokenizer had `<|endofchunk|>`, `<image>` and, where the
language model brought none, `<PAD>` added after its own ids, in this order.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

from unimp.errors import CheckpointError
from unimp.modeling import Unimp
from unimp.vocabulary import Vocabulary
from unimp.weights import as_readers, fill, unpickled

_WRAPPED = re.compile(r"^module\.|_checkpoint_wrapped_module\.|_fsdp_wrapped_module\.")
_LAYERS = r"lang_encoder\.(?:gpt_neox\.layers|transformer\.blocks)\.(\d+)\."
_RENAMED = [
    (re.compile(r"perceiver\.layers\.(\d+)\.0\."), r"resampler.layers.\1."),
    (re.compile(r"perceiver\.layers\.(\d+)\.1\."), r"resampler.layers.\1.feed."),
    (re.compile(r"perceiver\."), "resampler."),
    (re.compile(_LAYERS + r"gated_cross_attn_layer\."), r"blocks.\1."),
    (re.compile(r"lang_encoder\.gated_cross_attn_layers\.(\d+)\."), r"blocks.\1."),
]
_IN_BLOCK = [("attn_gate", "gate_attention"), ("ff_gate", "gate_feed"), ("attn.", ""), ("ff.", "feed.")]
_FROZEN = re.compile(
    _LAYERS
    + r"decoder_layer\.|lang_encoder\.old_decoder_blocks\.|vision_encoder\."
    + r"|lang_encoder\.(?:gpt_neox\.final_layer_norm|transformer\.(?:norm_f|ln_f))\."
)
_EMBEDDINGS = ("lang_encoder.gpt_neox.embed_in.weight", "lang_encoder.transformer.wte.weight")
_HEADS = ("lang_encoder.embed_out.weight", "lang_encoder.lm_head.weight")


def load_flamingo(model: Unimp, file: str | Path) -> None:
    """Put an OpenFlamingo checkpoint over a model that has its language model's weights.

    Frozen layers and the tower, where a file has them, are not read: they are the published ones. Where the language
    model ties its rows (MPT), the rows of the two ids are written into the head as well.

    Args:
        model: of fusion `cross_attention`, with the checkpoint's sizes.
        file: a local `.pt` file. It is read as tensors only.

    Raises:
        CheckpointError: a file that cannot be read, names that are missing or unknown, or sizes of another model.
    """
    source = str(file)
    tensors = {_WRAPPED.sub("", name): tensor for name, tensor in unpickled(Path(file)).items()}
    tables = {name: tensors.pop(name) for name in (*_EMBEDDINGS, *_HEADS) if name in tensors}
    if not any(name in tables for name in _EMBEDDINGS):
        raise CheckpointError(f"{source} lacks the embeddings ({' or '.join(_EMBEDDINGS)})")
    for name, table in tables.items():
        _check_table(model, name, table, source)
    fill(model, as_readers(tensors), _targets, whole=("resampler.", "blocks."), rows={}, source=source)
    for name, table in tables.items():
        if name in _EMBEDDINGS:
            _take_rows(model, table, model.embed.text.weight, model.embed.new.weight)
        if name in _HEADS or name == "lang_encoder.transformer.wte.weight":
            _take_rows(model, table, model.head.text.weight, model.head.new.weight)


def _targets(name: str) -> list[str] | None:
    if _FROZEN.match(name):
        return []
    for pattern, ours in _RENAMED:
        if pattern.match(name):
            renamed = pattern.sub(ours, name)
            if renamed.startswith("blocks."):
                _, number, rest = renamed.split(".", 2)
                for theirs, own in _IN_BLOCK:
                    if rest.startswith(theirs):
                        return [f"blocks.{number}.{own}{rest.removeprefix(theirs)}"]
            return [renamed]
    return None


def _check_table(model: Unimp, name: str, table: Tensor, source: str) -> None:
    rows, width = table.shape
    text = model.config.text_ids
    if width != model.config.width:
        raise CheckpointError(
            f"{source}: {name} is {width} wide, the model {model.config.width}: another language model"
        )
    if rows not in (text + 2, text + 3):
        raise CheckpointError(
            f"{source}: {name} has {rows} rows, {text + 2} or {text + 3} go with a tokenizer of {text} ids: another one"
        )


@torch.no_grad()
def _take_rows(model: Unimp, table: Tensor, text: Tensor, new: Tensor) -> None:
    first = model.config.text_ids
    ids = Vocabulary(first, candidates=0, codes=0, items=0)
    text.copy_(table[:first])
    new[ids.chunk_end - first].copy_(table[first])
    new[ids.image - first].copy_(table[first + 1])
