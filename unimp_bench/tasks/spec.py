"""The six tasks as data: what each needs from a source, what it answers, how it is scored first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AnswerKind = Literal["ranking", "rating", "text", "selection", "image"]


@dataclass(frozen=True)
class TaskSpec:
    """One task.

    `needs` names what a source must have: "ratings", "explanations", "categories", "images". `metric` is the first
    metric on a leaderboard. `unanswered` says how an example without an answer is scored.
    """

    name: str
    version: int
    answer: AnswerKind
    metric: str
    needs: frozenset[str]
    unanswered: str


TASKS: dict[str, TaskSpec] = {
    spec.name: spec
    for spec in (
        TaskSpec("recommendation", 1, "ranking", "ndcg@5", frozenset(), "scored 0"),
        TaskSpec("preference", 1, "rating", "rmse", frozenset({"ratings"}), "scored as the worst possible rating"),
        TaskSpec("explanation", 1, "text", "rouge_l", frozenset({"explanations"}), "scored 0"),
        TaskSpec("selection", 1, "selection", "f1", frozenset(), "scored 0"),
        TaskSpec("search", 1, "ranking", "ndcg@5", frozenset({"categories"}), "scored 0"),
        TaskSpec(
            "image_generation", 1, "image", "kid", frozenset({"images", "categories"}), "scored as a plain grey picture"
        ),
    )
}
