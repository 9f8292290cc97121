"""Answers of a small model on two cores: two batches at once, against two threads in every operation, and one of each.

    python benchmarks/answering.py [--examples N] [--items N]

The model is random, of preset tiny; examples have five items with pictures. Each way runs in a process of its own:

- one:        one batch at a time on one thread;
- operations: one batch at a time, every operation on all threads (PyTorch's own way);
- batches:    ours, as many batches at once as there are threads, one thread each.

All must answer the same, to the last bit for `batches`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import numpy as np

WAYS = ("one", "operations", "batches")
TASKS = ("rate", "explain")
PATCHES = 16


def measure(way: str, examples: int, items: int) -> dict[str, object]:
    """Seconds of each task, peak memory and a hash of the answers of one way."""
    import torch

    from unimp import threads
    from unimp.config import PRESETS, UnimpConfig
    from unimp.decoding import Decoder
    from unimp.modeling import Unimp
    from unimp.sequence import Style, Writer
    from unimp.shop import Example
    from unimp.vocabulary import Vocabulary

    if way != "operations":
        torch.set_num_threads(1)
    if way != "batches":
        threads.GIVEN = 1
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = Unimp(UnimpConfig(**PRESETS["tiny"], text_ids=1500, items=items)).eval()
    bodies = [rng.integers(1, 1500, 15).astype(np.int32) for _ in range(items)]
    writer = Writer(Vocabulary.of(model.config), bodies, bodies, lambda t: [1 + ord(c) for c in t[::5]], Style())
    table = torch.randn(1000, PATCHES, model.config.vision_width)
    decoder = Decoder(model, writer, lambda i: table[i % 1000], np.ones(items, bool))
    asked = [
        Example(str(n), "", rng.integers(0, items, 5), np.full(5, 4.0, np.float32), [None] * 5, target=n % items)
        for n in range(examples)
    ]
    work = {
        "rate": lambda part: decoder.rate(part)[0].tobytes(),
        "explain": lambda part: json.dumps(decoder.explain(part, str, most_words=20)).encode(),
    }
    found: dict[str, object] = {}
    for task in TASKS:
        work[task](asked[:2])
        begin = time.perf_counter()
        said = work[task](asked)
        found[task] = time.perf_counter() - begin
        found[f"{task} said"] = sha256(said).hexdigest()
    found["megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def main() -> None:
    """Measure every way and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        print(json.dumps(measure(given.way, given.examples, given.items)))
        return
    print(f"{given.examples:,} examples, {given.items:,} items, {os.cpu_count()} cores")
    found = {}
    for way in WAYS:
        command = [sys.executable, __file__, "--way", way, f"--examples={given.examples}", f"--items={given.items}"]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found[way] = json.loads(out.splitlines()[-1])
    for task in TASKS:
        base = found["operations"]
        for way in WAYS:
            one = found[way]
            same = "same answers" if one[f"{task} said"] == found["one"][f"{task} said"] else "OTHER ANSWERS"
            print(
                f"{task:8} {way:11} {one[task]:6.2f} s, {base[task] / one[task]:4.2f} x operations, "
                f"peak {one['megabytes']:4.0f} MB, {same}"
            )


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))
    main()
