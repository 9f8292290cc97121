"""Patch tokens of every picture, computed once, kept on disk in half precision.

    p pictures in the store, n items asked for, patches and width of the tower

A store is a folder of two files:

    tokens.npy        (p, patches, width) float16, read through a memory map
    features.json     what it was made from: fingerprint of the tower, hash of the picture ids, shape. Written last, by
                      rename: its presence means complete.

While it is made, `tokens.npy.part` grows block by block and `progress.json` says how far it is safe; a killed encode
goes on from there. Rows belong to pictures, not items, so a variant that gives items other pictures of the same
catalogue reads the same store.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimp.errors import CheckpointError, UnimpError
from unimp.pictures import normalised, read_pictures
from unimp.vision import VisionTower

TOKENS, MANIFEST = "tokens.npy", "features.json"
_PART, _PROGRESS = "tokens.npy.part", "progress.json"
_SPARE = 64 * 2**20  # bytes of disk left free beside the store

Report = Callable[[int, int], None]  # pictures done, pictures in all
Reader = Callable[[Sequence[str]], Mapping[str, bytes]]  # encoded pictures by id


@dataclass(frozen=True)
class _Made:
    """What a store is made from; equal means the tokens would be equal."""

    tower: str
    pictures: str
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, tower: VisionTower, ids: Sequence[str]) -> _Made:
        named = hashlib.sha256("\n".join(ids).encode()).hexdigest()
        return cls(tower.fingerprint(), named, (len(ids), tower.patches, tower.width))

    def text(self) -> str:
        return json.dumps(asdict(self) | {"shape": list(self.shape)}, indent=2) + "\n"


class FeatureStore:
    """Patch tokens of the pictures of a catalogue.

    Args:
        tokens: `(p, patches, width)` float16, in memory or mapped.
        ids: the picture ids of its rows.
    """

    def __init__(self, tokens: NDArray[np.float16], ids: Sequence[str]) -> None:
        assert len(tokens) == len(ids)
        self.tokens = tokens
        self._row = {name: row for row, name in enumerate(ids)}

    def items(self, image_ids: Sequence[str | None]) -> ItemFeatures:
        """The store seen by item.

        Args:
            image_ids: the picture of each item; None where it has none.

        Raises:
            UnimpError: a picture that is not in the store.
        """
        rows = np.full(len(image_ids), -1, dtype=np.int64)
        for item, name in enumerate(image_ids):
            if name is not None:
                if name not in self._row:
                    raise UnimpError(f"picture {name} of item {item} is not among the {len(self._row)} encoded ones")
                rows[item] = self._row[name]
        return ItemFeatures(self.tokens, rows)


class ItemFeatures:
    """Patch tokens by item; an item without a picture has zeros.

    Args:
        tokens: `(p, patches, width)` float16.
        rows: row of each item's picture `(items,)`, -1 for none.
    """

    def __init__(self, tokens: NDArray[np.float16], rows: NDArray[np.int64]) -> None:
        self.tokens, self.rows = tokens, rows
        self.present: Tensor = torch.from_numpy(rows >= 0)

    def __len__(self) -> int:
        """How many items there are."""
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int]:
        """Patches and width of an item."""
        return self.tokens.shape[1], self.tokens.shape[2]

    def means(self, block: int = 1024) -> Tensor:
        """Mean patch token of every item `(items, width)`, a block at a time: all patches may not fit in memory."""
        parts = [self[np.arange(start, min(start + block, len(self)))].mean(1) for start in range(0, len(self), block)]
        return torch.cat(parts) if parts else torch.zeros((0, self.shape[1]))

    def __getitem__(self, items: Tensor | NDArray[np.integer[Any]] | Sequence[int]) -> Tensor:
        """Patch tokens `(n, patches, width)` in float32, on the CPU."""
        rows = self.rows[np.asarray(items, dtype=np.int64)]
        out = np.zeros((len(rows), *self.shape), dtype=np.float32)
        known = rows >= 0
        out[known] = self.tokens[rows[known]]
        return torch.from_numpy(out)


def encode_pictures(
    folder: Path,
    tower: VisionTower,
    ids: Sequence[str],
    read: Reader,
    *,
    batch: int = 64,
    block: int = 1024,
    device: torch.device | str = "cpu",
    report: Report | None = None,
) -> FeatureStore:
    """The store of pictures `ids` in `folder`; made, gone on with, or taken as it is if it was made from the same.

    Args:
        folder: where the store lies; one that was made from something else is made anew.
        tower: gives the patch tokens; it is moved to `device` if there is something to do.
        ids: pictures to encode, each once; the order is the order of rows.
        read: fetches encoded pictures by id.
        batch: pictures in one pass of the tower.
        block: pictures that are read together; after each block the work is safe on disk.
        device: where the tower runs.
        report: told how many pictures are done after each batch.

    Raises:
        CheckpointError: a complete store whose file was damaged since.
        UnimpError: a picture that cannot be read, a value beyond half precision, or too little room on the disk.
    """
    made = _Made.of(tower, ids)
    if not ids:
        return FeatureStore(np.zeros(made.shape, dtype=np.float16), ids)  # an empty file cannot be mapped
    if _manifest(folder / MANIFEST) == made.text():
        return _opened(folder, made, ids)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)  # first: from here on the folder is not complete
    (folder / TOKENS).unlink(missing_ok=True)
    done = _safe_so_far(folder, made)
    if done == 0:
        _check_room(folder, tower.size_in_bytes(len(ids)))
        tokens = np.lib.format.open_memmap(folder / _PART, mode="w+", dtype=np.float16, shape=made.shape)
    else:
        tokens = np.lib.format.open_memmap(folder / _PART, mode="r+")
    tower.to(device)
    while done < len(ids):
        stop = min(done + block, len(ids))
        files = read(ids[done:stop])  # a block at a time, since a reader may have to pass over whole files
        for start in range(done, stop, batch):
            end = min(start + batch, stop)
            tokens[start:end] = _encoded(tower, ids[start:end], files, device)
            if report is not None:
                report(end, len(ids))
        tokens.flush()
        done = stop
        _replace(folder / _PROGRESS, json.dumps({"made": made.text(), "done": done}))
    del tokens  # the map must be closed before its file is renamed on every system
    (folder / _PART).replace(folder / TOKENS)
    _replace(folder / MANIFEST, made.text())
    (folder / _PROGRESS).unlink(missing_ok=True)
    return _opened(folder, made, ids)


def _encoded(
    tower: VisionTower, names: Sequence[str], files: Mapping[str, bytes], device: torch.device | str
) -> NDArray[np.float16]:
    if absent := [name for name in names if name not in files]:
        raise UnimpError(f"picture {absent[0]} is named by an item but not there; build the dataset again")
    pixels = torch.from_numpy(read_pictures([files[name] for name in names], tower.size, names))
    found = tower(normalised(pixels.to(device))).half()
    if not bool(torch.isfinite(found).all()):
        worst = int((~torch.isfinite(found).flatten(1).all(1)).nonzero()[0])
        raise UnimpError(f"patch tokens of picture {names[worst]} are not finite in half precision; check the tower")
    values: NDArray[np.float16] = found.cpu().numpy()
    return values


def _opened(folder: Path, made: _Made, ids: Sequence[str]) -> FeatureStore:
    file = folder / TOKENS
    try:
        tokens = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as problem:
        raise CheckpointError(f"{file} is damaged ({problem}); remove {folder} and encode again") from problem
    if tokens.shape != made.shape or tokens.dtype != np.float16:
        raise CheckpointError(f"{file} holds {tokens.dtype} {tokens.shape}; remove {folder} and encode again")
    return FeatureStore(tokens, ids)


def _manifest(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def _safe_so_far(folder: Path, made: _Made) -> int:
    """How many pictures of an interrupted encode can be kept: those before the last flush, of the same request."""
    text = _manifest(folder / _PROGRESS)
    if text is None:
        return 0
    try:
        said = json.loads(text)
        if said["made"] != made.text():
            return 0
        found = np.load(folder / _PART, mmap_mode="r", allow_pickle=False)
        return int(said["done"]) if found.shape == made.shape and found.dtype == np.float16 else 0
    except (OSError, ValueError, EOFError, KeyError, TypeError):
        return 0  # nothing to go on from: begin again


def _check_room(folder: Path, wanted: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < wanted + _SPARE:
        raise UnimpError(
            f"patch tokens need {wanted / 2**30:.1f} GiB, {folder} has {free / 2**30:.1f} GiB free; "
            "take a larger pool or another folder"
        )


def _replace(file: Path, text: str) -> None:
    part = file.with_name(file.name + ".part")
    with part.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    part.replace(file)
