from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tests.tasks.shop import interactions, items, random_shop
from unimp_bench.errors import ConfigError
from unimp_bench.schemas import LABELLED_EXAMPLES
from unimp_bench.tasks.building import Builder, Settings, missing
from unimp_bench.tasks.spec import TASKS

SPLITS = ("train", "valid", "test")
EVERYTHING = [(task, split) for task in TASKS for split in SPLITS]
ITEMS = items([{"item_id": name} for name in "abcdef"])
ROWS = interactions(
    [
        ("u", "a", "train", 5.0, "a is good"),
        ("u", "b", "train", 4.0, None),
        ("u", "c", "train", None, "c is bad"),
        ("u", "d", "valid", 2.0, "d is fine"),
        ("u", "e", "test", 1.0, "e is ugly"),
        ("v", "f", "test", 3.0, "f alone", "new_user"),
    ]
)


def built(task: str, split: str, *, rows: pl.DataFrame = ROWS, catalogue: pl.DataFrame = ITEMS) -> pl.DataFrame:
    return Builder(catalogue, Settings(), []).examples(task, split, rows)


def shown(frame: pl.DataFrame) -> list[list[str]]:
    return [[entry["item_id"] for entry in history] for history in frame["history"].to_list()]


@pytest.mark.parametrize(
    ("split", "ids", "histories", "answers"),
    [
        ("train", ["u:000001", "u:000002"], [["a"], ["a", "b"]], [["b"], ["c"]]),
        ("valid", ["u:000003"], [["a", "b", "c"]], [["d"]]),
        ("test", ["u:000004"], [["a", "b", "c", "d"]], [["e"]]),
    ],
)
def test_recommendation_asks_for_each_split_s_rows_that_have_a_history(
    split: str, ids: list[str], histories: list[list[str]], answers: list[list[str]]
) -> None:
    frame = built("recommendation", split)
    assert frame["example_id"].to_list() == ids
    assert shown(frame) == histories
    assert frame["item_ids"].to_list() == answers
    assert frame["target_item_id"].null_count() == frame.height  # it would be the answer


def test_a_row_without_history_is_no_example() -> None:
    assert "v" not in built("recommendation", "test")["user_id"]


def test_preference_and_explanation_take_rows_that_say_it() -> None:
    preference, explanation = built("preference", "train"), built("explanation", "train")
    assert preference.select("target_item_id", "rating", "response").rows() == [("b", 4.0, "rate_4")]
    assert explanation.select("target_item_id", "text", "response").rows() == [("c", "c is bad", "c is bad")]
    assert preference["history"].to_list() == [[{"item_id": "a", "rating": 5.0, "explanation": "a is good"}]]
    assert preference["text"].null_count() == 1
    assert explanation["rating"].null_count() == 1


def test_search_and_image_generation_need_a_query_and_a_picture() -> None:
    catalogue = items(
        [
            {"item_id": "a"},
            {"item_id": "b", "categories": ["Camera & Photo", "Digital Camera Lenses"]},
            {"item_id": "c", "categories": ["Camera & Photo", "Bags"], "image_id": None},
            {"item_id": "d", "categories": ["One level"]},
            {"item_id": "e", "categories": None},
            {"item_id": "f"},
        ]
    )
    search, pictures = (built(task, "train", catalogue=catalogue) for task in ("search", "image_generation"))
    assert search.select("query", "item_ids").rows() == [
        ("photo digital camera lenses", ["b"]),
        ("camera photo bags", ["c"]),
    ]
    assert pictures.select("query", "item_ids").rows() == [("photo digital camera lenses", ["b"])]
    assert (
        built("search", "valid", catalogue=catalogue).height == built("search", "test", catalogue=catalogue).height == 0
    )


