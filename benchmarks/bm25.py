"""BM25 at 120,000 items and 20,000 queries of which 500 differ, against a plain loop over rank_bm25's `get_scores`.

    python benchmarks/bm25.py [--items N] [--queries N] [--distinct N] [--only ours|loop]

Random texts whose words are as unequally frequent as those of a language (Zipf); a query is some words of one item's
text, and the first queries are asked most. Both systems index the same texts cut into the same words (rank_bm25's
`BM25Okapi` counts words and makes idf for both). Then, each in a process of its own:

    ours   the runner `bm25`: a sparse product for each distinct query, its row handed to everybody who asked it
    loop   `BM25Okapi.get_scores` query by query, each distinct one measured once; for all queries the seconds of each
           are counted as often as it is asked, which is told as "by count" and was not run

All scores of all distinct queries must be equal (relative difference at most 1e-9), or the script fails. Ranking,
which is the same work for both, is left out, and so is writing scores for that comparison. Seconds are those of the
processor, so that other work on the machine counts less.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

WORDS, BRANDS, CATEGORIES = 40_000, 3_000, 600


def shop(items: int, queries: int, distinct: int) -> tuple[pl.DataFrame, list[str], np.ndarray]:
    """Items with text, different queries, and the number of the query that each of `queries` users asks."""
    rng = np.random.default_rng(0)

    def drawn(count: int, of: int) -> np.ndarray:
        share = 1 / (np.arange(of) + 10)
        return rng.choice(of, count, p=share / share.sum())

    lengths = rng.integers(4, 16, items)
    words = np.split(drawn(int(lengths.sum()), WORDS), np.cumsum(lengths)[:-1])
    titles = [" ".join(f"w{word}" for word in some) for some in words]
    brands = [f"brand{number}" for number in drawn(items, BRANDS)]
    leaves = drawn(items, CATEGORIES)
    paths = [["Shop", f"part{leaf // 30}", f"kind{leaf // 5}", f"leaf{leaf}"] for leaf in leaves]
    frame = pl.DataFrame({"title": titles, "brand": brands, "categories": paths})
    asked: dict[str, None] = {}  # an ordered set
    while len(asked) < distinct:
        item = int(rng.integers(items))
        text = [*titles[item].split(), brands[item], *paths[item]]
        asked[" ".join(rng.choice(text, rng.integers(2, 7)))] = None
    users = np.concatenate([np.arange(distinct), drawn(queries - distinct, distinct)])
    return frame, list(asked), rng.permutation(users)


def ours(sizes: tuple[int, int, int], out: Path) -> dict[str, float]:
    """Seconds of the index, of all distinct queries, and of the runner's answers to all users."""
    from unimp_baselines.bm25 import BM25
    from unimp_baselines.common import blocks
    from unimp_bench.dataset import Catalogue
    from unimp_bench.runners.protocol import Context

    items, queries, users = shop(*sizes)
    runner, view = BM25(), Catalogue(items, frozenset(), ())
    begin = time.process_time()
    index = runner._index(view)
    seconds = {"index": time.process_time() - begin, "distinct": 0.0, "all": 0.0}
    row = {query: number for number, query in enumerate(queries)}
    with out.open("wb") as file:
        for block in blocks(pl.DataFrame({"query": queries}), items.height):
            begin = time.process_time()
            scores = index.scores(block["query"].to_list())
            seconds["distinct"] += time.process_time() - begin
            scores.tofile(file)
    text = {f"e{n:07d}": queries[number] for n, number in enumerate(users)}
    examples = pl.DataFrame({"example_id": list(text), "query": list(text.values())})
    answers = runner.predict("search", examples, view, Context(0, Path()))
    seen: set[str] = set()
    told = 0
    while True:
        begin = time.process_time()
        block = next(answers, None)
        seconds["all"] += time.process_time() - begin
        if block is None:
            break
        told += len(block.example_ids)
        for place, example in enumerate(block.example_ids):
            if text[example] in seen:
                continue
            seen.add(text[example])
            stored = np.fromfile(out, count=items.height, offset=row[text[example]] * items.height * 8)
            assert np.allclose(block.scores[place], stored, rtol=1e-6, atol=1e-6)
    assert told == len(users) and seen == set(queries)
    return seconds


def loop(sizes: tuple[int, int, int], out: Path) -> dict[str, float]:
    """Seconds of the index, of all distinct queries, and by count of all queries."""
    from rank_bm25 import BM25Okapi

    from unimp_baselines.bm25 import documents, tokens

    items, queries, users = shop(*sizes)
    begin = time.process_time()
    index = BM25Okapi([tokens(text) for text in documents(items)], k1=1.5, b=0.75, epsilon=0.25)
    seconds = {"index": time.process_time() - begin}
    each = np.zeros(len(queries))
    with out.open("wb") as file:
        for number, query in enumerate(queries):
            begin = time.process_time()
            scores = index.get_scores(tokens(query))
            each[number] = time.process_time() - begin
            scores.tofile(file)
    return seconds | {"distinct": float(each.sum()), "all": float(each[users].sum())}


SYSTEMS = {"ours": ours, "loop": loop}


def apart(one: Path, other: Path, items: int, distinct: int) -> float:
    """The largest difference of two files of scores, which must be equal but for rounding."""
    most = 0.0
    for row in range(distinct):
        left, right = (np.fromfile(path, count=items, offset=row * items * 8) for path in (one, other))
        assert np.allclose(left, right, rtol=1e-9, atol=1e-9), f"query {row} has other scores"
        most = max(most, float(np.abs(left - right).max()))
    return most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=120_000)
    parser.add_argument("--queries", type=int, default=20_000)
    parser.add_argument("--distinct", type=int, default=500)
    parser.add_argument("--only", choices=SYSTEMS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    sizes = (given.items, given.queries, given.distinct)
    if given.out:
        seconds = SYSTEMS[given.only](sizes, given.out)
        print(json.dumps(seconds | {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
        return
    measured: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in [given.only] if given.only else SYSTEMS:
            line = [sys.executable, __file__, "--only", name, "--out", f"{scratch}/{name}"]
            line += [f"--items={given.items}", f"--queries={given.queries}", f"--distinct={given.distinct}"]
            measured[name] = json.loads(subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout)
            told = measured[name]
            print(
                f"{name:<5} index {told['index']:6.2f} s   {given.distinct:,} distinct {told['distinct']:8.3f} s   "
                f"all {given.queries:,} {told['all']:9.2f} s{' (by count)' if name == 'loop' else ''}   "
                f"peak {told['peak']:,.0f} MB",
                flush=True,
            )
        if len(measured) == 2:
            most = apart(Path(scratch) / "ours", Path(scratch) / "loop", given.items, given.distinct)
            mine, theirs = measured["ours"], measured["loop"]
            print(
                f"loop / ours: distinct {theirs['distinct'] / mine['distinct']:.0f} x, all "
                f"{theirs['all'] / mine['all']:.0f} x, all distinct ones against ours for everybody "
                f"{theirs['distinct'] / mine['all']:.0f} x; scores equal, at most {most:.1e} apart"
            )


if __name__ == "__main__":
    main()
