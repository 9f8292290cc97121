"""What validation settles: a line for ratings, a threshold and whose scores it is of, neighbours' weight; all told."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from unimp.decisions import Decisions
from unimp.neighbours import Neighbours
from unimp.options import Options
from unimp.settling import settle
from unimp.shop import Example, Log
from unimp.system import System
from unimp.validation import ndcg

TRUE = np.tile([1.0, 3.0, 5.0], 10).astype(np.float32)


def examples() -> dict[str, list[Example]]:
    nothing = {"cohort": "", "history": np.zeros(0, np.int64), "ratings": np.zeros(0, np.float32), "whys": ()}
    rated = [Example(id=f"r{k}", answer_rating=float(r), target=0, **nothing) for k, r in enumerate(TRUE)]
    chosen = [Example(id=f"s{k}", candidates=(0, 1, 2), answer_items=(k % 3,), **nothing) for k in range(30)]
    return {"preference": rated, "selection": chosen}


class Decoder:
    """Expected ratings lean to the middle; labels know nothing; item scores know everything."""

    def rate(self, asked: list[Example]) -> tuple[np.ndarray, np.ndarray]:
        true = np.array([e.answer_rating for e in asked])
        return (3 + 0.25 * (true - 3)).astype(np.float32), np.full(len(asked), 3)

    def choose(self, asked: list[Example]) -> tuple[list[list[int]], list[np.ndarray]]:
        return [[0]] * len(asked), [np.full(3, 1 / 3, np.float32)] * len(asked)

    def rank(self, task: str, asked: list[Example], k: int = 10) -> np.ndarray:
        return 9 * np.eye(3, dtype=np.float32)[[e.answer_items[0] for e in asked]]


def system(decisions: Decisions, **more: Any) -> Any:
    told: list[dict[str, float]] = []
    given: dict[str, Any] = {
        "options": Options(),
        "tasks": ("recommendation", "preference", "selection"),
        "vocabulary": SimpleNamespace(levels=1),
        "team": SimpleNamespace(agree=lambda value: value),
        "record": lambda stage, step, **values: told.append(values),
        "seed": 0,
        "told": told,
        "notes": [],
        "decisions": decisions,
        "decoder": Decoder,
        "tuned": lambda task: nullcontext(),
        "rank": lambda *asked: System.rank(made, *asked),
        "neighbours": None,
        "near_scores": lambda asked: System.near_scores(made, asked),
        "style": SimpleNamespace(history=5, earlier=20),
        "shown": np.ones(3, dtype=bool),
        "timed": lambda stage, work: work(),
    }
    made = SimpleNamespace(**given | more)
    return made


def test_ratings_are_scaled_and_both_ways_are_told() -> None:
    made = system(Decisions())
    settle(made, SimpleNamespace(valid=examples()))  # type: ignore[arg-type]
    assert made.decisions.scale == pytest.approx((-9.0, 4.0))
    (told,) = made.told
    assert told["valid_rmse_expected"] == pytest.approx(0, abs=1e-5)
    assert told["valid_rmse_likeliest"] == pytest.approx((8 / 3) ** 0.5)
    assert made.notes == ["validation RMSE of ratings: expected 0.0000, likeliest 1.6330"]


def test_selection_goes_by_what_selects_better() -> None:
    made = system(Decisions())
    settle(made, SimpleNamespace(valid=examples()))  # type: ignore[arg-type]
    assert made.decisions.by == "items"
    alone = system(Decisions(), tasks=("selection",))
    settle(alone, SimpleNamespace(valid=examples()))  # type: ignore[arg-type]
    assert alone.decisions.by == "labels"


@pytest.mark.parametrize(("effort", "looked_at"), [(0.1, 200), (0.5, 500), (1, 1000), (3, 1000)])
def test_a_short_training_is_settled_by_fewer_examples(effort: float, looked_at: int) -> None:
    asked: list[int] = []

    class Counting(Decoder):
        def rate(self, asked_of: list[Example]) -> tuple[np.ndarray, np.ndarray]:
            asked.append(len(asked_of))
            return super().rate(asked_of)

    many = [replace(one, id=f"{one.id}.{k}") for k in range(40) for one in examples()["preference"]]
    made = system(Decisions(), options=Options(effort=effort), decoder=Counting)
    settle(made, SimpleNamespace(valid={"preference": many}))  # type: ignore[arg-type]
    assert asked == [looked_at]


def test_what_too_few_examples_cannot_say_stays_and_nothing_is_settled_unasked() -> None:
    before = Decisions((0.5, 0.9), 0.4, "items")
    few = {task: asked[:5] for task, asked in examples().items()}
    made = system(before)
    settle(made, SimpleNamespace(valid=few))  # type: ignore[arg-type]
    assert made.decisions == before
    unasked = system(before, options=Options(settle=False))
    settle(unasked, SimpleNamespace(valid=examples()))  # type: ignore[arg-type]
    assert unasked.decisions == before


def recommended(history: int, answer: int, count: int) -> list[Example]:
    bought = np.full(1, history)
    return [Example(f"n{k}", "", bought, np.ones(1, np.float32), (None,), answer_items=(answer,)) for k in range(count)]


def shop_of_pairs(asked: list[Example], **valid: list[Example]) -> Any:
    """Items 0 and 1 are bought together, 2 alone: 1 is near 0 with 2 / 3."""
    nothing = np.full(5, -1)
    offsets, item = np.array([0, 2, 4, 5]), np.array([0, 1, 0, 1, 2])
    log = Log(offsets, item, nothing.astype(np.float32), [None] * 5, nothing, (), {})
    return SimpleNamespace(log=log, items=range(3), valid={"recommendation": asked, **valid})


class Popular(Decoder):
    """Thinks item 2 likelier than item 1 by a logit, whoever asks."""

    def rank(self, task: str, asked: list[Example], k: int = 10) -> np.ndarray:
        return np.tile(np.array([0.0, 0.0, 1.0], np.float32), (len(asked), 1))


def test_neighbours_count_as_much_as_ranks_best() -> None:
    made = system(Decisions(), decoder=Popular)
    settle(made, shop_of_pairs([*recommended(0, 1, 120), *recommended(1, 2, 30)]))  # more than are scored together
    assert made.decisions.neighbours == {"recommendation": 2}  # the least that lifts 1 above 2; more is no better
    second = 1 / np.log2(3)
    (told,) = made.told
    assert told["valid_recommendation_neighbours_0"] == pytest.approx(0.8 * second + 0.2)
    assert told["valid_recommendation_neighbours_2"] == pytest.approx(0.8 + 0.2 * second)
    assert told["valid_recommendation_neighbours_2"] == told["valid_recommendation_neighbours_20"]
    (note,) = made.notes
    assert note.startswith(
        "validation NDCG@5 of recommendation by the weight of neighbours: 0 0.7047, 1 0.7047, 2 0.9262"
    )
    assert note.endswith("; taken: 2")


def test_items_of_domains_that_nobody_learned_are_no_rivals() -> None:
    made = system(Decisions(), decoder=Popular, shown=np.array([True, True, False]))
    settle(made, shop_of_pairs(recommended(0, 1, 120)))
    assert made.told[0]["valid_recommendation_neighbours_0"] == 1
    assert made.decisions.neighbours == {"recommendation": 0}


def test_neighbours_that_mislead_count_nothing_and_tasks_nobody_asked_neither() -> None:
    made = system(Decisions(neighbours={"recommendation": 5.0, "search": 2.0}), decoder=Popular)
    settle(made, shop_of_pairs(recommended(0, 2, 120)))
    assert made.decisions.neighbours == {"recommendation": 0}


def test_a_selection_by_items_counts_neighbours_too() -> None:
    made = system(Decisions(), decoder=Popular)
    nothing = {"cohort": "", "ratings": np.ones(1, np.float32), "whys": (None,), "history": np.zeros(1, np.int64)}
    asked = [Example(f"s{k}", candidates=(2, 0, 1), answer_items=(1,), **nothing) for k in range(30)]
    settle(made, shop_of_pairs(recommended(0, 1, 120), selection=asked))
    assert made.decisions.by == "items"
    logits = np.array([1.0, 0.0, 2 * 2 / 3])
    assert np.exp(1.0) / np.exp(logits).sum() < made.decisions.threshold <= np.exp(4 / 3) / np.exp(logits).sum() + 1e-6


@pytest.mark.parametrize(
    ("options", "count"), [(Options(neighbours=False), 120), (Options(settle=False), 120), (Options(), 99)]
)
def test_neighbours_that_nobody_wants_or_can_judge_stay_as_they_were(options: Options, count: int) -> None:
    before = Neighbours(np.zeros(4, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
    made = system(Decisions(neighbours={"recommendation": 5.0}), options=options, neighbours=before)
    settle(made, shop_of_pairs(recommended(0, 1, count)))
    assert made.decisions.neighbours == {"recommendation": 5}
    assert made.neighbours is before


def test_small_presets_want_neighbours_and_the_papers_do_not() -> None:
    wanting = [name for name in ("tiny", "small", "paper", "mpt-1b") if Options(preset=name).wants_neighbours]
    assert wanting == ["tiny", "small"]
    assert Options(preset="paper", neighbours=True).wants_neighbours
    assert not Options(neighbours=False).wants_neighbours


def test_scores_that_are_no_numbers_or_all_alike_find_nothing() -> None:
    asked = [Example("a", "", np.array([1]), np.ones(1, np.float32), (None,), answer_items=(4,))]
    right = np.arange(6, dtype=np.float32)[None]
    assert ndcg(right, asked) == pytest.approx(1 / np.log2(3))  # item 5 alone stands before item 4
    assert ndcg(np.full((1, 12), np.nan, dtype=np.float32), asked) == 0
    assert ndcg(np.zeros((1, 12), dtype=np.float32), asked) == 0
