"""Selection: the subset of candidates with the highest expected F1, found by weighing all sets of positives.

Shapes: E examples, K shortlisted candidates, T choice types.
"""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_bench.data.sources.synthetic.inference import UNKNOWN, Inference, Seen
from unimp_bench.data.sources.synthetic.world import Floats, Ints

_SHORTLIST = 8  # candidates that are weighed against each other; the rest cannot be chosen
_MOST_POSITIVES = 3


def best_subsets(shop: Inference, block: pl.DataFrame, belief: Floats, seen: Seen) -> pl.DataFrame:
    """Chosen items (likeliest first) and their probabilities, under beliefs about choice types `(E, T)`."""
    candidates = block["candidates"].to_list()
    width = max((len(c) for c in candidates), default=0)
    items = np.full((block.height, width), UNKNOWN)
    for row, ids in enumerate(candidates):
        items[row, : len(ids)] = shop.items(pl.Series(ids, dtype=pl.String))
    single = np.take_along_axis(shop.next_items(belief, seen), np.maximum(items, 0), axis=1)
    short = np.argsort(-np.where(items == UNKNOWN, -1.0, single), axis=1, kind="stable")[:, :_SHORTLIST]
    near = np.take_along_axis(items, short, axis=1)
    validated = (block["cohort"] != "new_user").to_numpy()
    subsets, weight = _hypotheses(shop, near, belief, seen, validated, width)
    chosen, chance = _most_f1(subsets, weight)
    rows = []
    for example, ids in enumerate(candidates):
        order = sorted(np.flatnonzero(chosen[example]).tolist(), key=lambda place: -chance[example, place])
        order = [place for place in order if short[example, place] < len(ids)]
        rows.append(
            {
                "item_ids": [ids[short[example, place]] for place in order],
                "scores": [float(chance[example, place]) for place in order],
            }
        )
    kinds = {"item_ids": pl.List(pl.String), "scores": pl.List(pl.Float32)}
    return pl.concat([block.select("example_id"), pl.DataFrame(rows, schema=kinds)], how="horizontal")


def _hypotheses(
    shop: Inference, near: Ints, belief: Floats, seen: Seen, validated: NDArray[np.bool_], width: int
) -> tuple[NDArray[np.bool_], Floats]:
    """All sets of 1-3 positives `(hypotheses, K)`, and how likely each is `(E, hypotheses)`.

    A set is weighed by the probability that the customer bought just these, in any order, where the history lacks them,
    and that uniform draws gave the other candidates; the three sizes are equally likely before.
    """
    places = near.shape[1]
    subsets = [s for n in range(1, min(_MOST_POSITIVES, places) + 1) for s in combinations(range(places), n)]
    member = np.zeros((len(subsets), places), dtype=bool)
    weight = np.zeros((len(near), len(subsets)))
    bought = shop.choice_of(near, seen)  # (E, K, T)
    roads = _roads(shop, near, seen, validated)
    open_items = max(len(shop.truth.world.item_ids), 2 * width)
    for number, subset in enumerate(subsets):
        member[number, list(subset)] = True
        together = (belief * np.prod(bought[:, list(subset)], axis=1)).sum(axis=1)
        others = width - len(subset)
        # 1 / C(open_items, others)
        negatives = np.prod(np.arange(1, others + 1) / (open_items - np.arange(others)))
        weight[:, number] = together * negatives * sum(roads[order] for order in permutations(subset))
    return member, weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)


def _most_f1(subsets: NDArray[np.bool_], weight: Floats) -> tuple[NDArray[np.bool_], Floats]:
    """The answer of highest expected F1 `(E, K)`, and the probability of each candidate to be a positive `(E, K)`.

    `subsets` are the possible truths `(hypotheses, K)` and `weight` `(E, hypotheses)` their probabilities.
    """
    places = subsets.shape[1]
    answers = [s for n in range(1, places + 1) for s in combinations(range(places), n)]
    offered = np.zeros((len(answers), places), dtype=bool)
    for number, answer in enumerate(answers):
        offered[number, list(answer)] = True
    hits = offered.astype(np.float64) @ subsets.T.astype(np.float64)
    f1 = 2 * hits / (offered.sum(axis=1)[:, None] + subsets.sum(axis=1)[None, :])
    expected = (weight @ f1.T).round(9)  # behind these digits it depends on how many examples are multiplied at once
    return offered[expected.argmax(axis=1)], weight @ subsets


def _roads(shop: Inference, near: Ints, seen: Seen, validated: NDArray[np.bool_]) -> dict[tuple[int, ...], Floats]:
    """P(categories) `(examples,)` of every ordered set of positives, the latest last.

    Where there was a validation row it is the last of the history and stands between the withheld positives and the
    last positive; new users have none, and their positives follow the history one after the other.
    """
    world = shop.truth.world
    category = np.maximum(near, 0) // world.each
    behind = [np.full(len(near), -1) for _ in range(2)]  # categories of the last and the second-last entry
    for back, found in enumerate(behind):
        ends = np.flatnonzero(np.diff(seen.example, append=-1)) - back
        fits = ends >= 0
        same = seen.example[ends[fits]] == seen.example[ends[fits] + back]
        found[seen.example[ends[fits][same]]] = seen.item[ends[fits][same]] // world.each
    last, second = behind

    def step(before: Ints, after: Ints) -> Floats:
        return np.asarray(np.where(before < 0, world.start[after], world.transitions[before, after]))

    roads = {}
    between = np.where(validated & (last >= 0), last, 0)
    for count in range(1, min(_MOST_POSITIVES, near.shape[1]) + 1):
        for order in permutations(range(near.shape[1]), count):
            steps = [category[:, place] for place in order]
            plain = through = np.ones(len(near))
            here, there = last, second
            for after in steps[:-1]:
                plain, here = plain * step(here, after), after
                through, there = through * step(there, after), after
            plain = plain * step(here, steps[-1])
            through = through * step(there, between) * step(last, steps[-1])
            roads[order] = np.where(validated, through, plain)
    return roads
