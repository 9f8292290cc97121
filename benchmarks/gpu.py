"""Training speed of a preset with random weights: ids a second, share of the card's bf16 peak, peak memory.

    PYTHONPATH=models python benchmarks/gpu.py [--preset paper] [--rows 24] [--ids 512] [--steps 10] [--peak 989e12]

Rows are random: five pictures and `--ids` ids each, an eighth of them learned, as in the paper's samples. Operations
are counted as PyTorch's own counter does, less what checkpointing repeats: 2 a weight and place forward; backward 2
more where gradients only pass through (frozen parts) and 4 where weights learn; attention's products on top, half of
the square where it is causal; the head at learned places only. Each setting runs in this
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
    """Operations of a step on `rows` rows of `ids` ids; recomputed forward passes do not count as work done.

    A weight works once for each place that it reads: keys and values of a picture for its patches and latents in the
    resampler, for its latents in the blocks, everything else there for latents or ids alone.
    """
    config, count, pictures = model.config, rows * ids, rows * PICTURES
    assert model.resampler is not None, "counted for a model that sees"
    looked, own = config.latents * pictures, (patches + config.latents) * pictures  # latents; with patches
    body, head = _weights(model.body), _weights(model.head)
    keys, rest = _keys_and_rest(model.blocks)
    seen, latent = _keys_and_rest(model.resampler)
    frozen = not any(p.requires_grad for p in model.body.parameters())
    causal = 12 * len(model.layers) * config.width * count * ids / 2  # half of the square
    across = 12 * config.latents * config.cross_heads * config.head_width * len(model.blocks) * count
    resampled = 12 * config.resampler_heads * config.head_width * config.resampler_layers * looked * own / pictures
    return Operations(
        body=(4 if frozen else 6) * body * count,
        blocks=6 * (keys * looked + rest * count),
        resampler=6 * (seen * own + latent * looked),
        head=6 * head * count / LEARNED,
        attention=causal + across + resampled,
    )


def _weights(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.dim() > 1)


def _keys_and_rest(module: torch.nn.Module) -> tuple[int, int]:
    """Weights of the maps to keys and values, and of all other maps."""
    maps = [(name, part.weight.numel()) for name, part in module.named_modules() if isinstance(part, torch.nn.Linear)]
    keys = sum(count for name, count in maps if name.endswith("to_kv"))
    return keys, sum(count for _, count in maps) - keys


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
    nothing = torch.zeros(0, dtype=torch.long)
    made = Batch(
        ids=drawn,
        labels=labels,
        positions=place,
        segments=zeros,
        horizon=place + 1,
        slots=slots,
        which=which,
        kinds=zeros,
        weights=torch.ones(shape),
        pictures=torch.arange(rows * PICTURES),
        query=torch.full(shape, -1),
        words=nothing,
        starts=nothing,
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
