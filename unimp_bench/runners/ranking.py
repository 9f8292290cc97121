"""From scores to ranked lists: the one routine that masks seen items, breaks ties and keeps the top, alike for all.

Equal scores are ordered by a keyed hash of (seed, example, item). So a scorer that cannot tell items apart earns what
chance earns, and an example's list depends neither on the other examples of its batch nor on the order of anything.
Ties are exact: also those at the cut, where a partial sort alone would prefer items by where they happen to stand.

Shapes: batch = examples of one block, items = catalogue in `item_index` order, k = length of a list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_bench import keyed
from unimp_bench.dataset import Catalogue
from unimp_bench.errors import PredictionError
from unimp_bench.runners.protocol import ScoreBlock
from unimp_bench.schemas import PREDICTIONS, conform

Indices = NDArray[np.int32]
Scores = NDArray[np.float32]
_Places = NDArray[np.intp]  # numbers of rows, or of columns within a row

_CHUNK = 1 << 21  # scores worked on at a time; some ten arrays of this length live at once
_NEVER = np.float32(np.inf)  # the cost of what must not be recommended
_LARGEST = np.uint64(2**64 - 1)
_DEVIATIONS = 10.0  # by how far more hashes than needed are kept where they are drawn from


def _costs(scores: Scores, columns: _Places | None, seen: Sequence[NDArray[np.integer]]) -> Scores:
    """Negated scores `(rows, columns)`, so that least is best; infinite for NaN and seen items.

    `columns` None stands for all items.
    """
    items = scores.shape[1]
    costs = np.negative(scores if columns is None else scores.take(columns, axis=1))
    np.fmin(costs, _NEVER, out=costs)  # prefers a number to NaN
    rows = np.repeat(np.arange(len(seen)), [len(s) for s in seen])
    hidden = np.concatenate([np.empty(0, np.int64), *seen]).astype(np.int64)
    if len(hidden) and (hidden.min() < 0 or hidden.max() >= items):
        raise ValueError(f"seen items must be indices from 0 to {items - 1}")
    if columns is not None:
        place = np.full(items, -1)
        place[columns] = np.arange(len(columns))
        hidden = place[hidden]
        rows, hidden = rows[hidden >= 0], hidden[hidden >= 0]
    costs[rows, hidden] = _NEVER
    return costs


def _within(row: _Places, rows: int) -> _Places:
    """Running number (from 0) of each entry among those of its row; `row` ascends."""
    starts = np.searchsorted(row, np.arange(rows))
    return np.arange(len(row)) - starts[row]


def _cuts(costs: Scores, k: int) -> Scores:
    """The k-th least `(rows, 1)` of costs `(rows, columns)`.

    The k-th least of the minima of disjoint blocks bounds it from above, and few costs lie below that bound. (A partial
    sort of the whole row takes twenty times longer where most of its entries are equal, as many scorers leave them.)
    """
    rows, columns = costs.shape
    size = columns // (4 * k)
    if size < 2:
        return np.partition(costs, k - 1, axis=1)[:, [k - 1]]
    blocks = columns // size  # at least k
    minima = costs[:, : size * blocks].reshape(rows, size, blocks).min(axis=1)
    cuts = np.partition(minima, k - 1, axis=1)[:, k - 1]
    row, place = np.nonzero(costs < cuts[:, None])
    below = costs[row, place]
    order = np.lexsort((below, row))
    kth = _within(row, rows) == k - 1
    cuts[row[kth]] = below[order][kth]
    return cuts[:, None]


def _draw(row: _Places, place: _Places, need: _Places, keys: keyed.Keys, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the entries at the cut `(entries,)` are in: in each row the `need` `(rows,)` with the smallest hashes.

    Hashes are uniform, so all but a few are too large to matter and are dropped before anything is sorted.
    """
    hashes = keyed.mix(keys[row], ids[place].astype(np.uint64))
    share = (need + _DEVIATIONS * (np.sqrt(need) + 2)) / np.maximum(np.bincount(row, minlength=len(need)), 1)
    limit = (np.minimum(share, 0.5) * 2.0**64).astype(np.uint64)
    limit[share > 0.5] = _LARGEST
    small = np.flatnonzero(hashes <= limit[row])
    if (np.bincount(row[small], minlength=len(need)) < need).any():  # hardly ever, yet exact
        small = np.arange(len(row))
    small = small[np.lexsort((hashes[small], row[small]))]
    chosen = np.zeros(len(row), dtype=bool)
    chosen[small[_within(row[small], len(need)) < need[row[small]]]] = True
    return chosen


