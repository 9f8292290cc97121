"""Start-up and encoding with 120,000 items: ids built beside the tokenizer, and the same ids as tokens added to it.

    python benchmarks/large_catalogue.py [--items N] [--texts N]

`beside` is what this package does: `item_k` is a number, text is encoded by the bare tokenizer. `added` gives the same
tokenizer a token an item, saves and loads it, and encodes the same texts with the item's name at the end of each.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from unimp.text import TextEncoder, load_tokenizer, save_tokenizer, train_tokenizer
from unimp.vocabulary import Vocabulary

WORDS = ("low", "top", "sneaker", "leather", "woven", "black", "blue", "gift", "card", "string", "cable", "shirt")


def texts(count: int) -> list[str]:
    """Item texts like those of a catalogue, about 20 words each."""
    rng = np.random.default_rng(0)
    return [" ".join(WORDS[word] for word in rng.integers(0, len(WORDS), 20)) + f" {n}" for n in range(count)]


def beside(folder: Path, items: int, said: list[str]) -> tuple[float, float, int]:
    """Seconds to start, seconds to encode, ids."""
    begin = time.perf_counter()
    encoder = TextEncoder(load_tokenizer(folder))
    ids = Vocabulary(encoder.size, candidates=20, codes=1024, items=items)
    started = time.perf_counter()
    named = ids.items_named(np.arange(len(said)) % items)
    rows = [np.append(one, name) for one, name in zip(encoder.encode(said), named, strict=True)]
    return started - begin, time.perf_counter() - started, sum(len(row) for row in rows)


def added(folder: Path, items: int, said: list[str]) -> tuple[float, float, int, float]:
    """Seconds to start, seconds to encode, ids, seconds to add and save (once)."""
    begin = time.perf_counter()
    tokenizer = load_tokenizer(folder)
    tokenizer.add_tokens([AddedToken(f"item_{number}", normalized=False) for number in range(items)])
    save_tokenizer(tokenizer, folder / "added")
    saved = time.perf_counter() - begin
    begin = time.perf_counter()
    loaded = PreTrainedTokenizerFast.from_pretrained(folder / "added")
    started = time.perf_counter()
    rows = loaded([f"{one}item_{number % items}" for number, one in enumerate(said)], add_special_tokens=False)
    return started - begin, time.perf_counter() - started, sum(len(row) for row in rows["input_ids"]), saved


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=120_000)
    parser.add_argument("--texts", type=int, default=20_000)
    said = parser.parse_args()
    corpus = texts(said.texts)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        save_tokenizer(train_tokenizer(corpus[:2000], 2000), folder)
        ours, theirs = beside(folder, said.items, corpus), added(folder, said.items, corpus)
    if ours[2] != theirs[2]:
        raise SystemExit(f"the two give {ours[2]} and {theirs[2]} ids")
    print(f"{said.items} items, {said.texts} texts, {ours[2]} ids")
    print("       | start-up s | encoding s | adding and saving s (once)")
    print(f"beside | {ours[0]:10.3f} | {ours[1]:10.3f} | -")
    print(f"added  | {theirs[0]:10.3f} | {theirs[1]:10.3f} | {theirs[3]:.3f}")
    print(f"ratio  | {theirs[0] / ours[0]:10.1f} | {theirs[1] / ours[1]:10.2f} |")


if __name__ == "__main__":
    main()
