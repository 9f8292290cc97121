"""A saved system on disk: its parts beside its weights, and the notes that say whose they are.

unimp.json             options, catalogue, and the names of the parts that it answers with
model/                 configuration and weights of the model
<task>.safetensors     weights that a task has of its own
tokenizer/ tower/      parts; also images/ and semantic.safetensors, where it has them
neighbours.safetensors what customers bought close to each other, where rankings count it
features/              patch tokens of pictures; made again where they are gone
tensorboard/<stage>/   the log of each stage of its training; nothing reads it here
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from unimp.config import UnimpConfig
from unimp.disk import write_text, writing
from unimp.errors import CheckpointError, UnimpError
from unimp.modeling import Unimp
from unimp.neighbours import Neighbours
from unimp.options import Options
from unimp.parts import Parts, Report, codes_of, covers, make_features
from unimp.quiet import quiet
from unimp.shop import Items
from unimp.text import TextEncoder, load_tokenizer
from unimp.vision import VisionTower

if TYPE_CHECKING:
    from unimp.system import System


FACTS = "unimp.json"
SEMANTIC = "semantic.safetensors"
NEIGHBOURS = "neighbours.safetensors"
LOGS = "tensorboard"


def save(system: System, folder: Path) -> None:
    """Write everything of a system that answering needs; what says that it is whole comes last.

    Raises:
        CheckpointError: the disk is full or not writable.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with quiet():
            system.model.save_pretrained(folder / "model")
        for task, changed in system.heads.items():
            write_weights(folder / f"{task}.safetensors", changed)
        if system.semantic is not None:
            write_weights(folder / SEMANTIC, {"codes": torch.from_numpy(system.semantic)})
        if system.neighbours is not None and system.counts_neighbours:
            write_weights(folder / NEIGHBOURS, system.neighbours.tensors())
        kept = needed(system.model.config)
        save_parts(kept, system.parts_folder, folder)
        save_logs(system.folder, folder)
        facts = {
            "options": dataclasses.asdict(system.options),
            "seed": system.seed,
            "tasks": list(system.tasks),
            "seconds": system.seconds,
            "domains": sorted(system.domains),
            "items": len(system.item_ids),
            "catalogue": catalogue_hash(system.item_ids),
            "heads": sorted(system.heads),
            "parts": kept,
            "image_places": system.style.image_places,
            "decisions": system.decisions.facts(),
            "parameters": sizes(system.model, system.parts),
        }
        (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n")


def needed(config: UnimpConfig) -> list[str]:
    """Names, in a saved folder, of the parts that a model of this configuration cannot answer without."""
    eyes, draws, named = config.vision is not None, config.image_codes > 0, config.item_levels > 1
    return ["tokenizer", *["tower"] * eyes, *["images"] * draws, *[SEMANTIC] * named]


def save_parts(kept: Collection[str], made: Path, folder: Path) -> None:
    """Put parts that were made in `made` beside a saved model; files are linked, where the disk can, not copied.

    What stands in `made` and is none of the model's own, as in parts that several variants share, stays there.

    Raises:
        CheckpointError: one of them is neither there nor written yet.
    """
    for name in kept:
        if (made / name).is_dir():
            _link_tree(made / name, folder / name)
        elif not (folder / name).exists():
            raise CheckpointError(f"{made} holds no {name}; fit again")
    if "tower" in kept and (made / "features").is_dir():
        _link_tree(made / "features", folder / "features")


def save_logs(worked: Path, folder: Path) -> None:
    """Keep the TensorBoard logs of all stages below a working folder, or those of a saved system that it is."""
    for log in sorted(worked.glob(f"**/stages/*/{LOGS}")):
        _link_tree(log, folder / LOGS / log.parent.name)
    if (worked / LOGS).is_dir():
        _link_tree(worked / LOGS, folder / LOGS)


def _link_tree(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.iterdir()):
        if file.is_dir():
            _link_tree(file, target / file.name)
            continue
        try:
            os.link(file, target / file.name)
        except OSError:
            shutil.copy2(file, target / file.name)


def present(folder: Path, facts: Mapping[str, Any], config: UnimpConfig) -> list[str]:
    """Names of the parts of a saved system, all of them there.

    The system's own note says which they are. A folder without one, of an earlier version, is taken to have those that
    the configuration of its model needs: a tower where the model sees, codes of pictures where it draws.

    Raises:
        CheckpointError: one is missing.
    """
    kept: list[str] = facts.get("parts") or needed(config)
    for name in kept:
        _part(folder, name)
    return kept


def _part(folder: Path, name: str) -> Path:
    if not (folder / name).exists():
        raise CheckpointError(f"{folder} lacks '{name}', a part of the system; copy the whole folder or fit it again")
    return folder / name


def load_parts(
    folder: Path,
    kept: Collection[str],
    items: Items,
    options: Options,
    work: Path,
    report: Report,
    device: torch.device,
) -> Parts:
    """The parts that `save_parts` kept, for a catalogue's words and pictures; no others, whatever lies there."""
    encoder = TextEncoder(load_tokenizer(folder / "tokenizer"))
    tower = features = tokens = codes = None
    if "tower" in kept:
        tower = VisionTower.from_pretrained(folder / "tower", pool=options.pool)
        store = folder / "features"
        features = make_features(items, tower, store if covers(store, items) else work / "features", report, device)
    if "images" in kept:
        from unimp.image_tokens import ImageTokenizer

        store = folder / "images"
        tokens = ImageTokenizer.load(store).to(device)
        codes = codes_of(items, tokens, store if covers(store, items) else work / "images")
    return Parts(encoder, tower, features, tokens, codes, len(items))


def load_neighbours(folder: Path, items: int) -> Neighbours:
    """The neighbours of a saved system of so many items.

    Raises:
        CheckpointError: they are missing, damaged or of another catalogue.
    """
    try:
        return Neighbours.from_tensors(read_weights(_part(folder, NEIGHBOURS)), items)
    except (KeyError, ValueError) as problem:
        raise CheckpointError(f"{folder / NEIGHBOURS} is damaged ({problem}); fit it again") from problem


def vocabulary_of(folder: Path) -> int:
    """How many ids the tokenizer beside a saved model has.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    return TextEncoder(load_tokenizer(_part(folder, "tokenizer"))).size


def catalogue_hash(ids: Sequence[str]) -> str:
    """Names a catalogue: its item ids in order."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def same_catalogue(folder: Path, items: Items) -> None:
    """Note whose parts a folder holds.

    Raises:
        CheckpointError: it holds those of another catalogue.
    """
    note, own = folder / "catalogue", catalogue_hash(items.ids)
    if note.is_file() and note.read_text().strip() != own:
        raise CheckpointError(f"{folder} holds parts of another catalogue; take another folder")
    write_text(note, own + "\n")


NOTED = ("catalogue", "decisions", "domains", "heads", "items", "options", "seconds", "seed", "tasks")


def read_facts(file: Path) -> dict[str, Any]:
    """The note beside a saved system.

    Raises:
        CheckpointError: it is not there or damaged.
    """
    try:
        facts: dict[str, Any] = json.loads(file.read_text())
        lacking = [name for name in NOTED if name not in facts]
        if lacking:
            raise KeyError(", ".join(lacking))
    except (OSError, ValueError, KeyError) as problem:
        raise CheckpointError(f"{file} is no whole UniMP system ({problem}); fit it again") from problem
    return facts


def places_of(facts: Mapping[str, Any], config: UnimpConfig) -> int:
    """How often `<image>` is written for a saved system; 4 times for early fusion before the note said so."""
    return int(facts.get("image_places", 4 if config.fusion == "early" else 1))


def options_of(facts: Mapping[str, Any], folder: Path) -> Options:
    """The options of a saved system.

    Raises:
        CheckpointError: another version of this package had others.
    """
    try:
        return Options(**facts["options"])
    except (TypeError, UnimpError) as problem:
        raise CheckpointError(f"{folder} was saved by another version ({problem}); fit it again") from problem


def read_weights(file: Path) -> dict[str, Tensor]:
    """Weights of one file.

    Raises:
        CheckpointError: it is damaged.
    """
    try:
        return load_file(file)
    except (OSError, SafetensorError) as problem:
        raise CheckpointError(f"{file} is damaged ({problem}); fit it again") from problem


def write_weights(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write weights to a file by way of another name.

    Raises:
        CheckpointError: the disk is full or not writable.
    """
    draft = file.with_suffix(".part")
    with writing(file.parent):
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, draft)
        draft.replace(file)


def sizes(model: Unimp, parts: Parts) -> dict[str, int]:
    """Parameters of the model and of each part that answers."""
    found = {"model": sum(p.numel() for p in model.parameters())}
    if parts.tower is not None:
        found["tower"] = sum(p.numel() for p in parts.tower.parameters())
    if parts.image_tokens is not None:
        found["image_tokens"] = int(parts.image_tokens.parameters)
    return found
