"""Ranking by item logits in one forward pass, beside ten-beam generation constrained to names of items.

    python benchmarks/decoding.py [--examples N] [--items N] [--batch N]

The model is random, of preset tiny; prompts are searches after five items with pictures. Ways to the first ten items:

- logits: ours, one forward pass;
- beam: ours, ten beams over the trie, each prompt read once;
- generate: transformers' beam search with our trie as its logits processor, in the same batches;
- generate-one: the same, one example at a time, as the released code does.

All are timed for items of one id; beam and generate for semantic ids of four as well. Each runs in a process of its own
on one thread and must find the same lists as logits (or, for semantic ids, the same as the other search).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from hashlib import sha256
from pathlib import Path

import numpy as np

WAYS = (
    ("logits", 1),
    ("beam", 1),
    ("generate", 1),
    ("generate-one", 1),
    ("beam", 4),
    ("generate", 4),
)
TOP = 10
PATCHES = 16


def measure(way: str, levels: int, examples: int, items: int, batch: int) -> dict[str, object]:
    """Seconds, peak memory and the lists that one way finds."""
    import torch

    from unimp.config import PRESETS, UnimpConfig
    from unimp.decoding import Decoder
    from unimp.modeling import Unimp
    from unimp.sequence import Style, Writer
    from unimp.shop import Example
    from unimp.vocabulary import Vocabulary

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    codebook = 64
    semantic = None
    if levels > 1:
        numbers = rng.choice(codebook**levels, items, replace=False)
        semantic = np.stack([numbers // codebook**k % codebook for k in range(levels)], axis=1)
    sizes = {"text_ids": 4000, "items": items, "item_levels": levels, "codebook": codebook if levels > 1 else 0}
    config = UnimpConfig(**PRESETS["tiny"], **sizes)
    model = Unimp(config).eval()
    bodies = [rng.integers(1, 4000, 15).astype(np.int32) for _ in range(items)]
    writer = Writer(
        Vocabulary.of(config, semantic), bodies, bodies, lambda t: [1 + ord(c) % 3999 for c in t[::5]], Style()
    )
    table = torch.randn(1000, PATCHES, config.vision_width)
    asked = [
        Example(str(n), "", rng.integers(0, items, 5), np.full(5, 4.0, np.float32), [None] * 5, query="low top sneaker")
        for n in range(examples)
    ]
    length = 130  # ids of a prompt, about; a batch is bounded in ids
    copies = 1 if way == "logits" else TOP
    decoder = Decoder(model, writer, lambda i: table[i % 1000], np.ones(items, bool), tokens=batch * length * copies)
    if way.startswith("generate"):
        size = 1 if way.endswith("one") else batch

        def answer(part: list[Example]) -> list[list[int]]:
            return by_generate(decoder, part, size)
    else:
        method = "item_logits" if way == "logits" else "constrained_beam"

        def answer(part: list[Example]) -> list[list[int]]:
            return decoder.rank_top("search", part, TOP, method=method)[0].tolist()

    answer(asked[:2])
    begin = time.perf_counter()
    found = answer(asked)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    said = sha256(json.dumps(found).encode()).hexdigest()
    return {"seconds": seconds, "megabytes": peak, "ids": len(decoder.prompt("search", asked[0])), "lists": said}


def by_generate(decoder, examples, size: int) -> list[list[int]]:
    """The first ten items of each example by `generate`."""
    import torch
    from transformers import LogitsProcessorList

    from unimp.batching import collate
    from unimp.trie import TrieProcessor

    model, trie, found = decoder.model, decoder.ranker.trie, []
    for start in range(0, len(examples), size):
        rows = [decoder.prompt("search", one) for one in examples[start : start + size]]
        batch = collate(rows, decoder.reader.has_picture, decoder.vocabulary.pad, left=True)
        with torch.no_grad(), model.seeing(model.latents(decoder.reader.patches(batch.pictures))):
            out = model.generate(
                batch.ids,
                attention_mask=(batch.segments >= 0).long(),
                slots=batch.slots,
                which=batch.which,
                num_beams=TOP,
                num_return_sequences=TOP,
                max_new_tokens=trie.levels,
                early_stopping=True,
                length_penalty=0.0,
                pad_token_id=0,
                eos_token_id=0,
                logits_processor=LogitsProcessorList([TrieProcessor(trie, batch.ids.shape[1], 0)]),
            )
        found += trie.item[trie.walk(out[:, batch.ids.shape[1] :])].view(-1, TOP).tolist()
    return found


def main() -> None:
    """Measure every way and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=32)
    parser.add_argument("--items", type=int, default=120_000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--levels", type=int, default=1, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        print(json.dumps(measure(given.way, given.levels, given.examples, given.items, given.batch)))
        return
    found, one_thread = {}, {**os.environ, "OMP_NUM_THREADS": "1"}  # batches are not read at once either
    for way, levels in WAYS:
        command = [sys.executable, __file__, "--way", way, "--levels", str(levels)]
        command += [f"--{name}={getattr(given, name)}" for name in ("examples", "items", "batch")]
        out = subprocess.run(command, check=True, capture_output=True, text=True, env=one_thread).stdout
        found[way, levels] = json.loads(out.splitlines()[-1])
    print(f"{given.examples} searches over {given.items} items, prompts of about {found['logits', 1]['ids']} ids")
    for (way, levels), one in found.items():
        base = found["logits", 1] if levels == 1 else found["beam", levels]
        same = one["lists"] == base["lists"]
        print(
            f"{way:13} {levels} id(s) a name: {one['seconds']:7.2f} s, {one['seconds'] / base['seconds']:6.1f} x, "
            f"peak {one['megabytes']:5.0f} MB, {'same lists' if same else 'OTHER LISTS'}"
        )


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))
    main()
