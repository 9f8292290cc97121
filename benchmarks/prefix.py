"""One row a user against one row a question: ids and seconds of an epoch, in one run.

Four tasks (recommendation, search, preference, explanation) are asked after every window of five items, the paper's
history. Rows either share the history as a trunk or repeat it. `python benchmarks/prefix.py [--users 200]`
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from unimp.batching import Plan, Rows, collate, epoch_batches
from unimp.config import PRESETS, UnimpConfig
from unimp.folders import read_folder
from unimp.losses import combine, focal
from unimp.modeling import Unimp
from unimp.options import Options
from unimp.parts import make_tokenizer
from unimp.sequence import Style, Writer
from unimp.shop import Log, Shop
from unimp.vocabulary import Vocabulary
from unimp_bench.places import Home
from unimp_bench.recipes import Recipe, build

TASKS = ("recommendation", "search", "preference", "explanation")


def first_users(log: Log, users: int) -> Log:
    """The log of the first so many users."""
    rows = slice(0, int(log.offsets[users]))
    learned = {task: mask[rows] for task, mask in log.learned.items()}
    return replace(
        log,
        offsets=log.offsets[: users + 1],
        item=log.item[rows],
        rating=log.rating[rows],
        why=log.why[rows],
        query=log.query[rows],
        learned=learned,
    )


def epoch(shop: Shop, writer: Writer, model: Unimp, plan: Plan, width: int) -> tuple[int, float]:
    """Ids and seconds of one epoch of training steps."""
    rows = Rows(shop, writer, plan, seed=0)
    made = [row for user in range(len(rows)) for row in rows.row(user, 0)]
    has_picture = np.ones(len(shop.items), dtype=bool)
    patches = torch.randn(len(shop.items), 16, width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    begun = time.perf_counter()
    for numbers in epoch_batches(np.array([len(row) for row in made]), plan.tokens, 0, 0):
        batch = collate([made[k] for k in numbers], has_picture, writer.vocabulary.pad)
        logits, places = model.supervised(batch, patches[batch.pictures])
        each = focal(logits, batch.labels.flatten()[places], 2.0)
        combine(each, batch.weights.flatten()[places], places).backward()
        optimizer.step()
        optimizer.zero_grad()
    return sum(map(len, made)), time.perf_counter() - begun


def main() -> None:
    """Build the small synthetic shop, then measure both ways."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--users", type=int, default=200)
    arguments.add_argument("--data", type=Path, help="a built dataset folder; the small synthetic shop by default")
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.data or build(Home(Path(scratch)), Recipe("synthetic", size="small")).folder
        shop = read_folder(folder, TASKS)
        shop = replace(shop, log=first_users(shop.log, min(asked.users, shop.log.users)))
        encoder = make_tokenizer(shop, Options(), Path(scratch) / "tokenizer")
    config = UnimpConfig(**PRESETS["tiny"], text_ids=encoder.size, items=len(shop.items))
    bodies = encoder.encode([f" {body}" for body in shop.items.bodies])
    style = Style(history=5, context="none")
    writer = Writer(Vocabulary.of(config), bodies, bodies, lambda text: encoder.encode([text])[0], style)
    found = {}
    for name, questions in (("one question of each task a user", 1), ("a question of each task after every item", 0)):
        for way, separate in (("shared", False), ("separate", True)):
            torch.manual_seed(0)
            plan = Plan(dict.fromkeys(TASKS, questions), 8192, separate)
            found[way] = epoch(shop, writer, Unimp(config), plan, config.vision_width)
        ids, seconds = (found["separate"][k] / found["shared"][k] for k in (0, 1))
        print(f"{name}: shared {found['shared'][0]:,} ids in {found['shared'][1]:.1f} s, ", end="")
        print(f"separate {found['separate'][0]:,} in {found['separate'][1]:.1f} s: ", end="")
        print(f"{ids:.1f} x fewer, {seconds:.1f} x faster")


if __name__ == "__main__":
    main()
