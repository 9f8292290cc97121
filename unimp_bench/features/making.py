"""Features of a catalogue by an encoder's name: found on disk, or made and kept.

A digest names what they are made from: the encoder's identity, what it reads of this view, and the catalogue without
noise, which encoders may learn from. It does not name the run, so all systems and seeds of a home share one file.

The suffix `@shuffled` gives every item the row of another: the same numbers, saying nothing. Who gives to whom hangs on
item ids and the run's seed; it is drawn on the fly and not kept.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unimp_bench.dataset import Catalogue
from unimp_bench.errors import ConfigError
from unimp_bench.features import registry, store
from unimp_bench.features.content import fingerprint, texts
from unimp_bench.features.protocol import Encoder, ItemFeatures, Present, Values
from unimp_bench.keyed import string_keys
from unimp_bench.progress import Progress, Silent
from unimp_bench.runners.protocol import Context

SHUFFLED = "@shuffled"
_FOLDER = "features"  # in the scratch, where a context has no home


@dataclass(frozen=True)
class Made:
    """Features and the file that keeps them (before they are shuffled, if they are)."""

    features: ItemFeatures
    file: Path


def item_features(view: Catalogue, encoder: str, context: Context) -> ItemFeatures:
    """Features of a catalogue's items; see `ensure`."""
    return ensure(view, encoder, context).features


def features_of_fit(view: Catalogue, encoder: str, digest: str | None, context: Context) -> ItemFeatures:
    """Features of a view, for what learned from those of the catalogue without noise.

    Args:
        view: the items, under noise or not.
        encoder: its name.
        digest: of the features that were learned from.
        context: as in `ensure`.

    Raises:
        ConfigError: the encoder is not what it was when that was learned.
    """
    check_digest(encoder, item_features(view.clean, encoder, context).digest, digest)
    return item_features(view, encoder, context)


def check_digest(encoder: str, now: str, learned: str | None) -> None:
    """Refuse an encoder whose features of the catalogue without noise have another digest than those learned from.

    Raises:
        ConfigError: they have.
    """
    if now != learned:
        raise ConfigError(f"encoder '{encoder}' is no longer what it was at this fit; fit again with --force")


def ensure(view: Catalogue, encoder: str, context: Context) -> Made:
    """Features of a catalogue's items, made if they are not there.

    Args:
        view: the items, under noise or not.
        encoder: name of an encoder, as in `unimp-bench list encoders`; its argument after a colon, `@shuffled` last.
        context: `features` or else `scratch` is where they are kept; `seed` decides how they are shuffled.

    Raises:
        UnknownNameError: there is no such encoder.
        ConfigError: the catalogue without noise has no text, or picture, to encode, or the encoder failed.
    """
    plain = encoder.removesuffix(SHUFFLED)
    tool = registry.load(plain)
    folder = context.features or context.scratch / _FOLDER
    try:
        learned = _sha256(tool.identity(), fingerprint(view.clean, "text", "image"))
        digest = _sha256(learned, fingerprint(view, tool.modality))
        kept = _found(folder, digest, view, Silent())
        if kept is None:
            with store.alone(folder, learned, context.progress):  # what is learned serves all views of a catalogue
                kept = _found(folder, digest, view, context.progress) or _made(
                    folder, digest, tool, plain, view, context
                )
    except ModuleNotFoundError as error:
        raise registry.without(plain, error) from None
    except getattr(tool, "errors", ()) as error:
        raise ConfigError(f"encoder '{plain}': {error}") from error
    file, (values, present) = store.path(folder, digest), kept
    if encoder != plain:
        values = values[_givers(view, present, context.seed)]
        digest = _sha256(digest, f"{SHUFFLED} {context.seed}")
    return Made(ItemFeatures(values, present, encoder, digest), file)


def _sha256(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _found(folder: Path, digest: str, view: Catalogue, progress: Progress) -> tuple[Values, Present] | None:
    try:
        return store.read(folder, digest, view.items.height)
    except store.DamagedError as error:
        progress.say(f"{store.path(folder, digest)} is damaged ({error}); making it again")
        return None


def _made(
    folder: Path, digest: str, tool: Encoder, name: str, view: Catalogue, context: Context
) -> tuple[Values, Present]:
    shown = view.clean.items["image_id"].drop_nulls().to_list() if tool.modality == "image" else texts(view.clean.items)
    if not any(shown):
        what = "pictures" if tool.modality == "image" else "text"
        raise ConfigError(f"encoder '{name}' reads {what} and no item of this dataset has any; build it with {what}")
    blank = replace(context, seed=0, truth=None, curve=None, features=folder)
    values, present = tool.encode(view, blank)
    items = view.items.height
    if values.ndim != 2 or len(values) != items or present.shape != (items,):
        raise ConfigError(
            f"encoder '{name}' gave {values.shape} and {present.shape} of {items} items; mend the encoder"
        )
    if not np.isfinite(values).all():
        raise ConfigError(f"encoder '{name}' gave numbers that are not finite; check its weights")
    if values.shape[1] == 0:
        raise ConfigError(f"encoder '{name}' found nothing that two items share; take another encoder")
    values = np.ascontiguousarray(values, dtype=np.float32)
    present = np.ascontiguousarray(present, dtype=np.bool_)
    values[~present] = 0
    store.write(folder, digest, values, present, encoder=name, identity=tool.identity())
    return values, present


def _givers(view: Catalogue, present: Present, seed: int) -> NDArray[np.intp]:
    """Whose row each item gets `(items,)`.

    Items with a feature stand in a ring in the order of a keyed hash of their ids, and each gets the row of the next:
    nobody keeps the own one (but for a single item), and a view that lacks some changes little for the others.
    """
    ring = np.flatnonzero(present)
    ids = view.items["item_id"].gather(ring)
    order = np.lexsort((ids.to_numpy(), string_keys(ids, SHUFFLED, seed))) if len(ring) else ring
    givers = np.arange(len(present))
    givers[ring[order]] = ring[np.roll(order, -1)]
    return givers
