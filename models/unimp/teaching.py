"""A small CLIP taught on a catalogue's own pictures and titles, without ever holding all encoded pictures.

n pictures, s pixels a side
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import CLIPVisionConfig

from unimp.contrastive import ContrastiveSettings, train_clip
from unimp.errors import UnimpError
from unimp.item_text import UNKNOWN
from unimp.pictures import read_pictures
from unimp.shop import Items
from unimp.text import TextEncoder
from unimp.vision import VisionTower

MOST = 20_000  # pictures to learn from; the others, of a larger catalogue, are only encoded
_BLOCK = 512  # encoded pictures in memory at a time


def drawn(items: Items) -> list[int]:
    """Items with a picture, at most `MOST`: those of the smallest hashes; by picture, as the files are."""
    rows = [row for row, name in enumerate(items.picture_ids) if name is not None]
    if len(rows) > MOST:
        rows = sorted(rows, key=lambda row: hashlib.sha256(items.ids[row].encode("utf-8", "surrogatepass")).digest())
    return sorted(rows[:MOST], key=lambda row: (str(items.picture_ids[row]), row))


def titles_of(items: Items, rows: Sequence[int]) -> list[str | None]:
    """Titles of items; None where there is none."""
    return [None if items.titles[row] == UNKNOWN else items.titles[row] for row in rows]


def blocks(items: Items, names: Sequence[str]) -> Iterator[tuple[int, list[bytes]]]:
    """Encoded pictures in the order of their names, some hundreds at a time, with the place of the first.

    Raises:
        UnimpError: a picture is not there.
    """
    for start in range(0, len(names), _BLOCK):
        some = names[start : start + _BLOCK]
        found = items.pictures(some)
        if absent := [name for name in some if name not in found]:
            raise UnimpError(f"picture {absent[0]} is named by an item but not there; build the dataset again")
        yield start, [found[name] for name in some]


def teach(
    items: Items,
    rows: Sequence[int],
    words: TextEncoder,
    sizes: Mapping[str, Any],
    settings: ContrastiveSettings,
    *,
    device: torch.device,
    checkpoint: Path,
    report: Callable[[int, int, float], None],
    pool: int = 1,
) -> VisionTower:
    """The tower of a CLIP that learned to match the pictures of some items with their titles.

    Args:
        items: the catalogue.
        rows: items to learn from, `drawn`.
        words: reads titles.
        sizes: of the tower, as `CLIPVisionConfig` takes them.
        settings: of the training.
        device: where it is computed.
        checkpoint: file by which a killed training goes on.
        report: told of steps done, all steps, and the loss.
        pool: see `VisionTower`.
    """
    names, side = [str(items.picture_ids[row]) for row in rows], int(sizes["image_size"])
    pixels = np.empty((len(names), side, side, 3), dtype=np.uint8)
    for start, files in blocks(items, names):
        at = slice(start, start + len(files))
        pixels[at] = read_pictures(files, side, names[at])
    clip = train_clip(
        pixels,
        titles_of(items, rows),
        words,
        CLIPVisionConfig(**sizes),
        settings,
        device=device,
        checkpoint=checkpoint,
        report=report,
    )
    return VisionTower.from_clip(clip, pool=pool)
