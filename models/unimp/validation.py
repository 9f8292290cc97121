"""How an epoch is judged: each task's first metric on validation examples, and one number to choose by.

    recommendation, search   NDCG@5 over the domains that are learned, history items left out
    preference               1 / (1 + RMSE) of the expected rating, scaled
    selection                macro F1 of what is chosen, by the best threshold
    explanation              exp(-loss) of the answer's ids, the mean probability of an id

The one number is their mean. All lie between 0 and 1 and more is better. The test set is never touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from unimp import precision
from unimp.batching import collate
from unimp.decisions import Decisions, scale, threshold
from unimp.losses import focal, supervised_places
from unimp.modeling import Unimp
from unimp.shop import Example, Shop
from unimp.vocabulary import IGNORED

if TYPE_CHECKING:
    from unimp.system import System

MOST = 200  # examples of a task after each epoch: validating is not to take longer than learning


class Validation:
    """Validation of some tasks; calling it gives the metrics of a model."""

    select, higher = "mean", True

    def __init__(self, system: System, shop: Shop, tasks: Sequence[str], most: int = MOST) -> None:
        self.system = system
        self.examples: dict[str, list[Example]] = {}
        for task in tasks:
            known = list(shop.valid.get(task, ()))
            order = np.random.default_rng([system.seed, 5]).permutation(len(known))[:most]
            if known:
                self.examples[task] = [known[k] for k in sorted(order)]

    def asked(self) -> dict[str, Any]:
        """What `training.train` is told; nothing where there are no examples, so that the last epoch is taken."""
        return {"validate": self, "select": self.select, "higher": self.higher} if self.examples else {}

    def __call__(self, model: Unimp) -> dict[str, float]:
        """Metrics, and `mean` of them."""
        found = {task: self._of(task, examples, model) for task, examples in self.examples.items()}
        return {**{f"valid_{task}": value for task, value in found.items()}, "mean": _mean(found.values())}

    def _of(self, task: str, examples: list[Example], model: Unimp) -> float:
        decoder = self.system.decoder(model)
        if task in ("recommendation", "search"):
            scores = decoder.rank(task, examples, k=50)
            scores[:, ~self.system.shown] = -np.inf  # items of other domains are nobody's rivals
            return ndcg(scores, examples)
        if task == "preference":
            expected, _ = decoder.rate(examples)
            true = true_ratings(examples)
            if self.system.options.settle:
                expected = Decisions(scale(expected, true)).ratings(expected)
            return float(1 / (1 + np.sqrt(np.mean((expected - true) ** 2))))
        if task == "selection":
            chosen, chances = decoder.choose(examples)
            if self.system.options.settle and (best := threshold(chances, examples)) is not None:
                return best[1]
            return f1(chosen, examples)
        if self.system.style.joint:  # an explanation follows the rating that the model gives
            _, likeliest = decoder.rate(examples)
            examples = [replace(e, answer_rating=float(r)) for e, r in zip(examples, likeliest, strict=True)]
        return self._probability(task, examples, model)

    @torch.no_grad()
    def _probability(self, task: str, examples: list[Example], model: Unimp) -> float:
        system, losses = self.system, []
        model.train(False)
        for start in range(0, len(examples), 16):
            rows = []
            for example in examples[start : start + 16]:
                row = system.writer.row(task, example)
                history = row.ends[-1]
                row.labels[:history] = [IGNORED] * history
                rows.append(row)
            batch = collate(rows, system.parts.has_picture, system.vocabulary.pad).to(model.device)
            patches = system.parts.patches(batch.pictures) if len(batch.pictures) else None
            with precision.products(model.device):
                read = model.read(batch, patches.to(model.device) if patches is not None else None)
            places = supervised_places(batch.labels)
            logits = model.head(read.flatten(0, 1)[places - 1])
            losses.append(focal(logits, batch.labels.flatten()[places], 0.0).cpu())
        return float(torch.exp(-torch.cat(losses).mean()))


def ndcg(scores: NDArray[np.float32], examples: Sequence[Example], k: int = 5) -> float:
    """Mean of `gains`; 0 of nobody."""
    return float(gains(scores, examples, k).mean()) if len(examples) else 0.0


def gains(scores: NDArray[np.float32], examples: Sequence[Example], k: int = 5) -> NDArray[np.float64]:
    """NDCG@k `(n,)` of scores `(n, items)`; history items are left out, equal scores count against the answer.

    So does a score that is no number.
    """
    found = np.zeros(len(examples))
    for n, (row, example) in enumerate(zip(scores, examples, strict=True)):
        own = row.copy()
        answer = example.answer_items[0]
        target = own[answer]
        own[example.history] = -np.inf
        own[answer] = -np.inf
        rank = int((~(own < target)).sum())
        found[n] = 1 / np.log2(rank + 2) if rank < k else 0.0
    return found


def f1(chosen: Sequence[Sequence[int]], examples: Sequence[Example]) -> float:
    """Macro F1 of chosen places among candidates."""
    values = []
    for places, example in zip(chosen, examples, strict=True):
        picked = {example.candidates[k] for k in places}
        hits = len(picked & set(example.answer_items))
        values.append(2 * hits / max(len(picked) + len(example.answer_items), 1))
    return float(np.mean(values)) if values else 0.0


def true_ratings(examples: Sequence[Example]) -> NDArray[np.float32]:
    """Ratings that were given `(n,)`."""
    return np.array([e.answer_rating for e in examples], dtype=np.float32)


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return float(np.mean(listed)) if listed else 0.0
