"""The frozen tower and the pictures it reads."""

from __future__ import annotations

import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

from unimp.errors import CheckpointError, UnimpError
from unimp.pictures import DEVIATION, MEAN, normalised, read_pictures
from unimp.vision import VisionTower, pooled_grid

SIZES = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
    "projection_dim": 8,
}


def tiny_clip(**vision: object) -> CLIPModel:
    """A whole CLIP of a few thousand parameters."""
    text = CLIPTextConfig(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=8,
        bos_token_id=0,
        eos_token_id=0,
    )
    config = CLIPVisionConfig(**{**SIZES, **vision})
    torch.manual_seed(0)
    clip = CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=config.to_dict(), projection_dim=8)).eval()
    for norm in (clip.vision_model.post_layernorm, clip.vision_model.pre_layrnorm):
        torch.nn.init.uniform_(norm.weight, 0.5, 2.0)  # a fresh norm would hide which side of it a tensor is from
    return clip


def jpeg(picture: Image.Image, kind: str = "JPEG") -> bytes:
    out = BytesIO()
    picture.save(out, kind)
    return out.getvalue()


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_tokens_are_those_before_the_final_norm_without_cls(pixels: torch.Tensor) -> None:
    clip = tiny_clip()
    tower = VisionTower.from_clip(clip)
    said = clip.vision_model(pixel_values=pixels, output_hidden_states=True)
    assert tower(pixels).shape == (3, tower.patches, tower.width) == (3, 16, 16)
    assert torch.equal(tower(pixels), said.hidden_states[-1][:, 1:])
    normed = clip.vision_model.post_layernorm(said.hidden_states[-1][:, 1:])
    assert not torch.allclose(tower(pixels), normed, atol=0.1)  # or this test could not fail
    assert torch.equal(tower.pooled(pixels), clip.vision_model.post_layernorm(said.hidden_states[-1][:, 0]))


def test_the_tower_is_frozen_whatever_one_does_to_it(pixels: torch.Tensor) -> None:
    tower = VisionTower.from_clip(tiny_clip(attention_dropout=0.5))
    tower.train()
    assert not tower.training and not tower.model.training
    assert not any(weight.requires_grad for weight in tower.parameters())
    assert torch.equal(tower(pixels), tower(pixels))
    assert not tower(pixels.requires_grad_()).requires_grad


def test_pooling_averages_windows_of_the_grid(pixels: torch.Tensor) -> None:
    clip = tiny_clip()
    whole, pooled = VisionTower.from_clip(clip)(pixels), VisionTower.from_clip(clip, pool=2)
    assert pooled.patches == 4
    grid = whole.reshape(3, 4, 4, 16)
    torch.testing.assert_close(pooled(pixels)[:, 1], grid[:, :2, 2:].mean(dim=(1, 2)))
    torch.testing.assert_close(pooled(pixels)[:, 2], grid[:, 2:, :2].mean(dim=(1, 2)))
    numbers = torch.arange(16.0)[None, :, None]  # row by row
    assert pooled_grid(numbers, 4, 2).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    with pytest.raises(UnimpError, match="pool 3 does not divide the 4 x 4 patches"):
        VisionTower.from_clip(clip, pool=3)


def test_size_of_the_papers_tower_at_120_000_items() -> None:
    large = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=1, num_hidden_layers=0, num_attention_heads=1, patch_size=14
    )
    tower = VisionTower.from_config(large)
    assert (tower.patches, tower.width) == (256, 1024)
    assert tower.size_in_bytes(120_000) / 2**30 == pytest.approx(58.6, abs=0.05)
    assert VisionTower.from_config(large, pool=4).size_in_bytes(120_000) * 16 == tower.size_in_bytes(120_000)


@pytest.mark.parametrize("form", ["whole", "vision part", "vision part with prefix"])
def test_a_published_clip_loads_equal(tmp_path: Path, form: str, pixels: torch.Tensor) -> None:
    clip = tiny_clip()
    tower = VisionTower.from_clip(clip)
    if form == "whole":
        clip.save_pretrained(tmp_path)
    else:
        tower.save_pretrained(tmp_path)
    if form == "vision part with prefix":  # as transformers 4 wrote it
        file = tmp_path / "model.safetensors"
        named = {f"vision_model.{name}": weight for name, weight in load_file(file).items()}
        save_file(named, file, metadata={"format": "pt"})
    again = VisionTower.from_pretrained(tmp_path, pool=2)
    assert torch.equal(again(pixels), pooled_grid(tower(pixels), 4, 2))
    assert VisionTower.from_pretrained(tmp_path).fingerprint() == tower.fingerprint() != again.fingerprint()


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_the_activation_of_the_checkpoint_is_kept(tmp_path: Path, activation: str, pixels: torch.Tensor) -> None:
    tiny_clip(hidden_act=activation).save_pretrained(tmp_path)
    tower = VisionTower.from_pretrained(tmp_path)
    assert tower.model.config.hidden_act == activation
    inner = torch.randn(5, 16)
    mlp = tower.model.encoder.layers[0].mlp
    middle = mlp.fc1(inner)
    wanted = middle * torch.sigmoid(1.702 * middle) if activation == "quick_gelu" else torch.nn.functional.gelu(middle)
    torch.testing.assert_close(mlp(inner), mlp.fc2(wanted))


