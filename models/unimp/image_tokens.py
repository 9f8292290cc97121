"""The image tokenizer: a picture becomes a few codes, and codes become a picture (VQGAN, Esser et al. 2021).

    n pictures, s pixels a side, h codes a side, c = h * h codes a picture, k codes in the codebook, w their width

The network is diffusers' VQModel, imported when a tokenizer is made. Code j is the id `Vocabulary.pictures[j]` of the
language model, which writes a picture as c such ids, row by row (UniMP, eq. 9). Unusual: the small presets cut a
picture into patches of 8 x 8 pixels before the network sees it, as a vision transformer does, and glue them after.
A step of preset tiny then costs a few hundredths of a second on one core, one of small a third.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from unimp.disk import write_text, writing
from unimp.errors import CheckpointError, UnimpError
from unimp.image_codebook import nearest, usage
from unimp.image_pixels import Source, png, psnr
from unimp.image_presets import Preset, new_model, preset_of, read_model
from unimp.image_training import Report, Schedule, Trainer
from unimp.pictures import Pixels, read_pictures

FACTS = "image_tokenizer.json"
_FORMAT = 1
Codes = NDArray[np.int64]
Reader = Callable[[Sequence[str]], Mapping[str, bytes]]  # encoded pictures by id


@dataclass(frozen=True)
class Trained:
    """What a training came to."""

    steps: int
    seconds: float
    parameters: int
    pictures: int  # learned from
    held_out: int
    psnr_db: float  # of held-out pictures, mean over pictures; of the learned ones where none is held out
    used: float  # share of the codebook that occurs in the pictures, held-out ones included
    perplexity: float  # of the codes in them
    revived: int  # dead codes given new work while training


class ImageTokenizer:
    """Pictures to codes and back.

    Args:
        model: diffusers' VQModel with 3 * patch^2 channels in and out.
        size: pixels a side of pictures in and out.
        patch: pixels a side that are folded into channels; 1 for published models.
        unit: the model wants values in [0, 1], not [-1, 1].
    """

    def __init__(self, model: Any, size: int, patch: int = 1, *, unit: bool = False) -> None:
        self.model, self.size, self.patch, self.unit = model.eval(), size, patch, unit
        depth: int = len(model.config.block_out_channels) - 1
        if model.config.in_channels != 3 * patch * patch or size % (patch * 2**depth):
            raise UnimpError(
                f"a VQModel of {model.config.in_channels} input channels and {depth} halvings cannot take pictures of "
                f"{size} pixels in patches of {patch}; give a size that is a multiple of {patch * 2**depth}"
            )
        self.codes_a_side = size // patch >> depth

    @classmethod
    def new(cls, preset: str | Preset = "tiny", *, seed: int = 0) -> Self:
        """An untrained tokenizer; random numbers elsewhere are left as they were.

        Raises:
            UnimpError: an unknown preset.
        """
        preset = preset_of(preset)
        return cls(new_model(preset, seed), preset.size, preset.patch)

    @property
    def codes(self) -> int:
        """Size k of the codebook."""
        return len(self._weight)

    @property
    def codes_per_picture(self) -> int:
        """How many codes c a picture has."""
        return self.codes_a_side**2

    @property
    def parameters(self) -> int:
        """Numbers in the model, codebook included."""
        return sum(p.numel() for p in self.model.parameters())

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self._weight.device

    @property
    def _weight(self) -> Tensor:
        weight: Tensor = self.model.quantize.embedding.weight
        return weight

    def to(self, device: torch.device | str) -> Self:
        """Moved to a device."""
        self.model.to(device)
        return self

    def train(
        self,
        pictures: Sequence[bytes] | Pixels,
        *,
        seed: int = 0,
        steps: int | None = None,
        validation: float = 0.05,
        preset: str | Preset = "tiny",
        report: Report | None = None,
        checkpoint: Path | None = None,
        every: int = 200,
        stop_at: int | None = None,
    ) -> Trained | None:
        """Learn from pictures; None where `stop_at` came before the end.

        Args:
            pictures: encoded ones, or pixels `(n, s, s, 3)`, 0 to 255.
            seed: decides held-out pictures, order and codebook; the same on a CPU, bit for bit.
            steps: optimizer steps; the preset's where None.
            validation: share of pictures held out to measure reconstruction; at least one learns.
            preset: names batch and rate.
            report: told of every step: steps done, share of training done, loss.
            checkpoint: file to resume from, written every so many steps.
            every: steps between two checkpoints.
            stop_at: step to stop after, with a checkpoint.

        Raises:
            UnimpError: no pictures, or one that cannot be read.
            TrainingError: a loss that is no number, or no room for the checkpoint.
            CheckpointError: a checkpoint that is damaged or of another training.
        """
        plan = preset_of(preset)
        if len(pictures) == 0:
            raise UnimpError("no pictures to train the image tokenizer on; build a dataset with pictures")
        source = Source(pictures, self.size)
        order = np.random.default_rng([seed, 1]).permutation(len(pictures))
        held = order[: min(round(validation * len(order)), len(order) - 1)]
        learned = order[len(held) :]

        def draw(rows: Tensor) -> Tensor:
            return self._values(source(learned[rows.numpy()]))

        schedule = Schedule(seed, plan.steps if steps is None else steps, plan.batch, plan.rate)
        request = f"{source.digest()} {self.size} {self.patch} {validation} {dict(self.model.config)}"
        trainer = Trainer(self.model, self._weight, self._latents, self._decoded, schedule, request)
        done = trainer.run(draw, len(learned), checkpoint=checkpoint, every=every, report=report, stop_at=stop_at)
        if not done:
            return None
        codes = np.concatenate([self.encode(source(part)) for part in _parts(order)])
        kept = held if len(held) else learned
        used, perplexity = usage(torch.from_numpy(codes), self.codes)
        return Trained(
            steps=trainer.step,
            seconds=round(trainer.elapsed_seconds, 1),
            parameters=self.parameters,
            pictures=len(learned),
            held_out=len(held),
            psnr_db=float(np.mean([psnr(source(part), self.reconstruct(source(part))) for part in kept[:, None]])),
            used=used,
            perplexity=perplexity,
            revived=trainer.codebook.revived,
        )

    def _values(self, pixels: Pixels) -> Tensor:
        """Pictures `(n, 3, s, s)` as the model wants them, of pixels `(n, s, s, 3)`."""
        values = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2).float() / 255
        return values if self.unit else values * 2 - 1

    def _latents(self, values: Tensor) -> Tensor:
        """Latents `(n, w, h, h)` before the codebook."""
        latents: Tensor = self.model.encode(F.pixel_unshuffle(values, self.patch)).latents
        return latents

    def _decoded(self, latents: Tensor) -> Tensor:
        """Pictures `(n, 3, s, s)` of codes' vectors `(n, w, h, h)`.

        Not by `model.decode`, which for models with `lookup_from_codebook` wants codes and not vectors.
        """
        condition = latents if self.model.config.norm_type == "spatial" else None
        made: Tensor = self.model.decoder(self.model.post_quant_conv(latents), condition)
        return F.pixel_shuffle(made, self.patch)

    @torch.no_grad()
    def encode(self, pictures: Sequence[bytes] | Pixels, *, batch: int = 64) -> Codes:
        """Codes `(n, c)` of pictures, encoded ones or pixels `(n, s, s, 3)`; row by row from the top left."""
        source = Source(pictures, self.size, keep=False)
        out = np.empty((len(pictures), self.codes_per_picture), dtype=np.int64)
        for rows in _parts(np.arange(len(pictures)), batch):
            vectors = self._latents(self._values(source(rows))).movedim(1, -1)
            out[rows] = nearest(vectors.flatten(0, 2), self._weight).view(len(rows), -1).cpu().numpy()
        return out

    @torch.no_grad()
    def decode_pixels(self, codes: Codes, *, batch: int = 64) -> Pixels:
        """Pixels `(n, s, s, 3)` of codes `(n, c)`.

        Raises:
            UnimpError: another number of codes a picture, or a code outside the codebook.
        """
        codes = np.asarray(codes, dtype=np.int64)
        if codes.ndim != 2 or codes.shape[1] != self.codes_per_picture:
            raise UnimpError(f"codes of shape {codes.shape}; a picture takes {self.codes_per_picture} codes")
        if codes.size and not 0 <= codes.min() <= codes.max() < self.codes:
            raise UnimpError(f"codes {codes.min()} to {codes.max()}; the codebook ends at {self.codes - 1}")
        out = np.empty((len(codes), self.size, self.size, 3), dtype=np.uint8)
        for rows in _parts(np.arange(len(codes)), batch):
            side = self.codes_a_side
            vectors = self._weight[torch.from_numpy(codes[rows]).to(self.device)].view(len(rows), side, side, -1)
            values = self._decoded(vectors.movedim(-1, 1))
            scaled = (values if self.unit else (values + 1) / 2).clamp(0, 1) * 255
            out[rows] = scaled.round().byte().permute(0, 2, 3, 1).cpu().numpy()
        return out

    def decode(self, codes: Codes) -> list[Image.Image]:
        """Pictures of codes `(n, c)`; errors as in `decode_pixels`."""
        return [Image.fromarray(pixels) for pixels in self.decode_pixels(codes)]

    def decode_png(self, codes: Codes) -> list[bytes]:
        """PNG files of codes `(n, c)`; errors as in `decode_pixels`."""
        return [png(picture) for picture in self.decode(codes)]

    def reconstruct(self, pictures: Sequence[bytes] | Pixels) -> Pixels:
        """Pixels `(n, s, s, 3)` of pictures after their way through the codes."""
        return self.decode_pixels(self.encode(pictures))

    def digest(self) -> str:
        """Names this tokenizer by its weights and sizes: the sha256 of both."""
        weights = {name: value.cpu().contiguous() for name, value in self.model.state_dict().items()}
        return hashlib.sha256(safetensors_bytes(weights) + json.dumps(self._facts()).encode()).hexdigest()

    def encode_cached(
        self, ids: Sequence[str], read: Reader, folder: Path, *, batch: int = 64, block: int = 1024
    ) -> Codes:
        """Codes `(n, c)` of pictures `ids`, in their order, kept in a file of `folder` named by tokenizer and ids.

        Args:
            ids: pictures, as the sha256 of their bytes.
            read: fetches encoded pictures by id.
            folder: where codes are kept.
            batch: pictures in one pass of the model.
            block: pictures that are read together.

        Raises:
            UnimpError: a picture that `read` does not know, or that cannot be read.
            CheckpointError: a kept file that was damaged since.
        """
        key = hashlib.sha256("\n".join([self.digest(), *ids]).encode()).hexdigest()[:32]
        file, shape = folder / f"image-codes-{key}.npy", (len(ids), self.codes_per_picture)
        if file.exists():
            return _kept_codes(file, shape)
        codes = np.empty(shape, dtype=np.int64)
        for start in range(0, len(ids), block):
            names = ids[start : start + block]
            files = read(names)
            if unknown := [name for name in names if name not in files]:
                raise UnimpError(f"picture {unknown[0]} is not in the dataset; build the dataset again")
            pixels = read_pictures([files[name] for name in names], self.size, names)
            codes[start : start + len(names)] = self.encode(pixels, batch=batch)
        part = file.with_suffix(".part")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as opened:
                np.save(opened, codes.astype(np.int32))
            part.replace(file)
        except OSError as problem:
            part.unlink(missing_ok=True)
            raise UnimpError(f"{file} cannot be written ({problem}); make room and encode again") from problem
        return codes

    def _facts(self) -> dict[str, Any]:
        return {"format": _FORMAT, "size": self.size, "patch": self.patch, "unit": self.unit}

    def save(self, folder: Path, trained: Trained | None = None) -> None:
        """Write the model in diffusers' own format (config and safetensors), then, last, what this class adds.

        Raises:
            CheckpointError: the disk is full or not writable.
        """
        with writing(folder):
            (folder / FACTS).unlink(missing_ok=True)
            self.model.save_pretrained(str(folder), safe_serialization=True)
        facts = self._facts() | {"sha256": self.digest(), "trained": asdict(trained) if trained else None}
        write_text(folder / FACTS, json.dumps(facts, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """A tokenizer that `save` wrote.

        Raises:
            CheckpointError: no tokenizer there, one that is not whole, or one changed since.
        """
        try:
            facts = json.loads((folder / FACTS).read_text())
            size, patch, unit, due = int(facts["size"]), int(facts["patch"]), bool(facts["unit"]), facts["sha256"]
            if facts["format"] != _FORMAT:
                raise ValueError(f"format {facts['format']}")
        except (OSError, ValueError, KeyError, TypeError) as problem:
            said = f"{type(problem).__name__}: {problem}"
            raise CheckpointError(f"{folder} holds no whole image tokenizer ({said}); train it again") from problem
        found = cls(read_model(str(folder), None, local=True), size, patch, unit=unit)
        if found.digest() != due:
            raise CheckpointError(f"the image tokenizer in {folder} was changed since it was saved; train it again")
        return found

    @classmethod
    def load_published(
        cls, name: str | Path, *, subfolder: str | None = None, size: int = 256, unit: bool = False
    ) -> Self:
        """A published VQModel in diffusers' format, from a local folder or by name from the hub; safetensors only.

        Args:
            name: folder, or name on the hub.
            subfolder: where in it the model is, such as `vqvae`.
            size: pixels a side of pictures.
            unit: the model was trained on values in [0, 1] (aMUSEd), not [-1, 1] (VQGAN, latent diffusion).

        Raises:
            CheckpointError: no VQModel there, weights missing, or a file that is damaged.
        """
        return cls(read_model(str(name), subfolder, local=Path(name).is_dir()), size, unit=unit)


def _kept_codes(file: Path, shape: tuple[int, int]) -> Codes:
    try:
        kept = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as problem:
        raise CheckpointError(f"{file} is damaged ({problem}); remove it and encode again") from problem
    if kept.shape != shape or kept.dtype != np.int32:
        raise CheckpointError(f"{file} holds {kept.dtype} {kept.shape}; remove it and encode again")
    codes: Codes = kept.astype(np.int64)
    return codes


def _parts(rows: NDArray[np.intp], batch: int = 64) -> list[NDArray[np.intp]]:
    return [rows[start : start + batch] for start in range(0, len(rows), batch)]
