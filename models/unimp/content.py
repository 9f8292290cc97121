"""Rows for items that were never trained, told from their content: zero-shot recommendation in a new domain.

    items x width: content features;   d: width of a row

What known items' features say about their trained rows is one linear map (ridge regression, closed form); the rows of
other items are read off it. The same map gives all rows a start before training.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unimp.errors import UnimpError
from unimp.modeling import Unimp
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


def fill_rows(
    model: Unimp, vocabulary: Vocabulary, features: Floats, known: NDArray[np.bool_], ridge: float = 1.0
) -> None:
    """Give items that are not known their input and output rows from content, in place.

    Raises:
        UnimpError: items of several ids (their codes are trained already), or see `rows_from_content`.
    """
    if vocabulary.levels > 1:
        raise UnimpError("semantic ids share their rows with known items; there is nothing to fill in")
    first = vocabulary.item_ids.start - vocabulary.text
    for table in (model.embed.new.weight, model.head.new.weight):
        own: Tensor = table.detach()[first : first + vocabulary.items]
        filled = rows_from_content(features, own.float().cpu().numpy()[known], known, ridge)
        with torch.no_grad():
            new = torch.as_tensor(~known, device=own.device)
            own[new] = torch.as_tensor(filled[~known]).to(own)
