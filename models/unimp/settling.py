"""What validation settles once a system's weights stand (`decisions.py` says how)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unimp.decisions import Decisions, Floats, chances_of_items, scale, threshold
from unimp.shop import Shop
from unimp.validation import Validation, true_ratings

if TYPE_CHECKING:
    from unimp.system import System

_SETTLED, _FEWEST = 1000, 200  # examples of a task by which decisions are made, and those of the shortest training


def settle(system: System, shop: Shop) -> None:
    """Settle on validation how ratings are scaled and which candidates are taken; what it cannot say stays."""
    if not system.options.settle:
        return
    before = system.decisions
    scaled, chosen = before.scale, None
    decoder = system.decoder()
    asked_of = [task for task in ("preference", "selection") if task in system.tasks]
    most = min(_SETTLED, max(_FEWEST, system.options.times(_SETTLED)))
    examples = Validation(system, shop, asked_of, most=most).examples
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
                ranked = decoder.rank("recommendation", asked)
            other = threshold(chances_of_items(ranked, asked), asked)
            if chosen is not None and other is not None and other[1] > chosen[1]:
                chosen, by = other, "items"
    own = Decisions(scaled, chosen[0], by) if chosen else dataclasses.replace(before, scale=scaled)
    system.decisions = system.team.agree(own)


def _told_errors(system: System, expected: Floats, likeliest: NDArray[np.int64], true: Floats) -> None:
    """Tell what either way to answer a rating comes to on validation, whichever of them is answered."""
    errors = {
        name: float(np.sqrt(np.mean((said - true) ** 2)))
        for name, said in (("expected", expected), ("likeliest", likeliest))
    }
    system.notes.append("validation RMSE of ratings: " + ", ".join(f"{n} {e:.4f}" for n, e in errors.items()))
    if system.record is not None:
        system.record("settle", 0, **{f"valid_rmse_{name}": error for name, error in errors.items()})
