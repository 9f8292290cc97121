"""Neighbours of a large catalogue: counted from the log by blocks of items, and by one sparse product.

    python benchmarks/neighbours.py [--interactions N] [--items N]

`blocks` is `unimp.neighbours`: pairs at most 20 purchases apart, nearer ones counting more, the 200 strongest of each
item kept. `product` is the usual way of item-based filtering: X'X of customers and items by scipy, all of it at once,
every pair of a customer alike, then cosines. Each in a process of its own; the log is drawn, with a few popular items.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import numpy as np
from scipy import sparse

from unimp.neighbours import Neighbours
from unimp.shop import Log

PURCHASES = 10  # of a customer, in the mean


def drawn(interactions: int, items: int) -> Log:
    """A log of about so many rows."""
    rng = np.random.default_rng(0)
    offsets = np.append(0, np.cumsum(rng.geometric(1 / PURCHASES, interactions // PURCHASES)))
    item = np.minimum((rng.pareto(1, offsets[-1]) * items / 500).astype(np.int64), items - 1)
    nothing = np.full(len(item), -1)
    return Log(offsets, item, nothing.astype(np.float32), [None] * len(item), nothing, (), {})


def product(log: Log, items: int) -> int:
    """Cosines of all pairs of items that a customer bought; how many there are."""
    customer = np.repeat(np.arange(log.users), np.diff(log.offsets))
    bought = sparse.csr_array((np.ones(len(log.item), np.float32), (customer, log.item)), (log.users, items))
    bought.sum_duplicates()
    bought.data[:] = 1
    pairs = (bought.T @ bought).tocoo()
    times = bought.sum(0)
    pairs.data /= np.sqrt(times[pairs.row] * times[pairs.col]) + 1
    return int(pairs.nnz)


def measured(way: str, interactions: int, items: int) -> None:
    """Print seconds, peak megabytes and pairs of one way."""
    log = drawn(interactions, items)
    begin = time.perf_counter()
    pairs = len(Neighbours.of(log, items).item) if way == "blocks" else product(log, items)
    seconds = time.perf_counter() - begin
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, pairs)


def main() -> None:
    """Measure both, each in a process of its own, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interactions", type=int, default=10_000_000)
    parser.add_argument("--items", type=int, default=120_000)
    parser.add_argument("--way", choices=["blocks", "product"], help="one of them, in this process")
    said = parser.parse_args()
    if said.way:
        measured(said.way, said.interactions, said.items)
        return
    print(f"about {said.interactions:,} interactions, {said.items:,} items")
    print("way     | seconds | peak MB | pairs kept")
    found = {}
    for way in ("product", "blocks"):
        call = [sys.executable, __file__, "--interactions", str(said.interactions), "--items", str(said.items)]
        done = subprocess.run([*call, "--way", way], stdout=subprocess.PIPE, text=True, check=True)
        seconds, megabytes, pairs = map(float, done.stdout.split())
        found[way] = seconds, megabytes
        print(f"{way:7} | {seconds:7.1f} | {megabytes:7.0f} | {pairs:,.0f}", flush=True)
    ratios = [one / other for one, other in zip(found["product"], found["blocks"], strict=True)]
    print(f"product / blocks: {ratios[0]:.2f} of the seconds, {ratios[1]:.2f} of the memory")


if __name__ == "__main__":
    main()
