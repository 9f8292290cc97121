"""What lists are like, whatever the right item is: coverage, novelty, diversity and popularity of their first k items.

Over the catalogue C that an example's cohort is ranked over, with c(i) the visible training rows of item i:

- coverage@k: share of C that stands among the first k of any example of the cohort. A number of the set; see `shares`.
- novelty@k: mean self-information -log2 p(i) in bits (Zhou et al. 2010; Castells, Hurley & Vargas 2015), where
  p(i) = (c(i) + 1) / sum_j (c(j) + 1): one row is added to every item, or one that never sold would be infinitely new.
- ild@k: intra-list diversity (Ziegler et al. 2005), the mean over pairs of listed items of
  1 - 2 s / (|a| + |b|), where a and b are their category paths under their domain and s the levels that these share
  from the root (1 minus the similarity of Wu & Palmer 1994). A list of one item has 0.
- popularity@k: mean percentile of c(i) in C: the share of items with fewer rows and half of those with as many. Over
  the whole catalogue the mean is 0.5, so more is popularity bias (Abdollahpouri et al. 2019).

A list shorter than k is taken as it is; repeats, and items outside C, are left out. Unanswered scores what is worst: 0,
for popularity 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_bench.dataset import Catalogue
from unimp_bench.metrics.pairs import MetricContext, Values, paired, scores
from unimp_bench.metrics.shares import credit

STEMS = ("coverage", "novelty", "ild", "popularity")
Indices = NDArray[np.int64]


def lacks(context: MetricContext) -> str | None:
    """Why nothing of this room can be computed."""
    return "needs the catalogue and its training rows" if context.view is None or context.train is None else None


def lacks_paths(context: MetricContext) -> str | None:
    """Why diversity cannot be computed."""
    if context.view is not None and not context.view.items["categories"].list.len().sum():
        return "needs category paths, which this catalogue lacks"
    return lacks(context)


def _listed(pairs: pl.DataFrame, view: Catalogue, k: int) -> tuple[Indices, Indices, Indices]:
    """The first k items of every list: row of `pairs`, rank from 1 and `item_index`, sorted by the first two.

    Repeats, and items that the catalogue does not know, are left out.
    """
    flat = (
        pairs.with_row_index("row")
        .select("row", item_id=pl.col("prediction").list.head(k))
        .drop_nulls("item_id")
        .with_columns(rank=pl.int_ranges(1, pl.col("item_id").list.len() + 1))
        .explode("item_id", "rank")
        .join(view.items.select("item_id", "item_index"), on="item_id", how="inner")
        .group_by("row", "item_index")
        .agg(pl.col("rank").min())
        .sort("row", "rank")
    )
    row, rank, item = (flat[name].to_numpy().astype(np.int64) for name in ("row", "rank", "item_index"))
    return row, rank, item


def _percentiles(counts: Values) -> Values:
    """Share of items `(items,)` with a smaller count, and half of those with an equal one."""
    ordered = np.sort(counts)
    below, upto = np.searchsorted(ordered, counts, "left"), np.searchsorted(ordered, counts, "right")
    return (below + upto) / (2 * len(counts))


def _levels(view: Catalogue) -> NDArray[np.int32]:
    """Numbers `(items, levels)` of each path from the domain down to a level; -1 below a path's end."""
    paths = view.items.select(
        path=pl.concat_list(pl.concat_list("domain"), pl.col("categories").fill_null([]).list.drop_nulls())
    )["path"].to_list()
    table = np.full((len(paths), max(map(len, paths), default=0)), -1, dtype=np.int32)
    numbers: dict[tuple[str, ...], int] = {}
    for row, path in enumerate(paths):
        for level in range(len(path)):
            table[row, level] = numbers.setdefault(tuple(path[: level + 1]), len(numbers))
    return table