def test_histories_hold_the_last_five_in_training_and_fifty_later() -> None:
    catalogue = items([{"item_id": f"i{k:02d}"} for k in range(60)])
    rows = interactions([("u", f"i{k:02d}", "train" if k < 58 else "valid" if k == 58 else "test") for k in range(60)])
    train, test = (built("recommendation", split, rows=rows, catalogue=catalogue) for split in ("train", "test"))
    assert shown(train)[-1] == [f"i{k}" for k in range(52, 57)]
    assert shown(test) == [[f"i{k:02d}" for k in range(9, 59)]]
    assert train["image_item_ids"].list.len().max() == test["image_item_ids"].list.len().max() == 5


def test_training_histories_skip_rows_that_are_not_training() -> None:
    labels = ["train", "withheld", "train", "valid", "test"]
    rows = interactions([("u", item, split) for item, split in zip("abcde", labels, strict=True)])
    assert shown(built("recommendation", "train", rows=rows)) == [["a"]]
    assert shown(built("recommendation", "valid", rows=rows)) == [["a", "c"]]
    assert shown(built("recommendation", "test", rows=rows)) == [["a", "b", "c", "d"]]


def test_a_validation_user_without_training_rows_shows_withheld_ones() -> None:
    rows = interactions([("u", "a", "withheld"), ("u", "b", "withheld"), ("u", "c", "valid")])
    assert shown(built("recommendation", "valid", rows=rows)) == [["a", "b"]]


@pytest.mark.parametrize(("task", "split"), EVERYTHING)
def test_nothing_of_validation_test_or_withheld_rows_is_in_training(task: str, split: str) -> None:
    catalogue, rows = random_shop()
    frame = Builder(catalogue, Settings(), ["office"]).examples(task, split, rows)
    assert frame.height > 20
    assert frame["example_id"].is_sorted()
    assert frame["example_id"].n_unique() == frame.height
    assert frame.schema == pl.Schema(dict(LABELLED_EXAMPLES.columns))
    assert not frame.filter(pl.col("history").list.len() == 0).height
    label = {(u, i): s for u, i, s in rows.select("user_id", "item_id", "split").iter_rows()}
    may_show = {"train": {"train"}, "valid": {"train"}, "test": {"train", "withheld", "valid"}}[split]
    place = {(u, i): p for u, i, p in rows.select("user_id", "item_id", "position").iter_rows()}
    for user, position, history, target, answer in frame.select(
        "user_id", "position", "history", "target_item_id", "item_ids"
    ).iter_rows():
        in_history = [entry["item_id"] for entry in history]
        targets = answer or [target]
        assert {label[user, item] for item in in_history} <= may_show
        assert not set(in_history) & set(targets)
        assert [place[user, item] for item in in_history] == sorted(place[user, item] for item in in_history)
        assert max(place[user, item] for item in in_history) < max(place[user, item] for item in targets)
        # The place tells how much was shown and nothing of what was withheld.
        assert len(in_history) == min(position, 5 if split == "train" else 50)
        allowed = {split, "withheld"} if task == "selection" and split != "train" else {split}
        assert {label[user, item] for item in targets} <= allowed


@pytest.mark.parametrize(("task", "split"), EVERYTHING)
def test_one_chunk_or_many_give_the_same_examples(task: str, split: str) -> None:
    catalogue, rows = random_shop(users=40)
    builder = Builder(catalogue, Settings(), ["office"])
    whole = builder.examples(task, split, rows)
    parts = [builder.examples(task, split, part) for part in rows.partition_by("user_id", maintain_order=True)]
    assert pl.concat(parts).sort("example_id").equals(whole)


def test_the_seed_changes_selection_and_nothing_else() -> None:
    catalogue, rows = random_shop(users=60)
    one, other = (Builder(catalogue, Settings(seed=seed), ["office"]) for seed in (0, 1))
    for task, split in EVERYTHING:
        a, b = one.examples(task, split, rows), other.examples(task, split, rows)
        assert a.equals(b) == (task != "selection")


