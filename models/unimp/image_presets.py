"""Sizes of the image tokenizer and its network, diffusers' VQModel: new ones by preset, published ones from files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from unimp.errors import CheckpointError, UnimpError


@dataclass(frozen=True)
class Preset:
    """Sizes of a tokenizer and how it is trained unless told otherwise."""

    size: int  # pixels a side
    patch: int  # pixels a side of what the network takes for one pixel
    channels: tuple[int, ...]  # of each resolution; each but the last halves the side
    layers: int  # residual blocks a resolution
    latent: int  # channels before the codebook's projection
    width: int  # of a code
    codes: int
    groups: int  # of the group norms
    attention: bool  # in the middle
    batch: int
    rate: float
    steps: int  # not seconds: equal seeds must give equal codes

    @property
    def codes_a_side(self) -> int:
        """Codes along one side of a picture."""
        return self.size // self.patch >> (len(self.channels) - 1)


PRESETS: dict[str, Preset] = {
    "tiny": Preset(64, 8, (32, 40), 1, 40, 16, 256, 8, False, 8, 4e-3, 2000),
    # Steps count for more than their size: on hm's pictures 800 of 8 come to 23.0 dB in 284 s of one core, 215 of 32 to
    # 20.9 in 241 s, 4,000 of 8 to 25.7.
    "small": Preset(128, 8, (96, 128), 2, 128, 32, 512, 8, False, 8, 2e-3, 4000),
    # Esser et al. 2021, f = 16: 256 codes a picture out of 1,024. At this size a rate of 1e-3 stalls.
    "paper": Preset(256, 1, (128, 128, 256, 256, 512), 2, 256, 256, 1024, 32, True, 16, 1e-4, 100_000),
}


def preset_of(preset: str | Preset) -> Preset:
    """A preset by name, or as it is.

    Raises:
        UnimpError: an unknown name.
    """
    if isinstance(preset, Preset):
        return preset
    if preset not in PRESETS:
        raise UnimpError(f"unknown image tokenizer preset '{preset}'; known: {', '.join(PRESETS)}")
    return PRESETS[preset]


def new_model(preset: Preset, seed: int) -> Any:
    """An untrained VQModel; random numbers elsewhere are left as they were."""
    blocks = len(preset.channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _vq_model()(
            in_channels=3 * preset.patch**2,
            out_channels=3 * preset.patch**2,
            down_block_types=("DownEncoderBlock2D",) * blocks,
            up_block_types=("UpDecoderBlock2D",) * blocks,
            block_out_channels=preset.channels,
            layers_per_block=preset.layers,
            latent_channels=preset.latent,
            sample_size=preset.size // preset.patch,
            num_vq_embeddings=preset.codes,
            norm_num_groups=preset.groups,
            vq_embed_dim=preset.width,
            mid_block_add_attention=preset.attention,
        )


def _vq_model() -> Any:
    try:
        from diffusers import VQModel
    except ImportError as problem:
        raise UnimpError(f"pictures are tokenised by diffusers ({problem}); pip install diffusers") from problem
    return VQModel


def read_model(name: str, subfolder: str | None, *, local: bool) -> Any:
    """A VQModel from a local folder or by name from the hub; safetensors only, every weight must be there.

    Raises:
        CheckpointError: no VQModel there, weights missing, or a file that is damaged.
    """
    kind = _vq_model()
    try:
        model, found = kind.from_pretrained(
            name,
            subfolder=subfolder,
            use_safetensors=True,
            local_files_only=local,
            low_cpu_mem_usage=False,
            output_loading_info=True,
        )
    except Exception as problem:  # hub, JSON and safetensors readers share no class of their own
        said = " ".join(str(problem).split())[:200]
        raise CheckpointError(f"no VQModel can be read from '{name}': {said}; fetch or train it again") from problem
    if missing := sorted(found["missing_keys"]):
        raise CheckpointError(
            f"the VQModel of '{name}' lacks {len(missing)} weights, {missing[0]} first; fetch it again"
        )
    return model
