"""Scoring 200,000 users' top 50 over a catalogue of 120,000 items, with intervals, beside ranx and RecBole's evaluator.

    python benchmarks/score.py [--users N ...] [--only ours|ranx|recbole]

All get the same hits. Ours starts from the frames that a run holds (item ids as text), ends with one value a user and
six 95 % bootstrap intervals; ranx starts from its own Qrels and Run (built outside the clock) and RecBole from the
finished hit matrix, and both end with six means. Each runs in a process of its own; RecBole is left out where it is not
installed (`pip install --no-deps recbole==1.2.1`, with torch).
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import subprocess
import sys
import time

import numpy as np

ITEMS, DEPTH = 120_000, 50
METRICS = ("hr", "ndcg", "mrr")
CUTS = (5, 10)


def hits(users: int) -> tuple[np.ndarray, np.ndarray]:
    """Lists `(users, 50)` of item numbers, and each user's one relevant item, in the list for about a fifth of them."""
    rng = np.random.default_rng(0)
    start = rng.integers(0, ITEMS, users)
    lists = (start[:, None] + np.arange(DEPTH) * 7) % ITEMS
    place = rng.integers(0, DEPTH * 5, users)
    target = np.where(place < DEPTH, lists[np.arange(users), np.minimum(place, DEPTH - 1)], (start + 3) % ITEMS)
    return lists, target


def ours(users: int) -> tuple[float, dict[str, float]]:
    """Seconds and means of unimp-bench."""
    import polars as pl

    from unimp_bench.metrics.pairs import MetricContext
    from unimp_bench.metrics.spec import METRICS as SPECS
    from unimp_bench.metrics.spec import score

    lists, target = hits(users)
    names = np.array([f"B{n:09d}" for n in range(ITEMS)])
    ids = pl.Series("example_id", [f"u{n:07d}:000010" for n in range(users)])
    flat = pl.Series(names[lists.ravel()]).reshape((users, DEPTH)).arr.to_list()
    scores = pl.Series(np.tile(-np.arange(DEPTH, dtype=np.float32), users)).reshape((users, DEPTH)).arr.to_list()
    predictions = pl.DataFrame({"example_id": ids, "item_ids": flat, "scores": scores})
    answers = pl.DataFrame({"example_id": ids, "cohort": ["in_domain"] * users, "item_ids": names[target]})
    answers = answers.with_columns(pl.concat_list("item_ids"))
    wanted = [f"{name}@{cut}" for name in METRICS for cut in CUTS]
    begin = time.perf_counter()
    frame = score(wanted, answers, predictions, MetricContext(None))
    means = {}
    for name in wanted:
        values = frame.filter(pl.col("metric") == name)["value"].to_numpy()
        means[name] = SPECS[name].interval(values, seed=0).value
    return time.perf_counter() - begin, means


def ranx(users: int) -> tuple[float, dict[str, float]]:
    """Seconds and means of ranx."""
    import warnings

    warnings.simplefilter("ignore")
    from ranx import Qrels, Run, evaluate

    lists, target = hits(users)
    named = {
        f"u{user:07d}": {f"B{item:09d}": float(DEPTH - rank) for rank, item in enumerate(row)}
        for user, row in enumerate(lists.tolist())
    }
    run = Run(named)
    qrels = Qrels({f"u{u:07d}": {f"B{i:09d}": 1} for u, i in enumerate(target.tolist())})
    names = {"hr": "hit_rate", "ndcg": "ndcg", "mrr": "mrr"}
    wanted = {f"{name}@{cut}": f"{names[name]}@{cut}" for name in METRICS for cut in CUTS}
    small = 100  # compiled on a few users first: the clock is for scoring
    evaluate(
        Qrels(dict(list(qrels.qrels.items())[:small])), Run(dict(list(run.run.items())[:small])), [*wanted.values()]
    )
    begin = time.perf_counter()
    found = evaluate(qrels, run, [*wanted.values()])
    return time.perf_counter() - begin, {ours_: float(found[theirs]) for ours_, theirs in wanted.items()}


def recbole(users: int) -> tuple[float, dict[str, float]]:
    """Seconds and means of RecBole's evaluator, fed the finished hit matrix."""
    import warnings

    warnings.simplefilter("ignore")
    # What RecBole's `Config` gives back to numpy, and what it forgets.
    gone = {"float": float, "int": int, "float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}
    for name, kind in gone.items():
        setattr(np, name, kind)
    import torch
    from recbole.evaluator import Evaluator
    from recbole.evaluator.collector import DataStruct

    lists, target = hits(users)
    matrix = (lists == target[:, None]).astype(np.int64)
    struct = DataStruct()
    struct.set("rec.topk", torch.from_numpy(np.concatenate([matrix, np.ones((users, 1), dtype=np.int64)], axis=1)))
    names = {"hr": "Hit", "ndcg": "NDCG", "mrr": "MRR"}
    config = {"metrics": [*names.values()], "topk": [*CUTS, DEPTH], "metric_decimal_place": 9}
    evaluator = Evaluator(config)
    begin = time.perf_counter()
    found = evaluator.evaluate(struct)
    seconds = time.perf_counter() - begin
    renamed = {"hr": "hit", "ndcg": "ndcg", "mrr": "mrr"}
    return seconds, {f"{n}@{c}": float(found[f"{renamed[n]}@{c}"]) for n in METRICS for c in CUTS}


SYSTEMS = {"ours": ours, "ranx": ranx, "recbole": recbole}


def alone(name: str, users: int) -> tuple[float, float, dict[str, float]]:
    """Seconds, peak MB and means of one system in a process of its own."""
    line = [sys.executable, __file__, "--only", name, "--users", str(users)]
    words = subprocess.run(line, check=True, capture_output=True, text=True).stdout.split()
    means = dict(word.split("=") for word in words[2:])
    return float(words[0]), float(words[1]), {key: float(value) for key, value in means.items()}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, nargs="+", default=[50_000, 200_000])
    parser.add_argument("--only", choices=SYSTEMS)
    arguments = parser.parse_args()
    if arguments.only:
        seconds, means = SYSTEMS[arguments.only](arguments.users[0])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(seconds, peak, *(f"{name}={value:.12f}" for name, value in means.items()))
        return
    systems = [name for name in SYSTEMS if name != "recbole" or importlib.util.find_spec("recbole")]
    for users in arguments.users:
        measured = {name: alone(name, users) for name in systems}
        base = measured["ours"]
        for name, (seconds, peak, means) in measured.items():
            apart = max(abs(means[key] - base[2][key]) for key in means)
            speed = f"{seconds:7.2f} s  {seconds / base[0]:6.2f} x ours"
            print(f"{users:>8,} users  {name:<8} {speed}  peak {peak:6,.0f} MB  apart {apart:.1e}")


if __name__ == "__main__":
    main()