def _diversity(levels: NDArray[np.int32], items: Indices, cuts: Sequence[int]) -> dict[int, Values]:
    """Mean distance of pairs `(lists,)` at each cut, from lists of items `(lists, deepest)`, -1 padded."""
    depth = (levels >= 0).sum(axis=1)
    total, pairs = np.zeros(len(items)), np.zeros(len(items))
    found: dict[int, Values] = {}
    # One plane a level; the last number stands for "no item", which shares nothing.
    planes = [np.append(level, -2)[items] for level in levels.T]
    depths = np.append(depth, 1)[items]
    for last in range(items.shape[1]):  # every pair once, by the place of its later item
        for before in range(last):
            both = (items[:, last] >= 0) & (items[:, before] >= 0)
            shared = np.zeros(len(items), dtype=np.int64)
            for plane in planes:
                shared += (plane[:, before] == plane[:, last]) & (plane[:, last] >= 0)
            total += np.where(both, 1 - 2 * shared / (depths[:, before] + depths[:, last]), 0)
            pairs += both
        if last + 1 in cuts:
            found[last + 1] = total / np.maximum(pairs, 1)
    return found


def compute(
    names: Sequence[str], answers: pl.DataFrame, predictions: pl.DataFrame, context: MetricContext
) -> pl.DataFrame:
    """Values per example of metrics called as one of `STEMS` and a cut, as a frame of `schemas.SCORES`."""
    assert context.view is not None and context.train is not None, "see `lacks`"
    view, n = context.view, len(context.view.items)
    pairs = paired(answers, predictions, "ranking")
    cuts = {name: int(name.split("@")[1]) for name in names}
    row, rank, item = _listed(pairs, view, max(cuts.values(), default=0))
    known = context.train.join(view.items.select("item_id", "item_index"), on="item_id", how="inner")
    counts = np.zeros(n)
    counts[known["item_index"].to_numpy()] = known["count"].to_numpy()

    cohort = pairs["cohort"].fill_null("").to_numpy()
    values = {name: np.zeros(pairs.height) for name in names}
    for of_cohort in np.unique(cohort):
        inside = np.flatnonzero(cohort == of_cohort)
        place = np.full(pairs.height, -1)
        place[inside] = np.arange(len(inside))  # row of `pairs` to row of the cohort
        members = view.members(str(of_cohort))
        kept = (place[row] >= 0) & members[item]
        lists = _Lists(place[row[kept]], rank[kept], item[kept], len(inside), members, counts)
        apart = lists.diversities(view, [k for name, k in cuts.items() if name.startswith("ild@")])
        for name, k in cuts.items():
            stem = name.split("@")[0]
            values[name][inside] = apart[k] if stem == "ild" else lists.value(stem, k)
    return scores(pairs, values)


class _Lists:
    """The lists of one cohort."""

    def __init__(
        self, row: Indices, rank: Indices, item: Indices, n: int, members: NDArray[np.bool_], counts: Values
    ) -> None:
        self._row, self._rank, self._item, self._n = row, rank, item, n
        self._members = members
        inside = counts[members]
        self._bits, self._percentile = np.zeros(len(counts)), np.zeros(len(counts))
        self._bits[members] = np.log2((inside + 1).sum()) - np.log2(inside + 1)
        self._percentile[members] = _percentiles(inside)

    def value(self, stem: str, k: int) -> Values:
        """Values `(n,)` of coverage, novelty or popularity."""
        top = self._rank <= k
        row, item = self._row[top], self._item[top]
        if stem == "coverage":
            covered: Values = credit(row, item, self._n) * (self._n / self._members.sum())
            return covered
        length = np.bincount(row, minlength=self._n)
        of_item = self._bits if stem == "novelty" else self._percentile
        total = np.bincount(row, weights=of_item[item], minlength=self._n)
        mean: Values = np.where(length > 0, total / np.maximum(length, 1), 0.0 if stem == "novelty" else 1.0)
        return mean

    def diversities(self, view: Catalogue, cuts: Sequence[int]) -> dict[int, Values]:
        """Diversity `(n,)` at each cut."""
        if not cuts:
            return {}
        table = np.full((self._n, max(cuts)), -1, dtype=np.int64)
        top = self._rank <= max(cuts)
        table[self._row[top], self._rank[top] - 1] = self._item[top]
        return _diversity(_levels(view), table, cuts)
