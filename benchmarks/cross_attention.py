"""Cross-attention to one's own picture, in groups, beside dense scores of every picture of the row under a mask.

    python benchmarks/cross_attention.py [--pictures N ...] [--rows N] [--words N] [--device cpu|cuda] [--small]

Both compute the same attention of the paper's widths (text 2560, pictures 1024, 8 heads of 64, 64 latents) from the
same rows, forwards and backwards, in a process of their own, and must agree. `dense` is what OpenFlamingo computes:
scores of a row's tokens and all latents of that row, then masked. `scores` is attention from ready queries, keys and
values; `with projections` adds the four linear maps around it, equal in both. The feed-forward part is left out.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import torch
from torch import Tensor, nn
from torch.nn import functional

from unimp.fusion import GatedCrossAttention, Media
from unimp.resampler import join_heads, split_heads
from unimp.routes import Routes

TEXT, VISION, HEADS, HEAD, LATENTS = 2560, 1024, 8, 64, 64
SMALL = (256, 192, 4, 32, 8)
REPEATS = 5


def grouped(block: GatedCrossAttention, x: Tensor, latents: Tensor, slots: Tensor) -> Tensor:
    """What the model runs, groups made anew each time."""
    return block._look(x, Media(latents, slots, Routes.of(slots)))


def dense(block: GatedCrossAttention, x: Tensor, latents: Tensor, slots: Tensor) -> Tensor:
    """Every row has as many pictures: keys of a row `(rows, heads, pictures * latents, head)`."""
    rows = len(x)
    pictures = len(latents) // rows
    k, v = (
        split_heads(part.unflatten(0, (rows, pictures)).flatten(1, 2), block.heads)
        for part in block.to_kv(latents).chunk(2, dim=-1)
    )
    own = slots - torch.arange(rows, device=x.device).unsqueeze(1) * pictures
    mask = (own.unsqueeze(-1) == torch.arange(pictures, device=x.device)).repeat_interleave(latents.shape[1], dim=-1)
    q = split_heads(block.to_q(block.norm(x)), block.heads)
    return block.to_out(join_heads(functional.scaled_dot_product_attention(q, k, v, attn_mask=mask.unsqueeze(1))))


def measure(kind: str, part: str, pictures: int, rows: int, words: int, device: str, small: bool) -> None:
    """Print seconds a pass, peak memory in MiB and a sum that both kinds must share."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    text, vision, heads, head, count = SMALL if small else (TEXT, VISION, HEADS, HEAD, LATENTS)
    if part == "scores":  # what comes in is queries, keys and values already
        text, vision = heads * head, 2 * heads * head
    block = GatedCrossAttention(text, vision, heads, head, 1, 0.5).to(device)
    if part == "scores":
        block.norm = block.to_q = block.to_kv = block.to_out = nn.Identity()
    x = torch.randn(rows, pictures * words, text, device=device, requires_grad=True)
    latents = torch.randn(rows * pictures, count, vision, device=device, requires_grad=True)
    slots = torch.arange(rows * pictures, device=device).repeat_interleave(words).view(rows, -1)
    run = grouped if kind == "grouped" else dense
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = []
    for _ in range(REPEATS + 1):
        if device == "cuda":
            torch.cuda.synchronize()
        begin = time.perf_counter()
        out = run(block, x, latents, slots)
        out.square().mean().backward()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    if device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
    print(f"{sorted(seconds[1:])[REPEATS // 2]} {peak} {out.detach().double().square().sum().item()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, nargs="+", default=[5, 20])
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--words", type=int, default=32, help="tokens that see each picture")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--small", action="store_true", help="widths of preset small")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.measure:
        measure(*said.measure, said.pictures[0], said.rows, said.words, said.device, said.small)
        return
    print("what             | pictures a row | tokens a row | grouped s | dense s | ratio | grouped MiB | dense MiB")
    for part in ("scores", "with projections"):
        for pictures in said.pictures:
            found = {}
            for kind in ("grouped", "dense"):
                command = [sys.executable, __file__, "--measure", kind, part, "--pictures", str(pictures)]
                command += ["--rows", str(said.rows), "--words", str(said.words), "--device", said.device]
                command += ["--small"] if said.small else []
                out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                found[kind] = [float(one) for one in out.split()]
            ours, theirs = found["grouped"], found["dense"]
            if abs(ours[2] - theirs[2]) > 1e-4 * abs(theirs[2]):
                raise SystemExit(f"the two disagree at {pictures} pictures: {ours[2]} and {theirs[2]}")
            print(
                f"{part:16} | {pictures:14} | {pictures * said.words:12} | {ours[0]:9.3f} | {theirs[0]:7.3f} | "
                f"{theirs[0] / ours[0]:5.2f} | {ours[1]:11.0f} | {theirs[1]:9.0f}"
            )


if __name__ == "__main__":
    main()
