"""Patch tokens from the cache beside a tower that encodes every batch's pictures in the training loop.

    python benchmarks/vision_cache.py [--preset tiny small] [--users 60] [--data FOLDER]

An epoch of training steps on users of the small synthetic shop, whose histories show pictures; the model is of the
preset's sizes with random weights, the tower frozen. Ways to patch tokens of a batch's pictures, each once a batch:

- cached: ours, from the memory map that encoding once has left, in half precision;
- pixels: the tower on pictures that were decoded and resized once and are held in memory;
- files: the tower on encoded pictures, decoded and resized for every batch, as a data loader without a cache does.

Each runs in a process of its own on one thread and must come to the same loss, but for the rounding of half precision.
Encoding once is timed as well: after how many epochs it is paid back. On a CPU, seconds are those of the processor, so
that other work on the machine counts less.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

WAYS = ("cached", "pixels", "files")
TASKS = ("recommendation", "search", "preference")


def measure(way: str, preset: str, users: int, folder: Path, scratch: Path, device: str) -> dict[str, float]:
    """Seconds of an epoch, its mean loss, peak memory in MiB, pictures that were asked for."""
    import torch
    from prefix import first_users

    from unimp.batching import Plan, Rows, collate, epoch_batches
    from unimp.config import PRESETS, UnimpConfig
    from unimp.features import encode_pictures
    from unimp.folders import read_folder
    from unimp.losses import combine, focal
    from unimp.modeling import Unimp
    from unimp.options import Options
    from unimp.parts import make_tokenizer
    from unimp.pictures import normalised, read_pictures
    from unimp.sequence import Style, Writer
    from unimp.vision import VisionTower
    from unimp.vocabulary import Vocabulary

    def clock() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    torch.set_num_threads(1)
    torch.manual_seed(0)
    shop = read_folder(folder, TASKS)
    shop = replace(shop, log=first_users(shop.log, min(users, shop.log.users)))
    encoder = make_tokenizer(shop, Options(), scratch / "tokenizer")
    config = UnimpConfig(**PRESETS[preset], text_ids=encoder.size, items=len(shop.items))
    tower = VisionTower.from_config(config.vision, pool=config.vision_pool)
    model = Unimp(config).to(device)
    names = shop.items.picture_ids
    has_picture = np.array([name is not None for name in names])
    # What is shown to these users, and no more: a shop of millions would be encoded once for all of them.
    shown = sorted({str(names[k]) for k in np.unique(shop.log.item) if names[k] is not None})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    asked = 0
    seconds = {"once": 0.0}
    begun = clock()
    if way == "cached":
        store = encode_pictures(scratch / f"features-{preset}", tower, shown, shop.items.pictures, device=device)
        known = set(shown)
        features = store.items([name if name in known else None for name in names])
    tower.to(device)
    files = shop.items.pictures(shown) if way != "cached" else {}
    pixels = {}
    if way == "pixels":
        pixels = dict(zip(shown, read_pictures([files[n] for n in shown], tower.size, shown), strict=True))
    seconds["once"] = clock() - begun

    def patches(pictures: torch.Tensor) -> torch.Tensor:
        nonlocal asked
        asked += len(pictures)
        if way == "cached":
            return features[pictures].to(device)
        of = [str(names[k]) for k in pictures.tolist()]
        read = np.stack([pixels[n] for n in of]) if pixels else read_pictures([files[n] for n in of], tower.size, of)
        return tower(normalised(torch.from_numpy(read).to(device)))

    bodies = encoder.encode([f" {body}" for body in shop.items.bodies])
    style = Style(history=5, context="none")
    writer = Writer(Vocabulary.of(config), bodies, bodies, lambda text: encoder.encode([text])[0], style)
    rows = Rows(shop, writer, Plan(dict.fromkeys(TASKS, 1), 2048), seed=0)
    made = [row for user in range(len(rows)) for row in rows.row(user, 0)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    losses = []
    begun = clock()
    for numbers in epoch_batches(np.array([len(row) for row in made]), rows.plan.tokens, 0, 0):
        batch = collate([made[k] for k in numbers], has_picture, writer.vocabulary.pad).to(device)
        logits, places = model.supervised(batch, patches(batch.pictures) if len(batch.pictures) else None)
        each = focal(logits, batch.labels.flatten()[places], 2.0)
        loss = combine(each, batch.weights.flatten()[places], places)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    seconds["epoch"] = clock() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    if device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
    return {**seconds, "peak": peak, "loss": float(np.mean(losses)), "asked": asked, "pictures": len(shown)}


def main() -> None:
    """Build the small synthetic shop, then measure every way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", nargs="+", default=["tiny", "small"])
    parser.add_argument("--users", type=int, default=60)
    parser.add_argument("--data", type=Path, help="a built dataset folder; the small synthetic shop by default")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.measure:
        print(json.dumps(measure(*said.measure, said.users, said.data, said.scratch, said.device)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = said.data
        if folder is None:
            from unimp_bench.places import Home
            from unimp_bench.recipes import Recipe, build

            folder = build(Home(Path(scratch)), Recipe("synthetic", size="small")).folder
        print("preset | way    | epoch s | times cached | peak MiB | once s | pictures read, of so many")
        for preset in said.preset:
            found: dict[str, dict[str, Any]] = {}
            for way in WAYS:
                command = [sys.executable, __file__, "--measure", way, preset]
                command += ["--users", str(said.users), "--data", str(Path(folder).absolute())]
                command += ["--scratch", scratch, "--device", said.device]
                out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                found[way] = json.loads(out.splitlines()[-1])
            ours = found["cached"]
            for way, one in found.items():
                if abs(one["loss"] - ours["loss"]) > 1e-3 * ours["loss"]:
                    raise SystemExit(f"{preset}: {way} comes to a loss of {one['loss']}, cached to {ours['loss']}")
                print(
                    f"{preset:6} | {way:6} | {one['epoch']:7.1f} | {one['epoch'] / ours['epoch']:12.2f} | "
                    f"{one['peak']:8.0f} | {one['once']:6.1f} | {one['asked']:,} of {one['pictures']:,}"
                )
            saved = found["files"]["epoch"] - ours["epoch"]
            print(f"{preset}: encoding once is paid back after {ours['once'] / saved:.1f} epochs of these users")


if __name__ == "__main__":
    main()