def test_the_order_of_items_does_not_matter() -> None:
    catalogue, rows = random_shop(users=30)
    mixed = catalogue.sample(fraction=1.0, shuffle=True, seed=3)
    for task in TASKS:
        a, b = (Builder(c, Settings(), ["office"]).examples(task, "test", rows) for c in (catalogue, mixed))
        assert a.equals(b)


def test_lean_leaves_only_the_text_of_training_to_run_time() -> None:
    full, lean = (Builder(ITEMS, Settings(lean=lean), []) for lean in (False, True))
    text = ["instruction", "response", "image_item_ids"]
    train = lean.examples("recommendation", "train", ROWS)
    assert train.select(text).null_count().row(0) == (2, 2, 2)
    assert train.drop(text).equals(full.examples("recommendation", "train", ROWS).drop(text))
    assert lean.examples("recommendation", "test", ROWS).equals(full.examples("recommendation", "test", ROWS))


def test_released_code_asks_for_rating_and_explanation_at_once() -> None:
    builder = Builder(ITEMS, Settings(prompts="official_code"), [])
    for task in ("preference", "explanation"):
        assert builder.examples(task, "test", ROWS)["response"].to_list() == ["rate_1 e is ugly"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hardness": "hard"}, "unknown hardness 'hard'; known: random, same_category, same_brand"),
        ({"prompts": "p5"}, "unknown prompt style 'p5'"),
        ({"query": "title"}, "unknown query form 'title'"),
        ({"n_candidates": 3}, "n_candidates is 3"),
        ({"history": 0}, "history is 0"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        Settings(**wrong)  # type: ignore[arg-type]


def test_rows_that_stand_wrong_are_refused() -> None:
    for rows in (ROWS.reverse(), ROWS[[0, 5, 1, 2]]):
        with pytest.raises(ValueError, match="rows of"):
            built("recommendation", "train", rows=rows)
    with pytest.raises(ValueError, match="not in the catalogue"):
        built("recommendation", "train", catalogue=ITEMS.head(2))


def test_what_a_source_lacks_costs_the_tasks_that_need_it() -> None:
    two = items([{"item_id": "a"}, {"item_id": "b", "categories": ["Toys", "Dolls"]}])
    bare = two.with_columns(pl.lit(None, dtype=pl.String).alias("image_id"))
    flat = ITEMS.with_columns(pl.Series("categories", [["Toys"]] * 6))
    assert missing(two, ratings=9, explanations=9) == {}
    assert missing(two, ratings=0, explanations=0) == {
        "preference": "no interaction has a rating",
        "explanation": "no interaction has a review sentence that explains it",
    }
    assert missing(bare, 1, 1) == {"image_generation": "no item has a picture"}
    assert list(missing(flat, 1, 1)) == ["search", "image_generation"]
    assert list(missing(flat, 1, 1, query="official_code")) == ["search"]


def test_an_empty_chunk_gives_empty_frames() -> None:
    for task, split in EVERYTHING:
        frame = built(task, split, rows=ROWS.clear())
        assert frame.height == 0
        assert frame.schema == pl.Schema(dict(LABELLED_EXAMPLES.columns))


def test_long_histories_are_read_without_growing_with_their_square() -> None:
    catalogue = items([{"item_id": f"i{k:05d}"} for k in range(5000)])
    names = catalogue["item_id"].to_list()
    rows = interactions([("u", names[k], "train") for k in np.random.default_rng(0).permutation(5000).tolist()])
    assert built("recommendation", "train", rows=rows, catalogue=catalogue).height == 4999


def test_a_single_query_makes_no_search() -> None:
    one = items([{"item_id": name, "categories": ["Cards", "Gift Cards"], "image_id": f"p{name}"} for name in "ab"])
    reasons = missing(one, ratings=1, explanations=1)
    assert list(reasons) == ["search"]
    assert "'gift cards'" in reasons["search"]
