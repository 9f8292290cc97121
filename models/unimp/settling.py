"""What validation settles once a system's weights stand (`decisions.py` says how)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unimp.decisions import LEAST_RANKED, WEIGHTS, Decisions, Floats, best_weight, chances_of_items, scale, threshold
from unimp.decoding import Decoder
from unimp.neighbours import Neighbours
from unimp.ranking import RANKED
from unimp.shop import Example, Shop
from unimp.validation import Validation, gains, true_ratings

if TYPE_CHECKING:
    from unimp.system import System

_RANKED = ("recommendation", "search")
_BLOCK = 100  # examples whose scores of the whole catalogue are held together
_SETTLED, _FEWEST = 1000, 200  # examples of a task by which decisions are made, and those of the shortest training


def settle(system: System, shop: Shop) -> None:
    """Settle on validation what `decisions.py` lists; what it cannot say stays."""
    if not system.options.settle:
        return
    before = system.decisions
    scaled, chosen = before.scale, None
    decoder = system.decoder()
    asked_of = [task for task in (*_RANKED, "preference", "selection") if task in system.tasks]
    most = min(_SETTLED, max(_FEWEST, system.options.times(_SETTLED)))
    examples = Validation(system, shop, asked_of, most=most).examples
    if system.options.wants_neighbours:
        _weigh(system, shop, {task: examples[task] for task in _RANKED if task in examples}, decoder)
    if rated := examples.get("preference"):
        with system.tuned("preference"):
            expected, likeliest = decoder.rate(rated)
        true = true_ratings(rated)
        scaled = scale(expected, true) or scaled
        _told_errors(system, Decisions(scaled).ratings(expected), likeliest, true)
    by = "labels"
    if asked := examples.get("selection"):
        with system.tuned("selection"):
            _, scores = decoder.choose(asked)
        chosen = threshold(scores, asked)
        if "recommendation" in system.tasks and system.vocabulary.levels == 1:
            with system.tuned("recommendation"):
                ranked = system.rank("recommendation", asked, decoder)
            other = threshold(chances_of_items(ranked, asked), asked)
            if chosen is not None and other is not None and other[1] > chosen[1]:
                chosen, by = other, "items"
    own = dataclasses.replace(system.decisions, scale=scaled)
    if chosen is not None:
        own = dataclasses.replace(own, threshold=chosen[0], by=by)
    system.decisions = system.team.agree(own)


def _weigh(system: System, shop: Shop, examples: Mapping[str, Sequence[Example]], decoder: Decoder) -> None:
    """Settle the weight of neighbours for each task of which enough was asked; it is 0 for others."""
    asked_of = {task: asked for task, asked in examples.items() if len(asked) >= LEAST_RANKED}
    if not asked_of:
        return
    system.neighbours = system.timed("neighbours", lambda: Neighbours.of(shop.log, len(shop.items)))
    weights = {task: _weight(system, task, asked, decoder) for task, asked in asked_of.items()}
    system.decisions = dataclasses.replace(system.decisions, neighbours=weights)


def _weight(system: System, task: str, asked: Sequence[Example], decoder: Decoder) -> float:
    """The weight of neighbours that ranks best."""
    reached = np.zeros((len(WEIGHTS), len(asked)))
    for start in range(0, len(asked), _BLOCK):
        part = asked[start : start + _BLOCK]
        with system.tuned(task):
            own = decoder.rank(task, part, k=RANKED)
        own[:, ~system.shown] = -np.inf
        near = system.near_scores(part)
        for row, weight in zip(reached, WEIGHTS, strict=True):
            row[start : start + _BLOCK] = gains(own + weight * near, part)
    told = {f"{weight:g}": float(value) for weight, value in zip(WEIGHTS, reached.mean(1), strict=True)}
    listed = ", ".join(f"{weight} {value:.4f}" for weight, value in told.items())
    best = WEIGHTS[best_weight(reached)]
    system.notes.append(f"validation NDCG@5 of {task} by the weight of neighbours: {listed}; taken: {best:g}")
    if system.record is not None:
        system.record("settle", 0, **{f"valid_{task}_neighbours_{weight}": value for weight, value in told.items()})
    return best


def _told_errors(system: System, expected: Floats, likeliest: NDArray[np.int64], true: Floats) -> None:
    """Tell what either way to answer a rating comes to on validation, whichever of them is answered."""
    errors = {
        name: float(np.sqrt(np.mean((said - true) ** 2)))
        for name, said in (("expected", expected), ("likeliest", likeliest))
    }
    system.notes.append("validation RMSE of ratings: " + ", ".join(f"{n} {e:.4f}" for n, e in errors.items()))
    if system.record is not None:
        system.record("settle", 0, **{f"valid_rmse_{name}": error for name, error in errors.items()})
