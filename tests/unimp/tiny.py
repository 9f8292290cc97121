"""Models of a few thousand parameters, and rows written by hand, for tests of the model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unimp.batch import PADDING, Batch
from unimp.config import UnimpConfig
from unimp.modeling import Unimp
from unimp.vocabulary import IGNORED, Vocabulary

TEXT = 40
NEOX: dict[str, Any] = {
    "model_type": "gpt_neox",
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 256,
    "rotary_pct": 1.0,
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
}
MPT: dict[str, Any] = {"model_type": "mpt", "d_model": 32, "n_layers": 4, "n_heads": 4, "max_seq_len": 256}
MPT_NORMED: dict[str, Any] = {**MPT, "n_heads": 4, "attn_config": {"qk_ln": True, "clip_qkv": 2.0}}
VISION: dict[str, Any] = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
    "projection_dim": 8,
}
SIZES: dict[str, Any] = {
    "text_ids": TEXT,
    "items": 6,
    "candidates": 3,
    "image_codes": 4,
    "latents": 3,
    "resampler_layers": 1,
    "resampler_heads": 2,
    "cross_heads": 2,
    "head_width": 8,
    "feed_forward": 2,
    "gate": 1.0,
}


def config(text: dict[str, Any] | None = None, **changes: Any) -> UnimpConfig:
    return UnimpConfig(text=dict(text or NEOX), vision=dict(VISION), **{**SIZES, **changes})


def model(text: dict[str, Any] | None = None, *, seed: int = 0, loud: float = 8.0, **changes: Any) -> Unimp:
    """A model in evaluation mode. Weights are made `loud` times larger, so that no influence drowns in rounding."""
    torch.manual_seed(seed)
    made = Unimp(config(text, **changes)).eval()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.dim() > 1 and not name.startswith(("embed.", "head.", "resampler.latents")):
                parameter.mul_(loud)
            if name.startswith("embed."):
                parameter.mul_(50)  # else what a token is drowns in what pictures add, and all answers are one id
    return made


def patches(count: int, seed: int = 1) -> Tensor:
    """Patch tokens `(count, 4, 24)`."""
    return torch.randn(count, 4, VISION["hidden_size"], generator=torch.Generator().manual_seed(seed))


def words(count: int, seed: int = 2) -> list[int]:
    return torch.randint(1, TEXT, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def row(*segments: list[int], horizons: tuple[int, ...] = (), pictures: int = 0, runs: int = 1) -> dict[str, list[int]]:
    """A trunk and branches with positions, horizons and slots; every `<image>` run starts the next picture.

    `horizons` say after how many ids of the trunk each branch starts. `pictures` is the first picture's number.
    """
    ids = Vocabulary.of(config())
    out: dict[str, list[int]] = {n: [] for n in ("ids", "positions", "segments", "horizon", "slots", "which")}
    trunk_slots: list[int] = []
    for number, segment in enumerate(segments):
        begin = 0 if number == 0 else horizons[number - 1]
        slot = -1 if number == 0 or not begin else trunk_slots[begin - 1]
        run = 0
        for place, one in enumerate(segment):
            which = -1
            if one == ids.image:
                if run % runs == 0:
                    pictures, slot = pictures + 1, pictures
                which, run = run % runs, run + 1
            values = (one, begin + place, number, 0 if number == 0 else begin, slot, which)
            for name, value in zip(out, values, strict=True):
                out[name].append(value)
            if number == 0:
                trunk_slots.append(slot)
    return out


def batch(*rows: dict[str, list[int]], pictures: int = 0, labels: list[list[int]] | None = None) -> Batch:
    """Rows padded at their ends."""
    longest = max(len(one["ids"]) for one in rows)
    pad = {"ids": 0, "positions": 0, "segments": PADDING, "horizon": 0, "slots": -1, "which": -1}
    made = {
        name: torch.tensor([one[name] + [fill] * (longest - len(one[name])) for one in rows])
        for name, fill in pad.items()
    }
    if labels is None:
        given = torch.full((len(rows), longest), IGNORED)
    else:
        given = torch.tensor([one + [IGNORED] * (longest - len(one)) for one in labels])
    return Batch(
        **made,
        labels=given,
        kinds=torch.where(given == IGNORED, -1, 0),
        weights=torch.ones(given.shape),
        pictures=torch.arange(pictures),
        query=torch.full_like(given, -1),
        words=torch.zeros(0, dtype=torch.long),
        starts=torch.zeros(0, dtype=torch.long),
    )


def logits(made: Unimp, given: Batch, seen: Tensor | None) -> Tensor:
    """Logits of every place `(batch, tokens, ids)`."""
    with torch.no_grad():
        found: Tensor = made.head(made.read(given, seen))
    return found


def blind_of(made: Unimp) -> None:
    """Make every self-attention write nothing: information then moves within a token only."""
    with torch.no_grad():
        for name, parameter in made.body.named_parameters():
            if "attention.dense" in name or "out_proj" in name:
                parameter.zero_()
