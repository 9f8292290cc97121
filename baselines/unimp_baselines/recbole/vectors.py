"""Item features on their way to the worker: for each modality a .npy `(items of the feed, width)` in the feed's order.

A fit keeps its vectors beside its weights, so it can be scored wherever it is taken. Where a noise variant says or
shows other things than the fit saw, its items are encoded by the same encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from unimp_bench.dataset import Catalogue
from unimp_bench.errors import ConfigError
from unimp_bench.features import ItemFeatures, check_digest, content, features_of_fit, item_features, registry
from unimp_bench.runners.protocol import Context

_CALLED = {"image": "picture", "text": "text"}


def encoded(view: Catalogue, encoder: str, context: Context) -> ItemFeatures:
    """The features of all items, by an encoder's name."""
    return item_features(view, encoder, context)


def files(encoders: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the files that hold the vectors."""
    return tuple(f"{modality}.npy" for modality in encoders)


def paths(encoders: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Where in a folder the vectors stand, by modality."""
    return {modality: str(folder / f"{modality}.npy") for modality in encoders}


def write(
    name: str, encoders: Mapping[str, str], view: Catalogue, items: pl.Series, context: Context
) -> dict[str, dict[str, str]]:
    """Encode a catalogue, and keep the vectors of some items in the scratch folder.

    Args:
        name: the runner's, for errors.
        encoders: the encoder's name by modality.
        view: what to encode.
        items: item ids in the feed's order.
        context: of the run.

    Returns:
        By modality: name and digest of the encoder's features, and the fingerprint of what it read.

    Raises:
        ConfigError: an encoder reads something else, or no item has what it reads.
    """
    facts: dict[str, dict[str, str]] = {}
    for modality, encoder in encoders.items():
        called = _CALLED[modality]
        reads = registry.load(encoder.removesuffix("@shuffled")).modality
        if reads != modality:
            raise ConfigError(f"{name}: encoder '{encoder}' reads {_CALLED[reads]}s; name one that reads {called}s")
        rows = _rows(view, items)
        if modality == "image" and view.items["image_id"][rows].null_count() == len(rows):
            raise ConfigError(
                f"{name} learns from pictures and no item here has one; run mf, or build the dataset with pictures"
            )
        found = encoded(view, encoder, context)
        if not found.present[rows].any():
            raise ConfigError(
                f"{name} learns from {called}s and encoder '{encoder}' finds nothing in them; name another"
            )
        np.save(context.scratch / f"{modality}.npy", found.values[rows])
        facts[modality] = {
            "encoder": encoder,
            "digest": found.digest,
            "read": content.fingerprint(view, _kind(modality)),
        }
    return facts


def check_same(now: Mapping[str, Mapping[str, str]], earlier: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse to go on from weights that were learned from other features of the same catalogue.

    Args:
        now: what `write` said.
        earlier: what it said when the weights were learned.

    Raises:
        ConfigError: an encoder is not what it was.
    """
    for modality, facts in now.items():
        check_digest(facts["encoder"], facts["digest"], earlier[modality]["digest"])


def of_view(
    encoders: Mapping[str, str],
    view: Catalogue,
    items: pl.Series,
    folder: Path,
    facts: Mapping[str, Any],
    context: Context,
) -> dict[str, str]:
    """Where the vectors of a view's items stand: the fit's own in `folder`, or new ones for another text or picture.

    Raises:
        ConfigError: the encoder is not what it was when the fit was made.
    """
    found = paths(encoders, folder)
    for modality, encoder in encoders.items():
        made = facts["features"][modality]
        if content.fingerprint(view, _kind(modality)) == made["read"]:
            continue
        other = features_of_fit(view, encoder, made["digest"], context)
        path = context.scratch / f"{modality}-{other.digest[:16]}.npy"
        np.save(path, other.values[_rows(view, items)])
        found[modality] = str(path)
    return found


def _rows(view: Catalogue, items: pl.Series) -> list[int]:
    return [view.index[item] for item in items.to_list()]


def _kind(modality: str) -> Literal["image", "text"]:
    return "image" if modality == "image" else "text"
