"""What a folder was begun for, noted in it: what it holds is gone on with for the same request, and for no other.

    request.json   of a training: all options that decide its weights, seed, tasks, a hash of the data
    parts.json     of parts (`parts.py`): what they must be to fit, and how they were trained

Parts that are lent by `options.pretrained` must fit; how long somebody else trained them is their own affair.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from unimp.disk import write_text
from unimp.errors import CheckpointError
from unimp.image_presets import PRESETS
from unimp.options import Options
from unimp.shop import Example, Shop

TRAINING, PARTS = "request.json", "parts.json"
_ASKING = ("rating", "beams", "neighbours")  # matter once the weights stand, not before
_ADAPTING = ("new_domain", "adapt_epochs")
_NAMED = 3  # differences that a message names


def training(
    options: Options, seed: int, tasks: Sequence[str], shop: Shop, *, adapting: bool = False
) -> dict[str, Any]:
    """What decides the weights of a training; the options of a held-out domain only where one is learned."""
    left_out = _ASKING if adapting else (*_ASKING, *_ADAPTING)
    said = {key: value for key, value in asdict(options).items() if key not in left_out}
    if options.pretrained is not None:
        said["pretrained"] = str(Path(options.pretrained).resolve())
    return said | {"seed": seed, "tasks": ",".join(sorted(tasks)), "data": data_hash(shop)}


def parts(options: Options, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What parts must be to fit a system, and how they are trained where none are published."""
    budget = options.budget
    fits = {
        "preset": options.preset,
        "pool": options.pool,
        "published text_weights": options.text_weights is not None,
        "published vision_weights": options.vision_weights is not None,
        "published image_codes": options.image_codes is not None,
    }
    made = {
        "seed": seed,
        "vocabulary": budget.vocabulary,
        "tower steps": options.times(budget.tower_steps),
        "language": options.passes(budget.language_epochs),
        "language rate": budget.language_lr,
        "dropout": options.dropout,
        "codec steps": options.times(PRESETS[budget.image_tokens].steps),
    }
    return fits, made


def same_training(folder: Path, request: Mapping[str, Any]) -> None:
    """Note what a folder is begun for.

    Raises:
        CheckpointError: it holds a training that was begun for something else.
    """
    note = folder / TRAINING
    if not note.is_file() and ((folder / "stages").is_dir() or (folder / "parts").is_dir()):
        raise CheckpointError(f"{folder} holds a training that does not say what it was begun with; remove it")
    _same(note, request, "a training", "or ask for the same")


def same_parts(folder: Path, options: Options, seed: int) -> None:
    """Note what parts are made for; those that `options.pretrained` lends need fit only, where they say anything.

    Raises:
        CheckpointError: the folder holds parts that were made for something else.
    """
    note, (fits, made) = folder / PARTS, parts(options, seed)
    if options.pretrained is not None:
        if note.is_file():
            _same(note, fits, "parts", "or take others")
        return
    if not note.is_file() and (folder / "tokenizer").is_dir():
        raise CheckpointError(f"{folder} holds parts that do not say how they were made; take another folder")
    _same(note, fits | made, "parts", "or take another folder")


def _same(note: Path, request: Mapping[str, Any], what: str, instead: str) -> None:
    wanted: dict[str, Any] = json.loads(json.dumps(dict(request)))
    if not note.is_file():
        write_text(note, json.dumps(wanted, indent=1) + "\n")
        return
    try:
        found = json.loads(note.read_text())
        other = [key for key in wanted if key not in found or found[key] != wanted[key]]
    except (ValueError, TypeError) as problem:
        raise CheckpointError(f"{note} is damaged ({problem}); remove {note.parent}") from problem
    if other:
        named = ", ".join(_told(key, found.get(key), wanted[key]) for key in other[:_NAMED])
        more = f" and {len(other) - _NAMED} more" if len(other) > _NAMED else ""
        raise CheckpointError(f"{note.parent} holds {what} begun with {named}{more}; remove it, {instead}")


def _told(key: str, was: Any, now: Any) -> str:
    return "other data" if key == "data" else f"{key} {was} (now {now})"


def data_hash(shop: Shop) -> str:
    """Hash of all that may be learned from; pictures by their names, which are hashes of their bytes."""
    digest = hashlib.sha256()
    log, items = shop.log, shop.items
    tables = [log.offsets, log.item, log.rating, log.query]
    for table in (*tables, *(log.learned[task] for task in sorted(log.learned))):
        digest.update(np.ascontiguousarray(table).tobytes())
    texts: list[Sequence[str | None]] = [items.ids, items.bodies, items.titles, items.domains, items.picture_ids]
    for lines in (*texts, log.why, log.queries, shop.reviews, sorted(log.learned)):
        digest.update("\0".join(line or "" for line in lines).encode() + b"\1")
    for name in ("", *sorted(shop.valid)):
        for example in shop.valid[name] if name else shop.selection:
            digest.update(_line(name, example).encode())
    return digest.hexdigest()


def _line(task: str, e: Example) -> str:
    answer = [list(e.answer_items), e.answer_rating, e.answer_text]
    return json.dumps([task, e.id, e.history.tolist(), e.query, e.target, list(e.candidates), answer])
