"""A constant scorer is at chance on every task. What chance means differs by the kind of answer, so each says it.

For the ranking tasks: its place in the list is that of a lot (tests/baselines/test_floors.py; on the whole synthetic
shop, with intervals, tests/whole/test_truth.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from math import comb
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.shop import home_at, items
from unimp_baselines import floors
from unimp_baselines.common import best_candidates
from unimp_bench import fitting, scoring
from unimp_bench.dataset import Dataset
from unimp_bench.metrics import spec
from unimp_bench.metrics.pairs import MetricContext
from unimp_bench.metrics.spec import METRICS, names_of
from unimp_bench.runners.protocol import Context
from unimp_bench.schemas import PREDICTIONS, SEALED_INTERACTIONS, conform
from unimp_bench.tasks.building import Builder, Settings

_NAMED = ("metric", "slice", "value")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dataset]:
    yield Dataset.open(home_at(tmp_path_factory.mktemp("chance") / "home"), "shop")


def _ratings(values: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({"example_id": [f"u{n:04d}" for n in range(len(values))], "rating": values.astype(float)})


def _value(name: str, truth: pl.DataFrame, said: pl.DataFrame) -> float:
    values = spec.score([name], truth, said, MetricContext())["value"].to_numpy()
    found = METRICS[name].interval(values, seed=0).value
    assert found is not None
    return found


def test_preference() -> None:
    """Chance is the best that one number for everybody can do: the spread of the ratings themselves.

    For RMSE that is their standard deviation, reached at their mean; for MAE the mean distance to their median, reached
    there. No constant gets below, so none explains any of the variance, and neither do numbers that know nothing of the
    user but are spread as ratings are (they are worse by the square root of two). Who knows the user gets below.
    """
    rng = np.random.default_rng(0)
    user = rng.normal(0, 1, 3_000)
    values = np.clip(np.round(3.6 + user + rng.normal(0, 0.7, 3_000)), 1, 5)
    truth = _ratings(values)
    best = {"rmse": values.std(), "mae": np.abs(values - np.median(values)).mean()}
    at = {"rmse": values.mean(), "mae": np.median(values)}
    for name, chance in best.items():
        assert _value(name, truth, _ratings(np.full(3_000, at[name]))) == pytest.approx(chance, rel=1e-9)
        others = [_value(name, truth, _ratings(np.full(3_000, c))) for c in np.linspace(1, 5, 9)]
        assert min(others) >= chance - 1e-9
        assert _value(name, truth, _ratings(rng.permutation(values))) > 1.2 * chance
        assert _value(name, truth, _ratings(3.6 + user)) < 0.8 * chance
    assert _value("rmse", truth, _ratings(np.full(3_000, np.nan))) > best["rmse"]  # silence is no way around it


@pytest.fixture(scope="module")
def selections() -> pl.DataFrame:
    """Some 1,500 selections as the toolkit makes them, by users who like some items best."""
    rng = np.random.default_rng(1)
    catalogue = items()
    toys = [item for item in catalogue.sort("item_id")["item_id"] if item < "i16"]
    liked = np.linspace(4, 1, len(toys))
    rows = []
    for user in range(3_000):
        bought = rng.choice(len(toys), 8, replace=False, p=liked / liked.sum())
        for position, item in enumerate(bought):
            split = "test" if position == 7 else "valid" if position == 6 else "train" if position < 4 else "withheld"
            rows.append(
                {
                    **{"user_id": f"u{user:05d}", "position": position, "item_id": toys[item], "domain": "toys"},
                    **{"timestamp": position, "rating": 4.0, "explanation": None, "source_row": len(rows)},
                    **{"split": split, "cohort": "in_domain"},
                }
            )
    made = Builder(catalogue, Settings(n_candidates=6), []).examples(
        "selection", "test", conform(pl.DataFrame(rows), SEALED_INTERACTIONS.columns)
    )
    assert made.height > 1_000
    return made


def _chance_f1(right: int, candidates: int, taken: int) -> float:
    """The expected F1 of a lot of so many candidates: the hypergeometric mean of 2 hits / (taken + right)."""
    ways = comb(candidates, taken)
    hits = range(max(0, taken + right - candidates), min(taken, right) + 1)
    return sum(comb(right, h) * comb(candidates - right, taken - h) / ways * 2 * h / (taken + right) for h in hits)


@pytest.mark.parametrize("taken", [1, 2, 3])
def test_selection(selections: pl.DataFrame, taken: int) -> None:
    """Chance is the expected F1 of a random subset of as many candidates, example by example.

    A scorer that gives all candidates one score takes them as they stand, and so does who takes the first ones: their
    place must tell nothing. Who knows a quarter of the answers is above.
    """
    constant = best_candidates(selections, pl.DataFrame({"item_id": ["i00"], "strength": [0.0]}), taken)
    said = conform(constant, PREDICTIONS["selection"].columns)
    found = spec.score(["f1", "precision"], selections, said, MetricContext())
    counts = selections.select(right=pl.col("item_ids").list.len(), given=pl.col("candidates").list.len())
    for name, chances in (
        ("f1", [_chance_f1(right, given, taken) for right, given in counts.iter_rows()]),
        ("precision", [right / given for right, given in counts.iter_rows()]),
    ):
        values = found.filter(metric=name)["value"].to_numpy()
        off = values - np.array(chances)
        assert abs(off.mean()) < 3.5 * off.std() / len(off) ** 0.5, name
    knows = selections[::4].select("example_id", pl.col("item_ids").alias("item_id")).explode("item_id")
    informed = best_candidates(selections, knows.with_columns(strength=1.0), taken)
    gain = spec.score(["f1"], selections, informed, MetricContext())["value"].mean()
    assert gain > found.filter(metric="f1")["value"].mean() + 0.05  # type: ignore[operator]


def test_explanation() -> None:
    """Chance is what the same answers earn when they are dealt to other users: the gain over a shuffle is 0.

    Everybody's answer being the same, no deal changes a value, of any text metric: nothing but text and reference
    enters a score. Answers that are each user's own lose by the deal, whatever is compared word by word.
    """
    rng = np.random.default_rng(2)
    words = ["soft", "wheel", "fits", "well", "my", "son", "loves", "the", "red", "blue", "car", "strong", "broke"]
    texts = [" ".join(rng.choice(words, 8)) for _ in range(60)]
    truth = pl.DataFrame({"example_id": [f"u{n:02d}" for n in range(60)], "text": texts, "cohort": "in_domain"})
    order = rng.permutation(60).tolist()
    names = [name for name in names_of("text") if METRICS[name].lacks(MetricContext()) is None]
    assert len(names) >= 13

    def means(said: list[str]) -> dict[str, float]:
        answers = pl.DataFrame({"example_id": truth["example_id"], "text": said})
        found = spec.score(names, truth, answers, MetricContext()).group_by("metric").agg(pl.col("value").mean())
        return dict(found.iter_rows())

    constant = ["the wheel works very well"] * 60
    assert means(constant) == means([constant[place] for place in order])
    own, dealt = means(texts), means([texts[place] for place in order])
    of_words = [name for name in names if name.startswith(("bleu", "rouge", "meteor"))]
    assert all(own[name] > dealt[name] + 0.2 for name in of_words)
    assert all(means(constant)[name] < own[name] - 0.2 for name in of_words)


def test_image_generation(data: Dataset, tmp_path: Path) -> None:
    """Chance is a personalization gain of 0: one picture is no closer to one's own history than to other people's.

    Exactly 0 in a cohort whose histories all have pictures, for users are dealt in one cycle, so every history is once
    one's own and once another's. A picture out of the own history is above.
    """
    means: dict[str, dict[tuple[str, str], float]] = {}
    task, context = "image_generation", Context(0, tmp_path)
    examples = data.examples(task, "test").collect()
    for name, runner in (("constant", floors.MeanImage()), ("own", floors.RepeatLast())):
        runner.fit({task: fitting.task_data(data, task, new_domains=False)}, context)
        said = pl.concat(frame for frame in runner.predict(task, examples, data.catalogue(), context))  # type: ignore[misc]
        rows = scoring.score_predictions(data, task, conform(said, PREDICTIONS["image"].columns), examples).metrics
        means[name] = {(metric, cohort): value for metric, cohort, value in rows.select(_NAMED).iter_rows()}
    for cohort in ("in_domain", "new_user", "new_domain"):
        gain = ("personalization_gain", cohort)
        assert means["constant"][gain] == pytest.approx(0, abs=1e-12)
    assert means["own"]["personalization_gain", "in_domain"] > 0.01
    assert means["own"]["kid", "in_domain"] < means["constant"]["kid", "in_domain"]
