"""Peak memory of an epoch of MMGCL and MMSSL: sparse graphs and a sampled critic, beside dense matrices.

    python benchmarks/graphs.py [--items N ...] [--users N] [--bought N] [--batches N] [--only NAME ...]

Random purchases and random features of 768 and 64 numbers (pictures, texts); every measurement is a process of its own
that trains through the worker's code, without validation. `sparse` is what the package does. `dense` is the same
network with every graph as two users x items matrices (each direction its own, as MMSSL's authors have them), and a
critic of all items and all users of a batch. It is measured for a few batches where it fits; `by count` is what
its matrices alone take, which the measured sizes can be held against and the others are told by:

    MMGCL  six of users x items: the whole graph and two thinned ones, in both directions
    MMSSL  six of users x items: interactions and two modalities, in both directions; the critic's weights four times
           (gradient and Adam's two moments); twelve rows of items for every user of a batch
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

MIB = 2**20
BATCH = {"MMGCL": 2048, "MMSSL": 1024}
IMAGE, TEXT = 768, 64


def written(users: int, items: int, bought: int) -> None:
    """A feed and features, in this folder."""
    rng = np.random.default_rng(0)
    rows = rng.integers(1, items + 1, users * bought)
    none = np.zeros(0, np.int64)
    starts = np.arange(users + 1) * bought
    np.savez(
        "feed.npz",
        users=users,
        items=items,
        sequences=rows,
        sequence_starts=starts,
        valid_users=none,
        valid_targets=none,
        valid_histories=none,
        valid_starts=np.zeros(1, np.int64),
        attributes=none,
        attribute_starts=np.zeros(items + 1, np.int64),
    )
    for name, width in (("image", IMAGE), ("text", TEXT)):
        np.save(f"{name}.npy", rng.standard_normal((items, width), dtype=np.float32))


def make_dense() -> None:
    """Let graphs be dense matrices: sums are plain products, and a thinned graph is a matrix of its own."""
    import torch

    from unimp_baselines.recbole import graphs

    plain = graphs.Bipartite.of.__func__  # type: ignore[attr-defined]

    def filled(graph: Any, kept: Any) -> Any:
        size = graph.by_user_sums.shape
        whole = torch.zeros(size, device=graph.user.device)
        whole[graph.user, graph.item] = kept
        object.__setattr__(graph, "whole", whole)
        object.__setattr__(graph, "turned", whole.T.contiguous())
        return graph

    def of(cls: Any, *given: Any) -> Any:
        graph = plain(cls, *given)
        return filled(graph, torch.ones(len(graph.user)))

    graphs.Bipartite.of = classmethod(of)  # type: ignore[assignment]
    graphs.Bipartite.to_users = lambda self, x: self.whole @ x  # type: ignore[attr-defined, method-assign]
    graphs.Bipartite.to_items = lambda self, x: self.turned @ x  # type: ignore[attr-defined, method-assign]
    graphs.Bipartite.thinned = lambda self, kept: filled(replace(self), kept.float())  # type: ignore[method-assign]


def train(kind: str, name: str, users: int, items: int, bought: int, batches: int) -> tuple[float, int]:
    """Train for some batches of an epoch, or all if 0; CPU seconds a batch, and batches."""
    from unimp_baselines.recbole import requests, training
    from unimp_baselines.recbole.datasets import Arrays
    from unimp_baselines.recbole.mmgcl import MMGCL
    from unimp_baselines.recbole.mmssl import MMSSL

    written(users, items, bought)
    runner = MMGCL(gpu=False) if name == "MMGCL" else MMSSL(gpu=False)
    if isinstance(runner, MMSSL) and kind == "dense":
        runner = replace(runner, critic_items=items, critic_users=BATCH["MMSSL"])
    here = Path.cwd()
    asked = requests.Train(
        model=runner._model({modality: f"{here}/{modality}.npy" for modality in ("image", "text")}),
        feed=f"{here}/feed.npz",
        rows=runner.rows,
        copies=1,
        epochs=1,
        patience=1,
        eval_every=1,
        max_seconds=0.0,
        pretrain_epochs=0,
        pretrain_batch=0,
        seed=0,
        folder=str(here),
        out=f"{here}/weights.pt",
        warm_weights=None,
        checkpoint_seconds=1e9,
    )
    stage = training._stage("fit", asked, Arrays.read(Path(asked.feed)))
    count = min(batches, len(stage.train)) or len(stage.train)
    begin = time.process_time()
    stage.model.train()
    step = getattr(stage.trainer, "_step", stage.model.calculate_loss)
    for _, batch in zip(range(count), stage.train, strict=False):
        stage.trainer.optimizer.zero_grad()
        step(batch).backward()
        stage.trainer.optimizer.step()
    return (time.process_time() - begin) / count, count


def measure(kind: str, name: str, *sizes: int) -> None:
    """Print CPU seconds a batch, batches, and peak MiB beyond those of a training of 50 items."""
    from unimp_baselines.recbole import compat

    sys.argv[1:] = []
    compat.apply()
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        if kind == "dense":
            make_dense()
        train(kind, name, 50, 50, 4, 1)  # what is loaded once
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds, count = train(kind, name, *sizes)
        print(f"{seconds} {count} {(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024}")


def counted(name: str, users: int, items: int) -> float:
    """MiB of the dense matrices; see above."""
    numbers = 6 * users * items
    if name == "MMSSL":
        numbers += 4 * (items * items // 4 + items * items // 32) + 12 * BATCH["MMSSL"] * items
    return numbers * 4 / MIB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[2_500, 5_000, 20_000])
    parser.add_argument("--dense", type=int, default=5_000, help="most items that the dense variant is measured with")
    parser.add_argument("--users", type=float, default=1.5, help="users an item")
    parser.add_argument("--bought", type=int, default=8, help="items a user")
    parser.add_argument("--batches", type=int, default=0, help="of an epoch; 0: all")
    parser.add_argument("--only", nargs="+", choices=sorted(BATCH), default=sorted(BATCH))
    parser.add_argument("--measure", nargs=6, help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.measure:
        kind, name, *numbers = said.measure
        measure(kind, name, *(int(number) for number in numbers))
        return
    print("model |  items |  users | batches | sparse MiB | dense MiB | by count | sparse CPU s / batch | dense CPU s")
    for name in said.only:
        for items in said.items:
            users = int(said.users * items)
            found: dict[str, list[float]] = {}
            for kind in ("sparse", "dense") if items <= said.dense else ("sparse",):
                limit = said.batches if kind == "sparse" else 3  # its memory does not grow after the first
                numbers = (str(number) for number in (users, items, said.bought, limit))
                command = [sys.executable, "-W", "ignore", __file__, "--measure", kind, name, *numbers]
                out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                found[kind] = [float(one) for one in out.split()]
            seconds, count, peak = found["sparse"]
            dense = found.get("dense")
            print(
                f"{name} | {items:6} | {users:6} | {count:7.0f} | {peak:10.0f} | "
                f"{f'{dense[2]:9.0f}' if dense else 'not run':>9} | {counted(name, users, items):8.0f} | "
                f"{seconds:20.2f} | {f'{dense[0]:.2f}' if dense else '-'}",
                flush=True,
            )


if __name__ == "__main__":
    main()
