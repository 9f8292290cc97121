from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from tests.shop import OFFICE, home_at
from unimp_baselines import floors
from unimp_baselines.common import best_candidates
from unimp_baselines.floors.repeat import path_codes
from unimp_bench.dataset import Dataset
from unimp_bench.errors import ConfigError
from unimp_bench.fitting import task_data
from unimp_bench.runners.protocol import Context, Runner, ScoreBlock
from unimp_bench.runners.ranking import ranked


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return Dataset.open(home_at(tmp_path_factory.mktemp("floors") / "home"), "shop")


def _fitted(runner: Any, data: Dataset, task: str, tmp_path: Path, *, adapt: bool = False) -> Runner:
    """Fitted, saved and loaded by a fresh instance."""
    context = Context(0, tmp_path)
    runner.fit({task: task_data(data, task, new_domains=False)}, context)
    if adapt:
        runner.adapt({task: task_data(data, task, new_domains=True)}, context)
    runner.save(tmp_path)
    again = type(runner)()
    again.load(tmp_path)
    assert isinstance(again, Runner)
    return again


def _said(runner: Runner, data: Dataset, task: str, tmp_path: Path, seed: int = 0) -> pl.DataFrame:
    """Answers in order of the examples; score blocks as a column `scores` of all items."""
    examples = data.examples(task, "test").collect()
    frames = []
    for said in runner.predict(task, examples, data.catalogue(), Context(seed, tmp_path)):
        if isinstance(said, ScoreBlock):
            frames.append(pl.DataFrame({"example_id": said.example_ids, "scores": said.scores.tolist()}))
        else:
            frames.append(said)
    answers = examples.select("example_id").join(pl.concat(frames), on="example_id", how="left", maintain_order="left")
    assert answers.height == examples.height
    return answers


def test_popularity_counts_in_domain_train_rows_only(data: Dataset, tmp_path: Path) -> None:
    rows = data.sealed_interactions().filter(pl.col("split") == "train", pl.col("domain") == "toys").collect()
    bought = Counter(rows["item_id"].to_list())
    runner = _fitted(floors.Popularity(), data, "search", tmp_path)
    said = _said(runner, data, "search", tmp_path)["scores"].to_list()
    items = data.catalogue().items["item_id"].to_list()
    assert said[0] == said[-1] == [bought.get(item, 0) for item in items]
    assert all(said[0][items.index(item)] == 0 for item in OFFICE)
    adapted = _fitted(floors.Popularity(), data, "search", tmp_path, adapt=True)
    after = _said(adapted, data, "search", tmp_path)["scores"].to_list()[0]
    assert sum(after[items.index(item)] for item in OFFICE) == 6 * 2  # six users with two train rows each
    assert [a for a, item in zip(after, items, strict=True) if item not in OFFICE] == [
        a for a, item in zip(said[0], items, strict=True) if item not in OFFICE
    ]


def test_random_depends_on_seed_and_example_alone(data: Dataset, tmp_path: Path) -> None:
    runner = _fitted(floors.Random(), data, "recommendation", tmp_path)
    one, again, other = (
        _said(runner, data, "recommendation", tmp_path, seed)["scores"].to_list() for seed in (0, 0, 1)
    )
    assert one == again
    assert one != other
    assert one[0] != one[1]
    examples = data.examples("recommendation", "test").collect()[7:8]
    (alone,) = list(runner.predict("recommendation", examples, data.catalogue(), Context(0, tmp_path)))
    assert isinstance(alone, ScoreBlock)
    assert alone.scores.tolist()[0] == pytest.approx(one[7])


def test_a_constant_scorer_is_at_chance(data: Dataset, tmp_path: Path) -> None:
    """Over many examples the target's place is uniform among what may be ranked."""
    view = data.catalogue()
    base = data.examples("recommendation", "test").filter(pl.col("cohort") == "in_domain").collect().head(1)
    n = 4_000
    examples = base.select(pl.all().exclude("example_id")).join(
        pl.DataFrame({"example_id": [f"x{k:05d}" for k in range(n)]}), how="cross"
    )
    block = next(floors.Constant().predict("recommendation", examples, view, Context(0, tmp_path)))
    lists = ranked(block, examples, view, seed=0)["item_ids"].to_list()
    left = len(lists[0])
    assert left == 16 - 7
    first = Counter(items[0] for items in lists)
    assert len(first) == left
    spread = (n * (1 / left) * (1 - 1 / left)) ** 0.5
    assert all(abs(count - n / left) < 5 * spread for count in first.values())


