"""Settings: presets, refusals, and what is written to disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPTNeoXConfig, MptConfig

from tests.unimp.tiny import MPT, NEOX, config
from unimp.config import FUSIONS, PRESETS, UnimpConfig
from unimp.modeling import Unimp


@pytest.mark.parametrize("text", [NEOX, MPT], ids=["neox", "mpt"])
def test_settings_survive_the_disk(tmp_path: Path, text: dict[str, Any]) -> None:
    made = config(text, fusion="late", exclusive=False, train_rows="all", vision_pool=2, item_levels=3, codebook=8)
    made.save_pretrained(tmp_path)
    read = UnimpConfig.from_pretrained(tmp_path)
    ours, theirs = made.to_dict(), read.to_dict()
    assert {name: value for name, value in ours.items() if theirs[name] != value} == {}
    assert type(read.text) is type(made.text)
    assert read.width == 32
    assert read.vision_width == 24


def test_rows_are_counted_in_the_body_that_generate_asks() -> None:
    assert config(item_levels=3, codebook=8).item_id_rows == 24
    assert config().get_text_config().vocab_size == 40 + 4 + 5 + 3 + 4 + 6


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"fusion": "middle"}, "fusion is 'middle'; known: cross_attention"), ({"train_rows": "old"}, "known: new, all")],
)
def test_an_unknown_switch_names_the_known_ones(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        config(**wrong)


def sizes(name: str) -> dict[str, int]:
    """Parameters of a preset, by part, without allocating them."""
    with torch.device("meta"):
        made = Unimp(UnimpConfig(**PRESETS[name], text_ids=50_277))
    parts = {"body": made.body, "resampler": made.resampler, "blocks": made.blocks}
    return {part: sum(one.numel() for one in module.parameters()) for part, module in parts.items()}  # type: ignore[union-attr]


def test_the_paper_preset_has_the_sizes_of_the_paper() -> None:
    found = sizes("paper")
    assert found["body"] / 1e9 == pytest.approx(2.52, abs=0.01)
    assert found["resampler"] / 1e6 == pytest.approx(63.0, abs=0.1)
    assert found["blocks"] / 1e6 == pytest.approx(897.7, abs=0.1)
    assert found["blocks"] // 16 / 1e6 == pytest.approx(56.1, abs=0.1)


def test_the_tiny_preset_is_small() -> None:
    with torch.device("meta"):
        made = Unimp(UnimpConfig(**PRESETS["tiny"], text_ids=2000, items=400, image_codes=64))
    assert sum(one.numel() for one in made.parameters()) < 1.2e6


def test_rotary_covers_whole_heads_in_every_neox_preset() -> None:
    for name in ("tiny", "small", "paper"):
        text = UnimpConfig(**PRESETS[name]).text
        assert isinstance(text, GPTNeoXConfig)
        assert text.rope_parameters["partial_rotary_factor"] == 1.0
    assert isinstance(UnimpConfig(**PRESETS["mpt-1b"]).text, MptConfig)


def test_every_fusion_can_be_built() -> None:
    for kind in FUSIONS:
        assert Unimp(config(fusion=kind)).config.fusion == kind
