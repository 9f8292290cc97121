"""Training in bfloat16 products on a CPU with matrix units (AMX), against float32: ids a second of preset small.

    python benchmarks/half_products.py [--preset small] [--users N] [--data FOLDER]

Each way learns recommendation and search from the same rows in a process of its own:

- float32:   `bf16=never`;
- autocast:  bfloat16 products, attention among them (PyTorch's own way);
- ours:      `bf16=amx`: bfloat16 products, attention in float32.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

WAYS = ("float32", "autocast", "ours")
TASKS = ("recommendation", "search")


def measure(way: str, preset: Any, folder: Path, users: int) -> dict[str, float]:
    """Ids a second, mean loss and peak memory of one way, over rows of so many users drawn alike for all ways."""
    import numpy as np
    import torch

    from unimp import attention
    from unimp.batching import Plan, Rows
    from unimp.config import PRESETS, UnimpConfig
    from unimp.folders import read_folder
    from unimp.modeling import Unimp
    from unimp.options import BUDGETS, Options
    from unimp.parts import make_tokenizer
    from unimp.recipe import Recipe
    from unimp.sequence import Style, Writer
    from unimp.trainable import parts_of
    from unimp.training import train
    from unimp.vocabulary import Vocabulary

    if way == "autocast":
        attention.WHOLE.clear()
    torch.manual_seed(0)
    options, shop = Options(preset=preset), read_folder(folder, TASKS)
    with tempfile.TemporaryDirectory() as scratch:
        encoder = make_tokenizer(shop, options, Path(scratch) / "tokenizer")
        config = UnimpConfig(**PRESETS[preset], text_ids=encoder.size, items=len(shop.items))
        bodies = encoder.encode([f" {body}" for body in shop.items.bodies])
        writer = Writer(Vocabulary.of(config), bodies, bodies, lambda text: encoder.encode([text])[0], Style(history=5))
        rows = Rows(shop, writer, Plan(dict.fromkeys(TASKS, 0), BUDGETS[preset].tokens), seed=0)
        table = torch.randn(len(shop.items), 16, config.vision_width)
        outcome = train(
            Unimp(config),
            rows,
            Recipe(epochs=1, part=min(1.0, users / len(rows)), bf16="never" if way == "float32" else "amx"),
            patches=lambda items: table[items],
            has_picture=np.ones(len(shop.items), dtype=bool),
            folder=Path(scratch) / "stage",
            stage="multi_task",
            parts=parts_of(config, "multi_task", scratch=True),
        )
    return {
        "rate": outcome.tokens / outcome.seconds,
        "steps": outcome.steps,
        "loss": outcome.history[-1]["loss"],
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Measure every way and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="small", choices=("tiny", "small"))
    parser.add_argument("--users", type=int, default=300)
    parser.add_argument("--data", type=Path, help="a built dataset folder; the small synthetic shop by default")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        print(json.dumps(measure(given.way, given.preset, given.data, given.users)))
        return
    from unimp.precision import has_matrix_units
    from unimp_bench.places import Home
    from unimp_bench.recipes import Recipe, build

    if not has_matrix_units():
        print("this CPU has no matrix units (AMX): every way would compute the same")
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.data or build(Home(Path(scratch)), Recipe("synthetic", size="small")).folder
        found = {}
        for way in WAYS:
            asked = ["--way", way, "--preset", given.preset, "--users", str(given.users), "--data", str(folder)]
            out = subprocess.run([sys.executable, __file__, *asked], check=True, stdout=subprocess.PIPE, text=True)
            found[way] = json.loads(out.stdout.splitlines()[-1])
    for way, one in found.items():
        print(
            f"{way:9} {one['rate']:6,.0f} ids/s, {one['rate'] / found['float32']['rate']:4.2f} x float32, "
            f"{one['steps']:.0f} steps, mean loss {one['loss']:.3f}, peak {one['megabytes']:,.0f} MB"
        )


if __name__ == "__main__":
    main()
