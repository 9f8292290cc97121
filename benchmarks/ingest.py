"""Raw dump to canonical frames: how much slower than unpacking alone, how much faster than a plain Python loop.

A 2014-format dump of a million reviews and 300,000 metadata lines is generated once, with 5 % of the reviews in the
5-core. Three fresh processes then read it: `gzip -dc`, a json / ast.literal_eval loop, and our own source adapter with
duplicates and core filter. Printed: seconds, both ratios, the stages of ours, and each one's peak memory.

    python benchmarks/ingest.py [--work DIR] [--reviews N] [--products N] [--skip-loop]
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

OFFICIAL = "Clothing_Shoes_and_Jewelry"
DOMAIN = "clothing_shoes_and_jewelry"
CORE_SHARE = 0.05
PER_CORE_USER = 10
LOOP = """
import ast, gzip, json, sys
for line in gzip.open(sys.argv[1], "rt"):
    json.loads(line)
for line in gzip.open(sys.argv[2], "rt"):
    ast.literal_eval(line)
"""


def words(rng: np.random.Generator) -> list[str]:
    """A vocabulary of 20,000 made-up words, frequent ones first."""
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    return ["".join(rng.choice(letters, size=n)) for n in rng.integers(2, 10, size=20_000)]


class Prose:
    """Sentences of a million Zipf-drawn words, cut where asked; cheap enough for gigabytes."""

    def __init__(self, rng: np.random.Generator) -> None:
        vocabulary = np.array(words(rng))
        ranks = np.minimum(rng.zipf(1.3, size=1_000_000) - 1, len(vocabulary) - 1)
        self._rng = rng
        self._text = " ".join(vocabulary[ranks].tolist())

    def cut(self, length: int) -> str:
        start = int(self._rng.integers(0, len(self._text) - length))
        return self._text[start : start + length]


def asin(number: int) -> str:
    return f"B{number:09X}"


def user(number: int) -> str:
    return f"A{number:012X}"


def review(prose: Prose, rng: np.random.Generator, who: int, what: int) -> dict[str, object]:
    seconds = 1_300_000_000 + 86_400 * int(rng.integers(0, 1_000))
    return {
        "reviewerID": user(who),
        "asin": asin(what),
        "reviewerName": prose.cut(14),
        "helpful": [int(rng.integers(0, 5)), 5],
        "reviewText": prose.cut(int(rng.integers(80, 800))) + (" it&#39;s &amp; good" if rng.random() < 0.05 else ""),
        "overall": float(rng.integers(1, 6)),
        "summary": prose.cut(int(rng.integers(10, 50))),
        "unixReviewTime": seconds,
        "reviewTime": time.strftime("%m %d, %Y", time.gmtime(seconds)),
    }


def metadata(prose: Prose, rng: np.random.Generator, what: int, products: int) -> dict[str, object]:
    record: dict[str, object] = {"asin": asin(what)}
    others = [asin(int(n)) for n in rng.integers(0, products, size=int(rng.integers(5, 60)))]
    title = prose.cut(int(rng.integers(20, 90)))
    record["related"] = {"also_bought": others, "also_viewed": others[::3]}
    record["title"] = f"Men's {title}" if rng.random() < 0.15 else title
    if rng.random() < 0.6:
        record["price"] = round(float(rng.uniform(3, 200)), 2)
    record["salesRank"] = {"Clothing": int(rng.integers(1, 10**6))}
    record["imUrl"] = f"http://example.invalid/images/I/{what:011d}._SX342_.jpg"
    if rng.random() < 0.5:
        record["brand"] = prose.cut(8).strip() or "brand"
    record["categories"] = [["Clothing, Shoes & Jewelry", "Women", prose.cut(9)], ["Clothing, Shoes & Jewelry", "Men"]]
    quoted = " 12\" wide, isn't it" if rng.random() < 0.2 else ""
    record["description"] = prose.cut(int(rng.integers(50, 500))) + quoted
    return record


def generate(folder: Path, reviews: int, products: int) -> None:
    """Write the two files, unless they are whole already."""
    done = folder / f"whole-{reviews}-{products}"
    if done.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    prose = Prose(rng)
    core_reviews = int(reviews * CORE_SHARE)
    core_users, core_items = core_reviews // PER_CORE_USER, core_reviews // 20
    pairs: list[tuple[int, int]] = []
    for who in range(core_users):
        pairs += [(who, int(what)) for what in rng.choice(core_items, size=PER_CORE_USER, replace=False)]
    who = core_users
    while len(pairs) < reviews:
        pairs += [(who, int(what)) for what in rng.integers(core_items, products, size=int(rng.integers(1, 5)))]
        who += 1
    # Official files are sorted by item; what survives is spread over all of the file.
    place = rng.permutation(products)
    pairs = sorted(((who, int(place[what])) for who, what in pairs[:reviews]), key=lambda pair: pair[1])
    with gzip.open(folder / f"reviews_{OFFICIAL}.json.gz", "wt", compresslevel=6) as file:
        for one, what in pairs:
            file.write(json.dumps(review(prose, rng, one, what)) + "\n")
    with gzip.open(folder / f"meta_{OFFICIAL}.json.gz", "wt", compresslevel=6) as file:
        for what in range(products):
            file.write(repr(metadata(prose, rng, what, products)) + "\n")
    done.touch()


def ours(folder: Path) -> dict[str, float]:
    """Seconds a stage from the dump to the canonical frames of what survives, in this process."""
    from unimp_bench.data.cores import drop_duplicates, k_core
    from unimp_bench.data.drops import DropLog
    from unimp_bench.data.sources.amazon2014 import Amazon2014
    from unimp_bench.progress import Silent

    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def lap(stage: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[stage] = now - clock
        clock = now

    source, drops, quiet = Amazon2014(folder, (DOMAIN,)), DropLog(), Silent()
    rows = source.rows(drops, quiet)
    seconds["(rows read)"] = rows.height
    lap("rows")
    rows = drop_duplicates(rows, "first", drops)
    rows, _ = k_core(rows, 5, 5)
    seconds["(rows kept)"] = rows.height
    lap("duplicates and 5-core")
    texts = source.texts(rows, quiet)
    assert texts.height == rows.height
    lap("texts")
    items = source.items(rows.select("item_id", "domain").unique(), drops, quiet)
    seconds["(items kept)"] = items.height
    assert items.height == rows["item_id"].n_unique()
    lap("items")
    return seconds


def measured(command: list[str]) -> tuple[float, float, str]:
    """Seconds, peak memory in MB and output of a fresh process."""
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = status
    if status:
        raise SystemExit(f"{command[0]} failed with status {status}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024, output


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "unimp-bench-ingest")
    parser.add_argument("--reviews", type=int, default=1_000_000)
    parser.add_argument("--products", type=int, default=300_000)
    parser.add_argument("--skip-loop", action="store_true", help="do not run the slow Python loop")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder: Path = options.work / f"{options.reviews}-{options.products}"
    if options.child:
        print(json.dumps(ours(folder)))
        return
    print("==> generating the dump (once)", file=sys.stderr)
    generate(folder, options.reviews, options.products)
    sizes = ["--reviews", str(options.reviews), "--products", str(options.products)]
    files = [str(folder / f"{kind}_{OFFICIAL}.json.gz") for kind in ("reviews", "meta")]
    print(f"dump: {' + '.join(f'{Path(f).stat().st_size / 1e6:.0f} MB' for f in files)} packed")
    plain, _, _ = measured(["sh", "-c", 'gzip -dc "$@" > /dev/null', "sh", *files])
    print(f"(a) gzip -dc                       {plain:6.2f} s")
    own, memory, report = measured([sys.executable, __file__, "--child", "--work", str(options.work), *sizes])
    print(f"unimp-bench, whole process         {own:6.2f} s   peak {memory:.0f} MB")
    for stage, value in json.loads(report).items():
        print(f"    {stage:<30} {value:8.0f}" if stage.startswith("(") else f"    {stage:<30} {value:6.2f} s")
    print(f"ratio to (a): {own / plain:.2f} (aim: at most 4)")
    if not options.skip_loop:
        loop, loop_memory, _ = measured([sys.executable, "-c", LOOP, *files])
        print(f"(b) json / ast.literal_eval loop   {loop:6.2f} s   peak {loop_memory:.0f} MB")
        print(f"(b) is {loop / own:.1f} times as long (aim: at least 8)")


if __name__ == "__main__":
    main()