def test_fingerprint_knows_weights_and_activation() -> None:
    tower, other = VisionTower.from_clip(tiny_clip()), VisionTower.from_clip(tiny_clip())
    assert tower.fingerprint() == other.fingerprint()
    other.model.encoder.layers[1].mlp.fc2.bias.data[3] += 1e-6
    assert tower.fingerprint() != other.fingerprint()
    assert VisionTower.from_clip(tiny_clip(hidden_act="gelu")).fingerprint() != tower.fingerprint()


def test_damaged_checkpoints_are_one_line(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    VisionTower.from_clip(tiny_clip()).save_pretrained(whole)

    def hurt(name: str) -> Path:
        return Path(shutil.copytree(whole, tmp_path / name))

    cut = hurt("cut") / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    lacking = hurt("lacking") / "model.safetensors"
    save_file(
        {n: w for n, w in load_file(lacking).items() if "layers.1.mlp.fc2" not in n}, lacking, metadata={"format": "pt"}
    )
    (hurt("none") / "model.safetensors").unlink()
    pickled = hurt("pickled")
    torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    narrow = hurt("narrow") / "config.json"
    narrow.write_text(narrow.read_text().replace('"hidden_size": 16', '"hidden_size": 32'))
    foreign = hurt("foreign") / "config.json"
    foreign.write_text('{"model_type": "bert", "hidden_size": 16}')
    (tmp_path / "empty").mkdir()
    for name in ("cut", "lacking", "none", "pickled", "narrow", "foreign", "empty"):
        with pytest.raises(CheckpointError) as found:
            VisionTower.from_pretrained(tmp_path / name)
        assert "\n" not in str(found.value) and name in str(found.value)


def test_pictures_are_stretched_not_cropped() -> None:
    wide = Image.new("RGB", (90, 30), (255, 255, 255))
    wide.paste((200, 0, 0), (0, 0, 30, 30))
    wide.paste((0, 0, 200), (60, 0, 90, 30))
    (pixels,) = read_pictures([jpeg(wide, "PNG")], 30)
    assert pixels.shape == (30, 30, 3) and pixels.dtype == np.uint8
    assert pixels[15, 3].tolist() == [200, 0, 0]  # a centre crop would show white alone
    assert pixels[15, 15].tolist() == [255, 255, 255]
    assert pixels[15, 26].tolist() == [0, 0, 200]


def test_the_filter_is_bicubic() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    (pixels,) = read_pictures([jpeg(noise, "PNG")], 16)
    assert np.array_equal(pixels, np.asarray(noise.resize((16, 16), Image.Resampling.BICUBIC)))
    assert not np.array_equal(pixels, np.asarray(noise.resize((16, 16), Image.Resampling.BILINEAR)))


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "RGBA", "LA", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    picture = Image.new("RGB", (8, 8), (255, 255, 255)).convert("L").convert(mode)
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert (read_pictures([jpeg(picture, kind)], 8) >= 250).all()


def test_transparency_lies_on_white() -> None:
    assert (read_pictures([jpeg(Image.new("RGBA", (4, 4), (0, 0, 0, 0)), "PNG")], 4) == 255).all()


def test_what_is_no_picture_is_named() -> None:
    good = jpeg(Image.new("RGB", (64, 64)))
    for bad in (b"", b"<html>not found</html>", good[: len(good) // 2]):
        with pytest.raises(UnimpError, match=r"picture number 1 \(\d+ bytes\) cannot be read"):
            read_pictures([good, bad], 8)
    with pytest.raises(UnimpError, match="picture abc "):
        read_pictures([b""], 8, ["abc"])
    assert read_pictures([], 8).shape == (0, 8, 8, 3)


def test_a_decompression_bomb_is_not_opened() -> None:
    bomb = jpeg(Image.new("1", (9000, 8000)), "PNG")
    with pytest.raises(UnimpError, match="cannot be read"):
        read_pictures([bomb], 8)


def test_normalised_by_hand() -> None:
    pixels = np.zeros((1, 2, 2, 3), dtype=np.uint8)
    pixels[0, 1, 0] = (255, 51, 0)
    values = normalised(pixels)
    assert values.shape == (1, 3, 2, 2)
    assert values[0, :, 1, 0].tolist() == pytest.approx(
        [(1 - MEAN[0]) / DEVIATION[0], (0.2 - MEAN[1]) / DEVIATION[1], -MEAN[2] / DEVIATION[2]], rel=1e-5
    )