def test_last_index_plus_one_walks_upwards(data: Dataset, tmp_path: Path) -> None:
    said = _said(floors.LastIndexPlusOne(), data, "recommendation", tmp_path)["scores"].to_list()
    histories = data.examples("recommendation", "test").collect()["history"].to_list()
    index = data.catalogue().index
    for scores, history in zip(said, histories, strict=True):
        last = index[history[-1]["item_id"]]
        assert np.argsort(-np.array(scores)).tolist() == [(last + 1 + k) % 20 for k in range(20)]


def test_path_codes() -> None:
    items = pl.DataFrame({"categories": [["A", "B"], ["A", "C", "D"], ["A"], None, ["X", "B"], ["A", "B"]]})
    codes = path_codes(items)
    assert codes.shape == (6, 3)
    assert (codes[:, 0] == codes[0, 0]).tolist() == [True, True, True, False, False, True]
    assert (codes[:, 1] == codes[0, 1]).tolist() == [True, False, False, False, False, True]
    assert codes[3].tolist() == [-1, -1, -1]
    assert codes[2, 1] == -1
    assert path_codes(items[3:4]).shape == (1, 0)


def test_repeat_last_prefers_the_last_category_then_popularity(data: Dataset, tmp_path: Path) -> None:
    runner = _fitted(floors.RepeatLast(), data, "recommendation", tmp_path)
    said = _said(runner, data, "recommendation", tmp_path)["scores"].to_list()
    popular = _said(_fitted(floors.Popularity(), data, "recommendation", tmp_path), data, "recommendation", tmp_path)
    bought = np.array(popular["scores"].to_list()[0])
    items = data.catalogue().items
    kinds = items["categories"].list.last().to_numpy()
    index = data.catalogue().index
    for scores, history in zip(
        said, data.examples("recommendation", "test").collect()["history"].to_list(), strict=True
    ):
        same = kinds == kinds[index[history[-1]["item_id"]]]
        order = np.argsort(-np.array(scores), kind="stable")
        assert same[order].tolist() == sorted(same.tolist(), reverse=True)
        assert (np.diff(bought[order][: same.sum()]) <= 0).all()


def test_repeat_last_says_the_last_rating_explanation_and_picture(data: Dataset, tmp_path: Path) -> None:
    runner = floors.RepeatLast()
    for task, column, name in (("preference", "rating", "rating"), ("explanation", "text", "explanation")):
        said = _said(runner, data, task, tmp_path)[column].to_list()
        histories = data.examples(task, "test").collect()["history"].to_list()
        assert said == [history[-1][name] for history in histories]
    said = _said(runner, data, "image_generation", tmp_path)["image"].to_list()
    catalogue = data.catalogue()
    image_of = dict(catalogue.items.select("item_id", "image_id").iter_rows())
    pictures = catalogue.pictures(catalogue.items["image_id"].drop_nulls())
    skipped = 0
    for picture, history in zip(
        said, data.examples("image_generation", "test").collect()["history"].to_list(), strict=True
    ):
        items = [entry["item_id"] for entry in history]
        skipped += items[-1] == "i03"  # has no picture: the one before it counts
        last = next(item for item in reversed(items) if image_of[item])
        assert picture["bytes"] == pictures[image_of[last]]
    assert skipped


