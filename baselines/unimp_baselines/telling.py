"""A training that tells how it goes: a bar of epochs, the learning curve, and one line at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from unimp_bench.runners.protocol import Context

Step = Callable[[int, float, float | None], None]  # epoch from 1, loss, validation score


def told(
    context: Context, system: str, cohort: str, epochs: int, measure: str, train: Callable[[Step], dict[str, Any]]
) -> dict[str, Any]:
    """What `train` gives, told to the run's progress and curve.

    Args:
        context: of the run.
        system: the runner's name.
        cohort: whose rows are learned.
        epochs: at most.
        measure: what validation scores are, as "NDCG@10".
        train: trains; it tells what it is given after each epoch, and gives `learning.train`'s facts.
    """
    key = f"valid_{measure.lower().replace('@', '')}"
    context.progress.start(f"{system}: {cohort}", epochs, "epochs")

    def step(epoch: int, loss: float, score: float | None) -> None:
        context.progress.advance()
        context.record("fit", epoch, loss=loss, **({} if score is None else {key: score}))

    facts = train(step)
    context.progress.finish()
    best = f"best after {facts['best_epoch']} with validation {measure} {facts['best']:.4f}"
    ending = best if facts["best"] >= 0 else "there was no validation"  # -1 stands for none
    context.progress.say(f"{system}: {facts['epoch']} epochs in {facts['seconds']:.0f} s; {ending}")
    return facts
