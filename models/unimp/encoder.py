"""The small CLIP as an encoder of item pictures, for systems that are not UniMP.

    n pictures, s pixels a side, width of the tower

The entry points `unimp_tower` and `unimp_tower:` of the group `unimp_bench.encoders` find it; it imports nothing of the
toolkit, and takes from a catalogue and its circumstances what `View` and `Circumstances` name. Without a folder, the
tower of preset `tiny` is trained on the pictures and titles of the catalogue without noise, with a seed of its own, and
kept; with one, it is the tower that `unimp-bench pretrain --model unimp --out FOLDER` left there.

An item is its picture's pooled vector (CLS after the final norm, before the projection), brought to length 1.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from unimp import teaching
from unimp.config import CLIP_TINY
from unimp.contrastive import ContrastiveSettings
from unimp.disk import by_rename
from unimp.errors import CheckpointError, UnimpError
from unimp.folders import items_of
from unimp.options import BUDGETS
from unimp.pictures import normalised, read_pictures
from unimp.shop import Items
from unimp.text import TextEncoder, train_tokenizer
from unimp.threads import at_most
from unimp.vision import VisionTower

_BUDGET = BUDGETS["tiny"]
_SETTINGS = ContrastiveSettings(steps=_BUDGET.tower_steps, seed=0)
_BATCH = 64  # pictures in one pass of the tower


class View(Protocol):
    """What is read of a catalogue."""

    @property
    def items(self) -> Any:
        """The items, as a frame with `to_arrow`."""

    @property
    def text_fields(self) -> Sequence[tuple[str, str]]:
        """Label and source of the fields of an item's text."""

    @property
    def images(self) -> Sequence[Path]:
        """Files with pictures."""

    @property
    def clean(self) -> View:
        """The same without noise."""


class Told(Protocol):
    """Who is told how far it is."""

    def start(self, name: str, total: int | None = None, unit: str = "rows") -> None:
        """A stage of so many units begins."""

    def advance(self, count: int = 1) -> None:
        """That many more are done."""

    def finish(self) -> None:
        """The stage is done."""


class Circumstances(Protocol):
    """Where to keep things, and who is told."""

    @property
    def features(self) -> Path | None:
        """The folder that all runs share, if there is one."""

    @property
    def scratch(self) -> Path:
        """A folder of this run's own."""

    @property
    def progress(self) -> Told:
        """Who is told."""


class Tower:
    """Picture vectors of a small CLIP that this shop's own pictures and titles taught.

    Args:
        folder: what UniMP's pre-training made, or a tower in the format of published ones; None trains one.
    """

    modality: ClassVar[Literal["image"]] = "image"
    errors: ClassVar[tuple[type[Exception], ...]] = (UnimpError,)

    def __init__(self, folder: str | None = None) -> None:
        self._folder = None if folder is None else Path(folder).expanduser()

    @cached_property
    def _given(self) -> VisionTower | None:
        """The tower of the folder; None where one is to be trained.

        Raises:
            CheckpointError: the folder holds none.
        """
        if self._folder is None:
            return None
        inside = self._folder / "tower"
        place = inside if inside.is_dir() else self._folder
        if not (place / "config.json").is_file():
            raise CheckpointError(
                f"{self._folder} holds no tower; name a folder that `unimp-bench pretrain --model unimp` made"
            )
        return VisionTower.from_pretrained(place)

    def identity(self) -> str:
        """Version and, of a given tower, the hash of its weights, else all that decides them beside the catalogue."""
        if self._given is not None:
            return f"unimp_tower 1 {self._given.fingerprint()}"
        decides = {**asdict(_SETTINGS), "vision": CLIP_TINY, "vocabulary": _BUDGET.vocabulary, "most": teaching.MOST}
        return f"unimp_tower 1 {json.dumps(decides, sort_keys=True)}"

    def encode(self, view: View, context: Circumstances) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Vectors `(items, width)` of length 1 and which items have a picture `(items,)`; zeros for the others."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        tower = self._given or self._trained(_items(view.clean), context, device)
        tower.to(device)
        items = _items(view)
        names = sorted({name for name in items.picture_ids if name is not None})
        place = {name: row for row, name in enumerate(names)}
        rows = np.zeros((len(names), tower.width), dtype=np.float32)
        context.progress.start("pictures", len(names), "pictures")
        for start, files in teaching.blocks(items, names):
            for first in range(0, len(files), _BATCH):
                at = slice(start + first, start + min(first + _BATCH, len(files)))
                pixels = read_pictures(files[first : first + _BATCH], tower.size, names[at])
                vectors = tower.pooled(normalised(torch.from_numpy(pixels).to(device)))
                rows[at] = functional.normalize(vectors, dim=1).cpu().numpy()
                context.progress.advance(len(pixels))
        context.progress.finish()
        shown = np.array([-1 if name is None else place[name] for name in items.picture_ids], dtype=np.int64)
        values = np.zeros((len(shown), tower.width), dtype=np.float32)
        values[shown >= 0] = rows[shown[shown >= 0]]
        return values, shown >= 0

    def _trained(self, items: Items, context: Circumstances, device: torch.device) -> VisionTower:
        """The tower of a catalogue: found, or trained and kept; a killed training goes on."""
        asked = hashlib.sha256(f"{self.identity()}\n".encode())
        for picture, title in zip(items.picture_ids, items.titles, strict=True):
            asked.update(f"{picture}\0{title}\n".encode("utf-8", "surrogatepass"))
        folder = (context.features or context.scratch) / f"unimp_tower-{asked.hexdigest()[:16]}"
        if not (folder / "config.json").is_file():
            self._train(items, folder, context.progress, device)
        return VisionTower.from_pretrained(folder)

    def _train(self, items: Items, folder: Path, progress: Told, device: torch.device) -> None:
        rows = teaching.drawn(items)
        titles = [title or "" for title in teaching.titles_of(items, rows)]
        done = 0

        def report(step: int, steps: int, loss: float) -> None:
            nonlocal done
            progress.advance(step - done)
            done = step

        checkpoint = folder.with_name(f"{folder.name}.checkpoint")
        progress.start("vision tower", _SETTINGS.steps, "steps")
        with at_most(_BUDGET.threads):
            tower = teaching.teach(
                items,
                rows,
                TextEncoder(train_tokenizer(titles, _BUDGET.vocabulary)),
                CLIP_TINY,
                _SETTINGS,
                device=device,
                checkpoint=checkpoint,
                report=report,
            )
        progress.finish()
        by_rename(folder, tower.save_pretrained)
        checkpoint.unlink(missing_ok=True)


def _items(view: View) -> Items:
    return items_of(view.items.to_arrow(), view.text_fields, view.images)