def test_an_empty_history_has_no_last(data: Dataset, tmp_path: Path) -> None:
    nobody = (
        data.examples("preference", "test")
        .collect()
        .head(2)
        .with_columns(
            pl.lit([], dtype=data.examples("preference", "test").collect_schema()["history"]).alias("history")
        )
    )
    context, view = Context(0, tmp_path), data.catalogue()
    runner = floors.RepeatLast()
    said = {task: next(runner.predict(task, nobody, view, context)) for task in runner.tasks - {"selection"}}
    assert said["preference"]["rating"].to_list() == [None, None]  # type: ignore[index]
    assert said["explanation"]["text"].to_list() == [None, None]  # type: ignore[index]
    assert said["image_generation"]["image"].to_list() == [None, None]  # type: ignore[index]
    assert said["search"].scores.tolist() == np.zeros((2, 20)).tolist()  # type: ignore[union-attr]
    assert next(floors.LastIndexPlusOne().predict("search", nobody, view, context)).scores.shape == (2, 20)
    mean = floors.UserMean()
    mean._overall._mean = 3.5
    assert next(mean.predict("preference", nobody, view, context))["rating"].to_list() == [3.5, 3.5]


def test_means_of_ratings(data: Dataset, tmp_path: Path) -> None:
    rows = data.sealed_interactions().filter(pl.col("split") == "train").collect()
    for domain, adapt in (("toys", False), ("office", True)):
        mean = rows.filter(pl.col("domain") == domain)["rating"].mean()
        said = _said(
            _fitted(floors.MeanRating(), data, "preference", tmp_path, adapt=adapt), data, "preference", tmp_path
        )
        assert said["rating"].to_list() == pytest.approx([mean] * said.height)
    own = _said(_fitted(floors.UserMean(), data, "preference", tmp_path), data, "preference", tmp_path)["rating"]
    histories = data.examples("preference", "test").collect()["history"].to_list()
    assert own.to_list() == pytest.approx([np.mean([e["rating"] for e in history]) for history in histories])


def test_selections(data: Dataset, tmp_path: Path) -> None:
    candidates = data.examples("selection", "test").collect()["candidates"].to_list()
    assert _said(floors.AllCandidates(), data, "selection", tmp_path)["item_ids"].to_list() == candidates
    assert _said(floors.FirstCandidate(), data, "selection", tmp_path)["item_ids"].to_list() == [
        c[:1] for c in candidates
    ]
    taken = data.examples("selection", "train").filter(pl.col("cohort") != "new_domain").collect()["item_ids"]
    wanted = round(float(np.mean([len(items) for items in taken.to_list()])))
    for floor in (floors.Random(), floors.Popularity(), floors.RepeatLast()):
        runner = _fitted(floor, data, "selection", tmp_path)
        chosen = _said(runner, data, "selection", tmp_path)["item_ids"].to_list()
        assert {len(items) for items in chosen} == {wanted}
        assert all(set(items) <= set(given) for items, given in zip(chosen, candidates, strict=True))


def test_best_candidates_by_strength_then_place() -> None:
    examples = pl.DataFrame({"example_id": ["b", "a"], "candidates": [["x", "y", "z"], ["z", "w", "x"]]})
    strength = pl.DataFrame({"item_id": ["x", "y"], "strength": [1.0, 2.0]})
    found = best_candidates(examples, strength, 2).sort("example_id")
    assert found["item_ids"].to_list() == [["x", "z"], ["y", "x"]]
    assert found["scores"].to_list() == [[1.0, 0.0], [2.0, 1.0]]


def test_the_most_frequent_explanation(data: Dataset, tmp_path: Path) -> None:
    said = _said(_fitted(floors.FrequentExplanation(), data, "explanation", tmp_path), data, "explanation", tmp_path)
    assert set(said["text"].to_list()) == {"it works very well"}


def test_the_mean_image(data: Dataset, tmp_path: Path) -> None:
    said = _said(_fitted(floors.MeanImage(), data, "image_generation", tmp_path), data, "image_generation", tmp_path)
    first = said["image"].to_list()[0]["bytes"]
    assert all(picture["bytes"] == first for picture in said["image"].to_list())
    with Image.open(io.BytesIO(first)) as image:
        assert (image.format, image.size) == ("JPEG", (128, 128))
        mean = np.asarray(image).mean(axis=(0, 1))
    train = data.examples("image_generation", "train").filter(pl.col("cohort") != "new_domain").collect()
    targets = sorted(set(train["item_ids"].list.first().to_list()))
    red = float(np.mean([int(item[1:]) * 12 for item in targets]))
    np.testing.assert_allclose(mean, [red, 255 - red, 90], atol=4)
    with pytest.raises(ConfigError, match="sample=0"):
        floors.MeanImage(sample=0)
