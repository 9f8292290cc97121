"""KID between generated pictures and the pictures of the target items, on the descriptor "colour-edge-64" v1.

KID (Bińkowski et al. 2018) is the unbiased squared maximum mean discrepancy (Gretton et al. 2012, lemma 6) with the
kernel k(a, b) = (a.b / d + 1)^3, d = 64. With x_i generated and y_i real for example i, n examples in a cohort, the
value of one example is its share

    c_i = 1/(n-1) sum_{j != i} k(x_i, x_j) + 1/(n-1) sum_{j != i} k(y_i, y_j) - 1/n sum_j [k(x_i, y_j) + k(x_j, y_i)]

so that the mean of c_i over the cohort is the unbiased KID, exactly. It can be negative. c_i depends on the whole
cohort, so cohorts are computed apart and never pooled; for the interval see `statistics` ("u_statistic"). An unanswered
example counts as a plain mid-grey picture. A cohort of one example has no KID: its value is null.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from unimp_bench.dataset import Catalogue
from unimp_bench.descriptor import WIDTH, decode, describe, describe_all
from unimp_bench.errors import IncompleteError, PredictionError
from unimp_bench.metrics.pairs import MetricContext, Values, paired, scores

_BLOCK = 1024  # rows of a kernel matrix at a time: 160 MB at 20,000 examples
_PICTURES = 4096  # encoded pictures held at a time
_GREY = (128, 128, 128)


def _kernel_sums(left: Values, right: Values) -> tuple[Values, Values]:
    """Sums of the kernel matrix of two sets `(n, d)` along its rows and its columns, `(n,)` each."""
    by_row, by_column = np.empty(len(left)), np.zeros(len(right))
    for start in range(0, len(left), _BLOCK):
        block = left[start : start + _BLOCK] @ right.T  # (rows, n)
        block /= left.shape[1]
        block += 1
        block *= block * block
        by_row[start : start + _BLOCK] = block.sum(axis=1)
        by_column += block.sum(axis=0)
    return by_row, by_column


def kid_shares(generated: NDArray[np.floating], real: NDArray[np.floating]) -> Values:
    """Each example's share c_i `(n,)` of the KID of two paired sets of descriptors `(n, d)`; NaN where n < 2."""
    x, y = generated.astype(np.float64), real.astype(np.float64)
    n = len(x)
    if n < 2:
        return np.full(n, np.nan)

    def others(points: Values) -> Values:
        own = ((points**2).sum(axis=1) / points.shape[1] + 1) ** 3
        mean: Values = (_kernel_sums(points, points)[0] - own) / (n - 1)
        return mean

    by_row, by_column = _kernel_sums(x, y)
    # BLAS adds in another order on another number of threads; what differs then is noise of the 16th digit.
    shares: Values = np.round(others(x) + others(y) - (by_row + by_column) / n, 9)
    return shares


def _real(pairs: pl.DataFrame, view: Catalogue) -> NDArray[np.float32]:
    """Descriptors `(examples, 64)` of the target items' pictures.

    Raises:
        IncompleteError: a target has no picture.
    """
    targets = pairs.select("example_id", item_id=pl.col("answer").list.first())
    wanted = targets.join(view.items.select("item_id", "image_id"), on="item_id", how="left", maintain_order="left")
    ids = wanted["image_id"].drop_nulls().unique().sort().to_list()
    found: dict[str, NDArray[np.float32]] = {}
    for start in range(0, len(ids), _PICTURES):
        part = view.pictures(ids[start : start + _PICTURES])
        found.update(zip(part, describe_all(part.values()), strict=True))
    lacking = wanted.filter(~pl.col("image_id").is_in(list(found)).fill_null(False))["item_id"]
    if len(lacking):
        raise IncompleteError(f"target item {lacking[0]} has no picture to compare with; build the dataset again")
    return np.array([found[i] for i in wanted["image_id"]], dtype=np.float32).reshape(-1, WIDTH)


def _generated(pairs: pl.DataFrame) -> NDArray[np.float32]:
    """Descriptors `(examples, 64)` of the answers, mid-grey where there is none.

    Raises:
        PredictionError: an answer is no picture.
    """
    grey = describe(Image.new("RGB", (64, 64), _GREY))
    rows = np.tile(grey, (pairs.height, 1))
    known: dict[bytes, NDArray[np.float32]] = {}  # some systems answer everyone with the same picture
    for row, (example, data) in enumerate(pairs.select("example_id", "prediction").iter_rows()):
        if data is None:
            continue
        digest = sha256(data).digest()
        if digest not in known:
            try:
                known[digest] = describe(decode(data))
            except ValueError as problem:
                raise PredictionError(f"answer to example {example} is {problem}; write PNG or JPEG bytes") from None
        rows[row] = known[digest]
    return rows


def compute(
    names: Sequence[str], answers: pl.DataFrame, predictions: pl.DataFrame, context: MetricContext
) -> pl.DataFrame:
    """Values per example of `kid`, as a frame of `schemas.SCORES`; errors as in `_real` and `_generated`."""
    pairs = paired(answers, predictions, "image")
    if context.view is None:
        raise IncompleteError("image metrics compare with pictures of the catalogue; give one as context.view")
    generated, real = _generated(pairs), _real(pairs, context.view)
    values = np.empty(pairs.height)
    for part in pairs.with_row_index("row").partition_by("cohort", maintain_order=True):
        rows = part["row"].to_numpy()
        values[rows] = kid_shares(generated[rows], real[rows])
    return scores(pairs, dict.fromkeys(names, values))
