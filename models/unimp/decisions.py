"""What is settled on validation once the weights stand: ratings' scale, candidates' threshold, neighbours' weight.

    rating      r = a + b E[r]       least squares (`scale`); focal training leaves chances too even (Mukhoti et al.
                                     2020), so that their mean leans to the middle and says too little
    selection   all candidates with a score of t or more, at least one; t has the best macro F1 (`threshold`). Scores
                are chances of the labels `s_k`, or the candidates' item ids asked for as a recommendation
                (`chances_of_items`), whichever select better: labels want far more examples to mean something
    neighbours  logits + w s(j), with s of `neighbours.py`; of WEIGHTS the one with the best NDCG@5, for recommendations
                and for searches, where it gains more than the standard error of the gain; else 0 (`best_weight`)

Five numbers in all, from some hundred examples. `options.settle = False` leaves the model's own word: the plain
expected rating, the labels as they are written, no neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unimp.shop import Example

Floats = NDArray[np.float32]
LEAST = 20  # examples below which nothing is settled
LEAST_RANKED = 100  # examples below which neighbours are not weighed: few of them find what was bought at all
WEIGHTS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0)  # of neighbours


@dataclass(frozen=True)
class Decisions:
    """What was settled; None where nothing was: `scale` is (a, b) above, `threshold` is t of scores `by`.

    `neighbours` are their weights w by task.
    """

    scale: tuple[float, float] | None = None
    threshold: float | None = None
    by: str = "labels"
    neighbours: Mapping[str, float] = field(default_factory=dict)

    def ratings(self, expected: Floats) -> Floats:
        """Scaled ratings `(n,)`, none beyond 1 to 5."""
        if self.scale is None:
            return expected
        offset, slope = self.scale
        scaled: Floats = np.clip(offset + slope * expected, 1.0, 5.0).astype(np.float32)
        return scaled

    def facts(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return asdict(self)

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Decisions:
        """From `facts`."""
        scale = facts["scale"]
        near = facts.get("neighbours", {})  # not there before `unimp` 7
        return cls(tuple(scale) if scale is not None else None, facts["threshold"], facts["by"], near)


def scale(expected: Floats, true: Floats) -> tuple[float, float] | None:
    """Offset and slope of the least squares line from expected ratings to true ones, both `(n,)`.

    A slope below zero is chance, and becomes zero: the mean is answered then.
    """
    if len(true) < LEAST:
        return None
    x, y = expected.astype(np.float64), true.astype(np.float64)
    spread = float(((x - x.mean()) ** 2).sum())
    slope = max(float(((x - x.mean()) * (y - y.mean())).sum() / spread), 0.0) if spread > 0 else 0.0
    return float(y.mean() - slope * x.mean()), slope


def threshold(scores: Sequence[Floats], examples: Sequence[Example]) -> tuple[float, float] | None:
    """The score from which candidates are taken, of the best macro F1, and that F1; of equal ones the middle.

    Args:
        scores: of each example's candidates.
        examples: with answers.
    """
    if len(examples) < LEAST:
        return None
    levels = np.unique(np.concatenate([*scores, np.zeros(1, dtype=np.float32)]))
    tried = np.unique(np.quantile(levels, np.linspace(0, 1, 101), method="nearest"))
    reached = np.array([np.mean([_f1(own, e, t) for own, e in zip(scores, examples, strict=True)]) for t in tried])
    best = tried[reached >= reached.max() - 1e-12]
    return float(best[len(best) // 2]), float(reached.max())


def best_weight(reached: NDArray[np.float64]) -> int:
    """Which of some weights to take, given what each reached in each example `(weights, examples)`; the first is none.

    That of the highest mean, the first of equals, where its paired gain over none is above the gain's standard error.
    """
    gains = reached - reached[0]
    best = int(gains.mean(1).argmax())
    error = gains[best].std(ddof=1) / np.sqrt(gains.shape[1])
    return best if gains[best].mean() > error * (1 + 1e-9) else 0


def chances_of_items(ranked: Floats, examples: Sequence[Example]) -> list[Floats]:
    """Scores of each example's candidates as shares of them all, given scores of all items `(n, items)` as logits."""
    found = []
    for row, example in zip(ranked, examples, strict=True):
        own = np.exp(
            row[list(example.candidates)].astype(np.float64) - row[list(example.candidates)].max(initial=-1e30)
        )
        found.append((own / max(own.sum(), 1e-30)).astype(np.float32))
    return found


def taken(scores: Floats, at_least: float) -> list[int]:
    """Places of candidates whose score `(candidates,)` reaches the threshold; the best one where none does."""
    return np.flatnonzero(scores >= at_least).tolist() or ([int(scores.argmax())] if len(scores) else [])


def _f1(scores: Floats, example: Example, at_least: float) -> float:
    places = taken(scores, at_least)
    hits = sum(example.candidates[k] in example.answer_items for k in places)
    return 2 * hits / max(len(places) + len(example.answer_items), 1)
