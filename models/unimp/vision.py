"""The frozen vision tower: CLIP's patch tokens before its final layer norm.

    n pictures, s pixels a side, g = s / patch size, width of the tower

Which tensor is handed on matters. OpenFlamingo's checkpoints were trained on patch tokens *before* `ln_post`, and
OpenAI's CLIP uses QuickGELU: a tower that ends in the norm or has another activation loads without a word and feeds
the resampler something it has never seen. The test-suite pins both.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from transformers import AutoConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModel

from unimp.errors import CheckpointError, UnimpError
from unimp.quiet import quiet

_HALF = 2  # bytes


class VisionTower(nn.Module):
    """Pictures to patch tokens; frozen, always in evaluation mode.

    Args:
        model: CLIP's vision model of any size.
        pool: side of the windows over which the patch grid is averaged; 1 keeps every patch. A grid that it does not
            divide is refused.

    Raises:
        UnimpError: pictures or patches that are not square, or a pool that does not divide the grid.
    """

    def __init__(self, model: CLIPVisionModel, pool: int = 1) -> None:
        super().__init__()
        size, patch = model.config.image_size, model.config.patch_size
        if not isinstance(size, int) or not isinstance(patch, int):
            raise UnimpError(f"vision tower of {size} pixels in patches of {patch}; only squares are supported")
        self.size, self.grid, self.pool = size, size // patch, pool
        if pool < 1 or self.grid % pool:
            raise UnimpError(f"pool {pool} does not divide the {self.grid} x {self.grid} patches; take a divisor")
        self.model = model
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def from_config(cls, config: CLIPVisionConfig, pool: int = 1) -> Self:
        """A tower of these sizes with random weights."""
        return cls(CLIPVisionModel(config), pool)

    @classmethod
    def from_clip(cls, clip: CLIPModel, pool: int = 1) -> Self:
        """The tower of a whole CLIP; it takes over the weights."""
        return cls(clip.vision_model, pool)

    @classmethod
    def from_pretrained(cls, name: str | Path, pool: int = 1) -> Self:
        """A published CLIP, whole or vision part alone, from a local folder or by name from the hub.

        Only safetensors are read, and every weight of the tower must be there.

        Raises:
            CheckpointError: no CLIP there, weights missing, or a file that is damaged.
        """
        local = Path(name).is_dir()
        try:
            config = AutoConfig.from_pretrained(str(name), trust_remote_code=False, local_files_only=local)
            if config.model_type not in ("clip", "clip_vision_model"):
                raise CheckpointError(f"'{name}' holds a model of type {config.model_type}; a CLIP is needed")
            with quiet():
                loaded = CLIPVisionModel.from_pretrained(
                    str(name),
                    use_safetensors=True,
                    local_files_only=local,
                    output_loading_info=True,
                    dtype=torch.float32,
                )
        except CheckpointError:
            raise
        except Exception as problem:  # hub, JSON and safetensors readers share no class of their own
            said = str(problem).strip().split("\n")[0]
            raise CheckpointError(f"no CLIP can be read from '{name}': {said}") from problem
        model, found = cast(tuple[CLIPVisionModel, dict[str, Any]], loaded)  # a pair, if asked for
        if missing := sorted(found["missing_keys"]):
            raise CheckpointError(f"CLIP of '{name}' lacks {len(missing)} weights, {missing[0]} first; fetch it again")
        return cls(model, pool)

    def save_pretrained(self, folder: Path) -> None:
        """Write the tower in the format of published ones: config.json and model.safetensors."""
        with quiet():
            self.model.save_pretrained(str(folder))

    def train(self, mode: bool = True) -> Self:
        """A frozen tower never leaves evaluation mode."""
        return super().train(False)

    @property
    def patches(self) -> int:
        """Patch tokens of a picture, after pooling."""
        return (self.grid // self.pool) ** 2

    @property
    def width(self) -> int:
        """Width of a patch token."""
        return int(self.model.config.hidden_size)

    def size_in_bytes(self, pictures: int) -> int:
        """Bytes that the patch tokens of so many pictures take in half precision: print it before encoding."""
        return pictures * self.patches * self.width * _HALF

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """Patch tokens `(n, patches, width)` of normalised pixels `(n, 3, s, s)`; before the final norm, no CLS."""
        return self._patches(self.model(pixel_values=pixels).last_hidden_state)

    @torch.no_grad()
    def pooled(self, pixels: Tensor) -> Tensor:
        """CLIP's own picture vector `(n, width)`: the CLS token after the final norm, before the projection."""
        out: Tensor = self.model(pixel_values=pixels).pooler_output
        return out

    def _patches(self, states: Tensor) -> Tensor:
        return pooled_grid(states[:, 1:], self.grid, self.pool)

    def fingerprint(self) -> str:
        """Hash of sizes, weights and pooling: equal towers give equal tokens."""
        digest = hashlib.sha256(f"{self.size} {self.pool} {self.model.config.hidden_act}".encode())
        for name, weight in sorted(self.model.state_dict().items()):
            values = weight.detach().cpu().contiguous()
            digest.update(f"{name} {tuple(values.shape)} {values.dtype}".encode())
            digest.update(values.view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def pooled_grid(tokens: Tensor, grid: int, pool: int) -> Tensor:
    """Patch tokens `(n, grid * grid, width)` averaged over windows of `pool x pool`, row by row as before."""
    if pool == 1:
        return tokens
    count, _, width = tokens.shape
    side = grid // pool
    return tokens.reshape(count, side, pool, side, pool, width).mean(dim=(2, 4)).reshape(count, side * side, width)
