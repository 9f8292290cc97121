"""How the image tokenizer learns: a plain autoencoder first, then the same with its latents held to a codebook.

    n pictures of a step, s pixels a side, h codes a side, w width of a code

Unusual: no perceptual network and no discriminator, so nothing is downloaded. Plain terms stand in for them (see
`reconstruction_loss`): with errors and gradients alone, short training finds shapes and draws all of them grey. The
codebook joins after a warm-up, started by k-means on latents that already mean something.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from unimp.errors import CheckpointError, TrainingError
from unimp.image_codebook import Codebook, nearest

_COMMITMENT = 0.25  # weight of what keeps latents near their codes (van den Oord et al. 2017, eq. 3)
_GRADIENT_SCALES, _COLOUR_CELLS = 3, (4, 8)
_CALM = 0.9  # share of training after which dead codes stay where they are, so that the last codes settle
_LAST_RATE = 0.03  # of the peak rate
_RAMP = 20  # steps to the peak rate
_KMEANS_PICTURES = 2048

Draw = Callable[[Tensor], Tensor]  # rows `(n,)` to pictures `(n, 3, s, s)` in [-1, 1]
Report = Callable[[int, float, float], None]  # steps done, share of training done, loss


@dataclass(frozen=True)
class Schedule:
    """How long and how fast; a seed decides everything else."""

    seed: int
    steps: int
    batch: int
    rate: float  # AdamW's peak
    warm_up: float = 0.15  # share of training without the codebook


def reconstruction_loss(made: Tensor, due: Tensor) -> Tensor:
    """A sum of mean errors of pictures `(n, 3, s, s)` in [-1, 1]; own choice, no source.

    With d = made - due: |d| + d^2; differences of neighbouring pixels of d, at full, half and quarter size (edges and
    patterns); half of |mean of d| over cells of 4 and 8 pixels, in which patterns cancel and colour is left; and once
    more of d and of these means the part that is no shade of grey, as brightness otherwise wins the codes for itself.
    """
    error = made - due
    loss = error.abs().mean() + error.square().mean() + _colour(error)
    smaller = error
    for scale in range(_GRADIENT_SCALES):
        smaller = F.avg_pool2d(smaller, 2) if scale else smaller
        loss = loss + smaller.diff(dim=-1).abs().mean() + smaller.diff(dim=-2).abs().mean()
    for cell in _COLOUR_CELLS:
        mean = F.avg_pool2d(error, cell)
        loss = loss + 0.5 * (mean.abs().mean() + _colour(mean))
    return loss


def _colour(error: Tensor) -> Tensor:
    return (error - error.mean(1, keepdim=True)).abs().mean()


class Trainer:
    """Training of one VQModel-like network that can be stopped at any step and taken up again.

    Args:
        encode: pictures `(n, 3, s, s)` to latents `(n, w, h, h)`.
        decode: latents to pictures.
        model: holds the weights of both; `weight` `(k, w)` is its codebook, which gets no gradient.
        request: what this training is of (settings, pictures), in words that a checkpoint must repeat.
    """

    def __init__(
        self,
        model: nn.Module,
        weight: Tensor,
        encode: Callable[[Tensor], Tensor],
        decode: Callable[[Tensor], Tensor],
        schedule: Schedule,
        request: str,
    ) -> None:
        self.model, self.encode, self.decode, self.schedule = model, encode, decode, schedule
        self.request = json.dumps({"of": request, **asdict(schedule)}, sort_keys=True)
        weight.requires_grad_(False)
        self.codebook = Codebook(weight)
        self.learned = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(
            self.learned.values(), lr=schedule.rate, betas=(0.9, 0.95), weight_decay=0, fused=True
        )
        self.generator = torch.Generator().manual_seed(schedule.seed)
        self.step, self.elapsed_seconds, self.quantised = 0, 0.0, False

    def run(
        self,
        draw: Draw,
        pictures: int,
        *,
        checkpoint: Path | None = None,
        every: int = 200,
        report: Report | None = None,
        stop_at: int | None = None,
    ) -> bool:
        """Train on rows 0 to `pictures - 1` that `draw` hands out; true where the schedule is through.

        Args:
            draw: see `Draw`.
            pictures: how many there are.
            checkpoint: file that is read first, if it exists, and written every so many steps.
            every: steps between two writings.
            report: told of every step.
            stop_at: step after which to stop early, with a checkpoint: for tests and for a time limit of the caller.

        Raises:
            TrainingError: a loss that is no number (a checkpoint that was written stays), or no room to write.
            CheckpointError: a checkpoint that is damaged or of another training.
        """
        if checkpoint is not None and checkpoint.exists():
            self._load(checkpoint)
        begun = time.monotonic() - self.elapsed_seconds
        self.model.train()
        while (share := self._share()) < 1 and (stop_at is None or self.step < stop_at):
            if not self.quantised and share >= self.schedule.warm_up:
                self._start_codebook(draw, pictures)
            loss = self._learn(draw(torch.randint(pictures, (self.schedule.batch,), generator=self.generator)), share)
            self.step += 1
            self.elapsed_seconds = time.monotonic() - begun
            if report is not None:
                report(self.step, min(self._share(), 1.0), loss)
            if checkpoint is not None and (self.step % every == 0 or self.step == stop_at):
                self._save(checkpoint)
        if not self.quantised:  # so short a training that it ended within its warm-up
            self._start_codebook(draw, pictures)
        self.model.eval()
        return self._share() >= 1

    def _share(self) -> float:
        return self.step / self.schedule.steps

    def _learn(self, pictures: Tensor, share: float) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * share))
        for group in self.optimizer.param_groups:
            ramp = min(1.0, (self.step + 1) / _RAMP)
            group["lr"] = self.schedule.rate * ramp * (_LAST_RATE + (1 - _LAST_RATE) * cosine)
        latents = self.encode(pictures)
        if self.quantised:
            vectors = latents.movedim(1, -1)  # (n, h, h, w)
            flat = vectors.reshape(-1, vectors.shape[-1])
            place = nearest(flat.detach(), self.codebook.weight)
            codes = self.codebook.weight[place].view_as(vectors).movedim(-1, 1)
            # Straight-through: forward the codes, backward as if they were the latents.
            made = self.decode(latents + (codes - latents).detach())
            loss = reconstruction_loss(made, pictures) + _COMMITMENT * F.mse_loss(latents, codes)
        else:
            loss = reconstruction_loss(self.decode(latents), pictures) + 1e-3 * latents.square().mean()
        value = float(loss.detach())
        self.optimizer.zero_grad()
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(list(self.learned.values()), 1.0))
        if not math.isfinite(value) or not math.isfinite(norm):
            raise TrainingError(
                f"the image tokenizer's loss is {value} and its gradient's norm {norm} at step {self.step + 1}; take a "
                f"rate below {self.schedule.rate:g}"
            )
        self.optimizer.step()
        if self.quantised:
            self.codebook.update(flat, place, self.generator, revive=share < _CALM)
        return value

    @torch.no_grad()
    def _start_codebook(self, draw: Draw, pictures: int) -> None:
        rows = torch.randperm(pictures, generator=self.generator)[:_KMEANS_PICTURES]
        found = [self.encode(draw(part)).movedim(1, -1).flatten(0, 2) for part in rows.split(64)]
        vectors = torch.cat(found).float()
        self.codebook.start(vectors, self.schedule.batch * len(vectors) // len(rows), self.generator)
        self.quantised = True

    def _save(self, file: Path) -> None:
        state = {f"model.{name}": value.contiguous() for name, value in self.model.state_dict().items()}
        for name, parameter in self.learned.items():
            for key, value in self.optimizer.state[parameter].items():
                state[f"adam.{key}.{name}"] = value
        state |= {"codebook.load": self.codebook.load, "codebook.total": self.codebook.total}
        state["random"] = self.generator.get_state()
        facts = {
            "step": self.step,
            "elapsed_seconds": self.elapsed_seconds,
            "quantised": self.quantised,
            "revived": self.codebook.revived,
        }
        part = file.with_name(file.name + ".part")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            safetensors.torch.save_file(state, part, {"request": self.request, "facts": json.dumps(facts)})
            part.replace(file)
        except (OSError, SafetensorError) as problem:
            part.unlink(missing_ok=True)
            raise TrainingError(
                f"the image tokenizer's checkpoint {file} cannot be written at step {self.step}: {problem}; "
                "make room and start again, the last checkpoint is kept"
            ) from problem

    def _load(self, file: Path) -> None:
        try:
            with safe_open(file, "pt") as opened:
                metadata = opened.metadata() or {}
                state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            request, facts = metadata["request"], json.loads(metadata["facts"])
        except (OSError, SafetensorError, KeyError, ValueError) as problem:
            raise CheckpointError(f"checkpoint {file} is damaged ({problem}); remove it to start again") from problem
        if request != self.request:
            raise CheckpointError(f"checkpoint {file} is of other settings or pictures; remove it to start again")
        self.model.load_state_dict({name: state[f"model.{name}"] for name in self.model.state_dict()})
        saved: dict[int, dict[str, Any]] = {}
        for place, name in enumerate(self.learned):
            keys = ("step", "exp_avg", "exp_avg_sq")
            saved[place] = {key: state[f"adam.{key}.{name}"] for key in keys}
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": saved, "param_groups": groups})
        self.codebook.load, self.codebook.total = state["codebook.load"], state["codebook.total"]
        self.codebook.revived, self.step = facts["revived"], facts["step"]
        self.elapsed_seconds, self.quantised = facts["elapsed_seconds"], facts["quantised"]
        self.generator.set_state(state["random"])
