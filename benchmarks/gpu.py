"""Training speed of a preset with random weights: ids a second, share of the card's bf16 peak, peak memory.

    python benchmarks/gpu.py [--preset paper] [--rows 24] [--ids 512] [--steps 10] [--peak 989e12]

Rows are random: five pictures and `--ids` ids each, an eighth of them learned, as in the paper's samples. Operations
are counted, not guessed: 2 a weight and id forward; backward 2 more where gradients only pass through (frozen parts)
and 4 where weights learn; attention's products on top; the head at learned places only. Each setting runs in this
process, one after the other, with and without activation checkpointing. Without a GPU it says so and runs preset tiny
on the CPU, to show that the script works; such a line is no measurement.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Literal

import torch

from unimp import precision, trainable
from unimp.batch import Batch
from unimp.config import PRESETS, UnimpConfig
from unimp.losses import combine, focal
from unimp.modeling import Unimp
from unimp.options import Options
from unimp.vocabulary import IGNORED

Preset = Literal["tiny", "small", "paper", "mpt-1b"]
PICTURES = 5
LEARNED = 8  # every eighth id


@dataclass(frozen=True)
class Operations:
    """Operations of one training step, by part."""

    body: float
    blocks: float
    resampler: float
    head: float
    attention: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.body + self.blocks + self.resampler + self.head + self.attention


def operations(model: Unimp, rows: int, ids: int, patches: int) -> Operations:
    """Operations of a step on `rows` rows of `ids` ids; recomputed forward passes do not count as work done."""
    config, count = model.config, rows * ids

    def weights(module: torch.nn.Module | None) -> float:
        return float(sum(p.numel() for p in module.parameters() if p.dim() > 1)) if module is not None else 0.0

    frozen = not any(p.requires_grad for p in model.body.parameters())
    layers = len(model.layers)
    pictures = rows * PICTURES
    places = patches + config.latents
    return Operations(
        body=(4 if frozen else 6) * weights(model.body) * count,
        blocks=6 * weights(model.blocks) * count,
        resampler=6 * weights(model.resampler) * pictures * places,
        head=6 * config.text.vocab_size * config.width * count / LEARNED,
        attention=3 * 4 * layers * config.width * ids * count / 2,  # causal: half of the square
    )


def batch(config: UnimpConfig, rows: int, ids: int, device: str) -> Batch:
    """Random rows of five pictures each."""
    generator = torch.Generator().manual_seed(0)
    shape = (rows, ids)
    drawn = torch.randint(1, config.text.vocab_size, shape, generator=generator)
    place = torch.arange(ids).expand(shape)
    slots = place * PICTURES // ids + torch.arange(rows)[:, None] * PICTURES
    which = torch.full(shape, -1)
    which[:, :: -(-ids // PICTURES)] = 0
    labels = torch.where(place % LEARNED == 1, drawn, IGNORED)
    zeros = torch.zeros(shape, dtype=torch.long)
    made = Batch(
        drawn, labels, place, zeros, place + 1, slots, which, zeros, torch.ones(shape), torch.arange(rows * PICTURES)
    )
    return made.to(device)


def measure(
    preset: Preset, rows: int, ids: int, steps: int, checkpointing: bool, device: str
) -> tuple[float, float, float]:
    """Ids a second, operations a second, peak GiB."""
    config = UnimpConfig(**PRESETS[preset], text_ids=50_277, items=22_738, image_codes=1024)
    torch.manual_seed(0)
    with torch.device(device):
        model = Unimp._from_config(config, dtype=torch.float32)
    # As in training: a frozen body in bfloat16, all that learns in float32, products under autocast.
    model = precision.halved(model, Options(preset=preset), torch.device(device))
    trainable.choose(model, trainable.parts_of(config, "multi_task"))
    if checkpointing:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    optimizer = torch.optim.AdamW(trainable.groups(model, 0.1), lr=1e-5, fused=device == "cuda")
    vision = config.vision
    patches = (vision.image_size // vision.patch_size) ** 2
    given = torch.randn(rows * PICTURES, patches, config.vision_width, dtype=torch.float16, device=device)
    made = batch(config, rows, ids, device)

    def step() -> None:
        with precision.products(torch.device(device)):
            logits, places = model.supervised(made, given)
        labels = made.labels.flatten()[places]
        combine(focal(logits, labels, 2.0), made.weights.flatten()[places], places).backward()
        optimizer.step()
        optimizer.zero_grad()

    for _ in range(2):
        step()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    begun = time.perf_counter()
    for _ in range(steps):
        step()
    if device == "cuda":
        torch.cuda.synchronize()
    seconds = (time.perf_counter() - begun) / steps
    peak = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else float("nan")
    work = operations(model, rows, ids, patches).total
    return rows * ids / seconds, work / seconds, peak


def main() -> None:
    """Measure with and without checkpointing."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--preset", default="paper", choices=sorted(PRESETS))
    arguments.add_argument("--rows", type=int, default=24)
    arguments.add_argument("--ids", type=int, default=512)
    arguments.add_argument("--steps", type=int, default=10)
    arguments.add_argument("--peak", type=float, default=989e12, help="the card's dense bf16 operations a second")
    asked = arguments.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        print("no GPU: preset tiny on the CPU, two short rows; no measurement")
        asked.preset, asked.rows, asked.ids, asked.steps = "tiny", 2, 64, 1
    for checkpointing in (False, True):
        try:
            speed, rate, peak = measure(asked.preset, asked.rows, asked.ids, asked.steps, checkpointing, device)
        except torch.cuda.OutOfMemoryError:
            print(f"{asked.preset}, checkpointing {checkpointing}: out of memory with {asked.rows} rows; take fewer")
            continue
        share = f", {rate / asked.peak:.0%} of the bf16 peak" if device == "cuda" else ""
        print(f"{asked.preset}, checkpointing {checkpointing}: {speed:,.0f} ids/s{share}, peak {peak:.1f} GiB")


if __name__ == "__main__":
    main()