def _top_places(costs: Scores, keys: keyed.Keys, ids: NDArray[np.int64], k: int) -> _Places:
    """Places `(rows, k)` of the k least of `(rows, columns)`, in any order, -1 where fewer are finite."""
    rows = len(costs)
    cuts = np.minimum(_cuts(costs, k), np.finfo(np.float32).max)  # an infinite cost is never in
    row, place = np.nonzero(costs <= cuts)
    excess = np.bincount(row, minlength=rows) - k
    if (excess > 0).any():
        tied = np.flatnonzero((excess[row] > 0) & (costs[row, place] == cuts[row, 0]))
        need = np.where(excess > 0, np.bincount(row[tied], minlength=rows) - excess, 0)
        inside = np.ones(len(row), dtype=bool)
        inside[tied] = _draw(row[tied], place[tied], need, keys, ids)
        row, place = row[inside], place[inside]
    places = np.full((rows, k), -1, dtype=np.intp)
    places[row, _within(row, rows)] = place
    return places


def top_items(
    scores: NDArray[np.floating],
    *,
    example_ids: Sequence[str],
    members: NDArray[np.bool_],
    seen: Sequence[NDArray[np.integer]],
    k: int = 100,
    seed: int = 0,
) -> tuple[Indices, Scores]:
    """The k best items of each example, best first.

    Args:
        scores: `(batch, items)`; -inf or NaN is never recommended.
        example_ids: `(batch,)`, for the order of equal scores.
        members: `(items,)`, which items may be recommended.
        seen: `(batch,)` arrays of item indices not to be recommended to that example.
        k: length of a list.
        seed: of the order of equal scores.

    Returns:
        Item indices `(batch, k)`, padded with -1 where fewer items are left, and their scores, padded with -inf.

    Raises:
        ValueError: shapes do not fit, or a seen item is no index.
    """
    batch, items = scores.shape
    if len(example_ids) != batch or len(seen) != batch or members.shape != (items,):
        raise ValueError(
            f"scores {scores.shape} need {batch} example ids, {batch} seen lists and {items} members; "
            f"got {len(example_ids)}, {len(seen)} and {members.shape}"
        )
    indices = np.full((batch, k), -1, dtype=np.int32)
    best = np.full((batch, k), -np.inf, dtype=np.float32)
    columns = None if members.all() else np.flatnonzero(members)
    ids = np.arange(items) if columns is None else columns
    kept = min(k, len(ids))
    if batch == 0 or kept == 0:
        return indices, best
    keys = keyed.string_keys(pl.Series(example_ids, dtype=pl.String), "ties", seed)
    step = max(1, _CHUNK // items)
    for start in range(0, batch, step):
        chunk = slice(start, start + step)
        costs = _costs(np.asarray(scores[chunk], dtype=np.float32), columns, seen[chunk])
        places = _top_places(costs, keys[chunk], ids, kept)
        cost = np.where(places < 0, _NEVER, np.take_along_axis(costs, places, axis=1))
        chosen = ids[places]
        hashes = keyed.mix(np.broadcast_to(keys[chunk, None], chosen.shape), chosen.astype(np.uint64))
        order = np.lexsort((hashes, cost), axis=-1)
        indices[chunk, :kept] = np.take_along_axis(np.where(places < 0, -1, chosen), order, axis=1)
        best[chunk, :kept] = -np.take_along_axis(cost, order, axis=1)
    return indices, best


def seen_items(interactions: pl.DataFrame, view: Catalogue) -> dict[str, Indices]:
    """Item indices by user, of interactions (user_id, item_id); for histories longer than an example shows."""
    known = interactions.select("user_id", "item_id").join(
        view.items.select("item_id", "item_index"), on="item_id", how="inner"
    )
    ordered = known.sort("user_id", "item_index")
    users = ordered.group_by("user_id", maintain_order=True).len()
    parts = np.split(ordered["item_index"].to_numpy(), np.cumsum(users["len"].to_numpy())[:-1])
    return dict(zip(users["user_id"].to_list(), parts, strict=False))


def _examples_of(block: ScoreBlock, examples: pl.DataFrame) -> pl.DataFrame:
    """The block's examples, in its order: example_id, user_id, cohort, `past` (item ids).

    Raises:
        PredictionError: the block names an example twice, or one that was not asked.
    """
    ids = pl.Series("example_id", block.example_ids, dtype=pl.String)
    if ids.n_unique() < len(ids):
        raise PredictionError("a score block names an example twice; score every example once")
    past = pl.col("history").list.eval(pl.element().struct.field("item_id")).alias("past")
    asked = examples.filter(pl.col("example_id").is_in(ids.implode())).select("example_id", "user_id", "cohort", past)
    found = ids.to_frame().join(asked, on="example_id", how="left", maintain_order="left")
    strange = found.filter(pl.col("cohort").is_null())["example_id"]
    if len(strange):
        raise PredictionError(f"a score block names example {strange[0]}, which was not asked; keep to the given ones")
    return found


def ranked(
    block: ScoreBlock,
    examples: pl.DataFrame,
    view: Catalogue,
    seed: int,
    *,
    k: int = 100,
    seen: Mapping[str, NDArray[np.integer]] | None = None,
) -> pl.DataFrame:
    """A score block as predictions: each example ranked over its cohort's items, without those it has seen.

    Args:
        block: scores of all items for some of the examples.
        examples: at least these examples, with columns of `schemas.EXAMPLES`; items of `history` count as seen.
        view: the catalogue whose `item_index` order the scores have.
        seed: of the order of equal scores.
        k: length of a list.
        seen: further seen items by user id, as `seen_items` gives them.

    Returns:
        A frame of `schemas.PREDICTIONS["ranking"]` in the order of the block; lists are null where no item is left.

    Raises:
        PredictionError: an example is named twice or was not asked, or the scores have another shape.
    """
    wanted = (len(block.example_ids), view.items.height)
    if block.scores.shape != wanted:
        raise PredictionError(f"a score block is {block.scores.shape}, wanted (examples, items) = {wanted}")
    asked = _examples_of(block, examples)
    index, further = view.index, seen or {}
    nothing = np.empty(0, dtype=np.int64)
    hidden = [
        # An item that the catalogue does not hold cannot be recommended anyway.
        np.concatenate([[index[i] for i in past or [] if i in index], further.get(user, nothing)]).astype(np.int64)
        for user, past in asked.select("user_id", "past").iter_rows()
    ]
    indices = np.full((len(asked), k), -1, dtype=np.int32)
    best = np.full((len(asked), k), -np.inf, dtype=np.float32)
    for part in asked.with_row_index("row").partition_by("cohort", maintain_order=True):
        rows = part["row"].to_numpy()
        indices[rows], best[rows] = top_items(
            block.scores if len(rows) == len(asked) else block.scores[rows],
            example_ids=part["example_id"].to_list(),
            members=view.members(part["cohort"][0]),
            seen=[hidden[row] for row in rows],
            k=k,
            seed=seed,
        )
    row, place = np.nonzero(indices >= 0)
    flat = pl.DataFrame(
        {"row": row, "item_ids": view.items["item_id"].gather(indices[row, place]), "scores": best[row, place]}
    )
    lists = flat.group_by("row", maintain_order=True).agg("item_ids", "scores")
    numbered = asked.select("example_id", row=pl.int_range(pl.len(), dtype=pl.Int64))
    joined = numbered.join(lists, on="row", how="left", maintain_order="left")
    return conform(joined, PREDICTIONS["ranking"].columns)
