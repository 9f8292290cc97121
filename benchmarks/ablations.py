"""UniMP's ablations (tables 3, 4, 6, 7, 8 and 10 of its paper) over several seeds, from one shared pre-training.

    python benchmarks/ablations.py --home demo --dataset synthetic-small --seeds 1,2,3

Every variant is a plain `unimp-bench run`; what was run before is found and not run again, so a killed call goes on.
The table goes to stdout as Markdown: NDCG@5 of one cohort (`--cohort new_user` is table 4's), mean of the seeds, with a
95 % bootstrap interval over users, and the paired difference to the full model. Seeds share their users, so intervals
do not tell how much another pre-training would differ. All variants but one do without neighbours, so that it is the
model that is judged. Held-out domains are answered as they are, without training on them, unless `--set
new_domain=finetune_all`. `--larger` adds preset `small` (table 10), with as many passes over the log as `tiny` and as
many steps of pre-training, a quarter of its own; 30 to 40 minutes a seed on one core.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from unimp_bench.metrics import comparison
from unimp_bench.paired import example_values

TASKS = ("recommendation", "search")
METRIC = "ndcg@5"
FULL = "UniMP"
LEARNED = "learn=" + ",".join(TASKS)
VARIANTS: dict[str, tuple[str, ...]] = {
    FULL: (),
    "w/o vision (table 3)": ("vision=off",),
    "w/o cross-attention (3, 8)": ("fusion=none",),
    "w/o context (3)": ("context_target=none",),
    "w/o re-weighting (3)": ("gamma=0",),
    "w/o context & re-weighting (3)": ("context_target=none", "gamma=0"),
    "continue (7)": ("strategy=continue",),
    "multi-task + full (7)": ("strategy=multi_task+full",),
    "multi-task + efficient (7)": ("strategy=multi_task+efficient",),
    "w/o exclusive mask (8)": ("exclusive=false",),
    "early fusion (8)": ("fusion=early",),
    "late fusion (8)": ("fusion=late",),
    "free item rows, as in the paper": ("item_rows=free",),
    "history of 2": ("history=2", "earlier=0"),
    "history of 5": ("history=5", "earlier=0"),
    "history of 10": ("history=10", "earlier=0"),
    "history of 5, w/o exclusive mask": ("history=5", "earlier=0", "exclusive=false"),
    "free item rows, w/o exclusive mask": ("item_rows=free", "exclusive=false"),
    "w/o exclusive mask in questions": ("overview=true",),
    "w/o exclusive mask in histories": ("exclusive=false", "overview=false"),
    "with neighbours": ("neighbours=true",),
}
LARGER = "preset small (10)"
LIKE_TINY, PASSES = "effort=0.25", "epochs=5"  # of preset small: tiny's steps of pre-training, its passes over the log
NOISE = {"noise in text, NT (table 6)": "NT-0.2", "noise in pictures, NV (6)": "NV-0.2"}


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", default=".")
    parser.add_argument("--dataset", default="synthetic-small")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--set", action="append", default=[], help="for every variant, as epochs=3")
    parser.add_argument("--only", default="", help="variants whose names hold one of these words, comma-separated")
    parser.add_argument("--cohort", default="in_domain", choices=["in_domain", "new_user", "new_domain"])
    parser.add_argument("--larger", action="store_true", help="preset small, too")
    asked = parser.parse_args()
    parts = {"tiny": pretrained(asked.home, asked.dataset, "tiny")}
    if asked.larger:
        parts["small"] = pretrained(asked.home, asked.dataset, "small", LIKE_TINY, LEARNED)
    shared = [LEARNED, "strategy=multi_task", "new_domain=zero_shot_content", "neighbours=false"]
    base = [f"pretrained={parts['tiny']}", *shared, *asked.set]
    words = [word for word in asked.only.split(",") if word]
    planned = [
        *((name, "clean", changes) for name, changes in VARIANTS.items()),
        *((name, variant, ()) for name, variant in NOISE.items()),
    ]
    if asked.larger:
        planned.append((LARGER, "clean", ("preset=small", PASSES, f"pretrained={parts['small']}")))
    found: dict[str, dict[str, list[Path]]] = {}
    for seed in asked.seeds.split(","):  # seed by seed: a table of one stands before the second is begun
        for name, variant, changes in planned:
            if words and name != FULL and not any(word in name for word in words):
                continue
            settings = {one.partition("=")[0]: one for one in (*base, *changes)}  # later ones count
            sets = [part for one in settings.values() for part in ("--set", one)]
            command = ["run", "--model", "unimp", "--task", ",".join(TASKS), "--dataset", asked.dataset]
            for folder in call(asked.home, [*command, "--seeds", seed, "--variant", variant, *sets]):
                found.setdefault(name, {}).setdefault(folder.parents[1].name, []).append(folder)
        print(table(found, asked.cohort), flush=True)


def pretrained(home: str, dataset: str, preset: str, *settings: str) -> Path:
    """The folder of a preset's shared parts, made where it is not there."""
    folder = (Path(home) / "parts" / f"{dataset}-{preset}").resolve()
    sets = [part for one in (f"preset={preset}", *settings) for part in ("--set", one)]
    call(home, ["pretrain", "--model", "unimp", "--out", str(folder), "--dataset", dataset, *sets])
    return folder


def call(home: str, command: Sequence[str]) -> list[Path]:
    """Call the command line; folders it printed. What it failed at stands on stderr, in its own line."""
    called = [sys.executable, "-m", "unimp_bench", "--home", home, *command]
    done = subprocess.run(called, stdout=subprocess.PIPE, text=True, check=False)
    return [Path(line) for line in done.stdout.splitlines()]


def table(found: Mapping[str, Mapping[str, Sequence[Path]]], cohort: str) -> str:
    """Markdown: for each task the mean of the seeds and the paired difference to the full model, with intervals."""
    lines = ["| variant | seeds | " + " | ".join(f"{task} | less the full model" for task in TASKS) + " |"]
    lines.append("|---" * (2 + 2 * len(TASKS)) + "|")
    for name, runs in found.items():
        cells = [name, str(max(len(folders) for folders in runs.values()))]
        for task in TASKS:
            full, own = found.get(FULL, {}).get(task), runs.get(task)
            if not full or not own:
                cells += ["-", "-"]
                continue
            both = example_values([own, full], METRIC, cohort).values
            # Against zeros the paired difference is the mean itself, with the same resampling.
            mean = comparison.difference(both[:, 0], np.zeros(len(both)), "mean")
            less = comparison.difference(both[:, 0], both[:, 1], "mean")
            cells.append(f"{mean.value:.4f} ({mean.low:.4f} - {mean.high:.4f})")
            cells.append("" if name == FULL else f"{less.value:+.4f} ({less.low:+.4f} - {less.high:+.4f})")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
