"""Image metrics between generated pictures and those of the target items, on the descriptor "colour-edge-64" v1.

The formulas of FID stand in `frechet`, those of single pictures in `closeness`; here stands KID.

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

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_bench.descriptor import WIDTH
from unimp_bench.errors import IncompleteError
from unimp_bench.metrics import closeness, pictures
from unimp_bench.metrics.frechet import fid_shares
from unimp_bench.metrics.pairs import MetricContext, Values, paired, scores, within_cohorts

_BLOCK = 1024  # rows of a kernel matrix at a time: 160 MB at 20,000 examples


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


def lacks_train(context: MetricContext) -> str | None:
    """Why distances to training pictures cannot be computed."""
    return "needs the catalogue's training rows" if context.train is None else None


def lacks_histories(context: MetricContext) -> str | None:
    """Why gains over other users cannot be computed."""
    known = context.examples is not None and context.examples["history"].null_count() == 0
    return None if known else "needs the users' histories"


def lacks_styles(context: MetricContext) -> str | None:
    """Why styles cannot be compared."""
    return "needs the truth of a synthetic shop" if context.styles is None else None


class _Answers:
    """Everything that the metrics of this room start from."""

    def __init__(self, pairs: pl.DataFrame, context: MetricContext) -> None:
        if context.view is None:
            raise IncompleteError("image metrics compare with pictures of the catalogue; give one as context.view")
        self.pairs, self.context, self.view = pairs, context, context.view
        self.answered = pairs["prediction"].is_not_null().to_numpy()
        self.shown = pictures.Shown(context.view)
        self.targets = pairs["answer"].list.first().to_list()
        self.said, self.real = pictures.generated(pairs), self.shown.targets(self.targets)

    def value(self, name: str) -> Values:
        """Values `(examples,)` of a metric."""
        if name in ("kid", "fid"):
            of_sets = kid_shares if name == "kid" else fid_shares
            return within_cohorts(self.pairs, lambda rows: of_sets(self.said[rows], self.real[rows]))
        if name == "picture_similarity":
            return closeness.similarity(self.said, self.real)
        if name == "personalization_gain":
            return self._gains()
        return self._train_distances() if name == "nearest_train_distance" else self._styles()

    def _pictured(self, item_ids: pl.Series) -> dict[str, pictures.Descriptors]:
        """Descriptors of at most `closeness.MOST` of these items, by a fixed draw: the order of `item_index`."""
        pictured = pl.col("item_id").is_in(item_ids.unique().to_list()) & pl.col("image_id").is_not_null()
        return self.shown.of(self.view.items.filter(pictured)["item_id"].head(closeness.MOST))

    def _train_distances(self) -> Values:
        assert self.context.train is not None, "see `lacks_train`"
        trained = self._pictured(self.context.train["item_id"])
        if not trained:
            return np.full(len(self.said), np.nan)
        distance = closeness.nearest(self.said, np.stack(list(trained.values())))[1]
        return np.where(self.answered, distance, 0)

    def _gains(self) -> Values:
        assert self.context.examples is not None, "see `lacks_histories`"
        items = pl.col("history").list.eval(pl.element().struct.field("item_id"))
        lists = (
            self.pairs.select("example_id")
            .join(
                self.context.examples.select("example_id", items), on="example_id", how="left", maintain_order="left"
            )["history"]
            .to_list()
        )
        shown = self.shown.of(item for history in lists for item in history or ())
        histories = [
            np.array([shown[item] for item in history or () if item in shown]).reshape(-1, WIDTH) for history in lists
        ]

        def of_rows(rows: NDArray[np.intp]) -> Values:
            if len(rows) < 2:
                return np.full(len(rows), np.nan)
            partner = closeness.partners(self.pairs["example_id"].gather(rows))
            return closeness.gains(self.said[rows], [histories[r] for r in rows], partner, self.answered[rows])

        return within_cohorts(self.pairs, of_rows)

    def _styles(self) -> Values:
        assert self.context.styles is not None, "see `lacks_styles`"
        styles = dict(self.context.styles.select("item_id", "style").iter_rows())
        known = self._pictured(self.context.styles["item_id"])
        closest, _ = closeness.nearest(self.said, np.stack(list(known.values())))
        of_known, due = [styles[item] for item in known], [styles.get(item) for item in self.targets]
        right = np.array([of_known[row] == style for row, style in zip(closest, due, strict=True)], dtype=float)
        return np.where(self.answered, right, 0)


def compute(
    names: Sequence[str], answers: pl.DataFrame, predictions: pl.DataFrame, context: MetricContext
) -> pl.DataFrame:
    """Values per example of the metrics on the built-in descriptor, as a frame of `schemas.SCORES`.

    Raises:
        PredictionError: an answer is no picture.
        IncompleteError: a target has no picture.
    """
    found = _Answers(paired(answers, predictions, "image"), context)
    return scores(found.pairs, {name: found.value(name) for name in names})
