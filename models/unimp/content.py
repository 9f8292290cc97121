"""What an item is without anyone having bought it, and what follows: semantic ids, and rows that were never trained.

    items x width: content features;   d: width of a row

Zero-shot recommendation in a new domain: what known items' features say about their trained rows is one linear map
(ridge regression, closed form); the rows of other items are read off it. The same map gives all rows a start before
training.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimp.errors import UnimpError
from unimp.parts import Parts
from unimp.semantic_ids import SemanticIds
from unimp.vocabulary import Vocabulary

Floats = NDArray[np.float32]


def rows_from_content(features: Floats, rows: Floats, known: NDArray[np.bool_], ridge: float = 1.0) -> Floats:
    """Rows `(items, d)` of all items: those given where known, predicted elsewhere.

    With X the known items' features, standardised by their own mean and deviation, and Y their rows less the mean m:
    W = (X'X + ridge n I)^-1 X'Y and a row is m + x W (Hoerl & Kennard 1970), in float64. Predictions shrink towards m,
    the more the larger `ridge` and the less content tells of rows, so predicted items stand a little nearer to the
    middle than trained ones: within a new domain this orders nothing, in a catalogue of both it favours trained items.

    Args:
        features: `(items, width)`.
        rows: `(known items, d)`, in the order of `known`.
        known: `(items,)`, which items have a row.
        ridge: penalty as a share of each standardised feature's variance.

    Raises:
        UnimpError: shapes that do not fit, fewer than two known items, a ridge that is not above 0, or numbers that are
            not finite.
    """
    count = int(known.sum())
    if features.ndim != 2 or rows.ndim != 2 or len(known) != len(features) or count != len(rows):
        raise UnimpError(
            f"features {features.shape}, rows {rows.shape} and {count} of {len(known)} known items do not fit together"
        )
    if count < 2 or not ridge > 0:
        raise UnimpError(f"{count} known items and ridge {ridge} tell no rows; give two items and a ridge above 0")
    if not (np.isfinite(features).all() and np.isfinite(rows).all()):
        raise UnimpError("features or rows hold numbers that are not finite; compute them again")
    x = features.astype(np.float64)
    spread = x[known].std(0)
    x = (x - x[known].mean(0)) / np.where(
        spread > 1e-8 * (np.abs(x).max() + 1), spread, np.inf
    )  # constants say nothing
    mean = rows.astype(np.float64).mean(0)
    seen = x[known]
    if seen.shape[1] <= count:
        weights = np.linalg.solve(seen.T @ seen + ridge * count * np.eye(seen.shape[1]), seen.T @ (rows - mean))
    else:  # the same by way of the smaller matrix
        weights = seen.T @ np.linalg.solve(seen @ seen.T + ridge * count * np.eye(count), rows - mean)
    out = np.empty((len(x), rows.shape[1]), dtype=np.float32)
    out[known] = rows
    out[~known] = x[~known] @ weights + mean
    return out


@torch.no_grad()
def fill_rows(tables: Sequence[Tensor], vocabulary: Vocabulary, features: Floats, known: NDArray[np.bool_]) -> None:
    """Give items that are not known their rows from content, in place.

    Args:
        tables: rows of new ids `(ids, d)`, by which items are read or predicted.
        vocabulary: says which of them are items', one each.
        features: `(items, width)`.
        known: `(items,)`, which items have learned rows.

    Raises:
        UnimpError: items of several ids (their codes are trained already), or see `rows_from_content`.
    """
    if vocabulary.levels > 1:
        raise UnimpError("semantic ids share their rows with known items; there is nothing to fill in")
    first = vocabulary.item_ids.start - vocabulary.text
    new = torch.from_numpy(~known)
    for table in tables:
        rows = table[first : first + len(known)]
        made = rows_from_content(features, rows.cpu().float().numpy()[known], known)
        rows[new.to(rows.device)] = torch.from_numpy(made[~known]).to(rows)


@torch.no_grad()
def reset_rows(tables: Sequence[Tensor], vocabulary: Vocabulary, known: NDArray[np.bool_]) -> None:
    """Give items that are not known the mean row of those that are, in place; arguments as in `fill_rows`."""
    first = vocabulary.item_ids.start - vocabulary.text
    for table in tables:
        rows = table[first : first + len(known)]
        own = torch.from_numpy(known).to(rows.device)
        rows[~own] = rows[own].mean(0)


def semantic_codes(
    parts: Parts, bodies: Sequence[NDArray[np.int32]], known: NDArray[np.bool_], folder: Path, seed: int
) -> tuple[NDArray[np.int64], int]:
    """Semantic ids of every item `(items, levels)` and the codes a level, from words and pictures.

    Args:
        parts: gives mean patch tokens.
        bodies: ids of each item's attributes.
        known: items that codebooks may learn from `(items,)`; others are quantised by them.
        folder: keeps the codebooks.
        seed: of the clustering.
    """
    file = folder / "semantic.safetensors"
    features = content_features(parts, bodies)
    if file.is_file():
        made = SemanticIds.load(file)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        bare = SemanticIds.fit(features[known], seed=seed)
        made = bare.grown(features[~known]) if not known.all() else bare
        made.save(file)
    codes = np.empty_like(made.codes)
    codes[np.concatenate([np.flatnonzero(known), np.flatnonzero(~known)])] = made.codes
    return codes, int(made.codebook)


def content_features(parts: Parts, bodies: Sequence[NDArray[np.int32]]) -> NDArray[np.float32]:
    """What an item is, without anyone having bought it `(items, words + width)`: weighted words, mean patch tokens.

    Words are counted by ids, weighted by inverse document frequency, hashed to 128 numbers by a fixed random
    projection, and scaled to unit length; so are mean patch tokens, centred.
    """
    count = len(bodies)
    seen = np.zeros(parts.encoder.size)
    for body in bodies:
        seen[np.unique(body)] += 1
    weight = np.log((count + 1) / (seen + 1))
    project = np.random.default_rng(0).standard_normal((parts.encoder.size, 128)) / np.sqrt(128)
    words = np.stack([weight[np.unique(b)] @ project[np.unique(b)] if len(b) else np.zeros(128) for b in bodies])
    words /= np.maximum(np.linalg.norm(words, axis=1, keepdims=True), 1e-9)
    found = [words]
    if parts.features is not None:
        mean = parts.features.means().numpy()
        mean = mean - mean[parts.has_picture].mean(0)
        mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)
        found.append(np.where(parts.has_picture[:, None], mean, 0.0))
    return np.concatenate(found, axis=1).astype(np.float32)
