from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from tests.tasks.shop import interactions, items, random_shop
from unimp_bench.tasks.building import Builder, Settings

CATALOGUE = items([{"item_id": f"i{k:02d}"} for k in range(40)])


def person(user: str, labels: str, cohort: str = "in_domain") -> list[tuple[Any, ...]]:
    names = {"t": "train", "w": "withheld", "v": "valid", "x": "test"}
    return [(user, f"i{k:02d}", names[label], None, None, cohort) for k, label in enumerate(labels)]


def selected(rows: list[tuple[Any, ...]], split: str, seed: int = 0) -> dict[str, tuple[list[str], set[str]]]:
    """User to (items of the history, positives)."""
    frame = Builder(CATALOGUE, Settings(seed=seed), []).examples("selection", split, interactions(rows))
    return {
        user: ([entry["item_id"] for entry in history], set(answer))
        for user, history, answer in frame.select("user_id", "history", "item_ids").iter_rows()
    }


USERS = [row for k in range(40) for row in person(f"u{k:02d}", "tttttwwvx")]


def test_withheld_rows_are_positives_of_one_split_and_never_in_their_own_history() -> None:
    valid, test = selected(USERS, "valid"), selected(USERS, "test")
    trained = [f"i{k:02d}" for k in range(5)]
    assert all(found == (trained, {"i05", "i06", "i07"}) for found in valid.values())
    assert all(found == ([*trained, "i07"], {"i05", "i06", "i08"}) for found in test.values())
    assert not valid.keys() & test.keys()
    assert len(valid) + len(test) == 40
    assert 10 <= len(valid) <= 30


def test_which_users_serve_which_split_depends_on_the_seed() -> None:
    assert selected(USERS, "valid", seed=0).keys() != selected(USERS, "valid", seed=1).keys()


def test_without_withheld_rows_there_is_one_positive() -> None:
    rows = [row for k in range(20) for row in person(f"u{k:02d}", "tttvx")]
    assert {len(positives) for _, positives in selected(rows, "valid").values()} == {1}
    assert {len(positives) for _, positives in selected(rows, "test").values()} == {1}


def test_only_rows_right_before_validation_count() -> None:
    rows = [row for k in range(20) for row in person(f"u{k:02d}", "twttwvx")]
    assert all(positives == {"i04", "i05"} for _, positives in selected(rows, "valid").values())
    assert all(history == ["i00", "i01", "i02", "i03", "i05"] for history, _ in selected(rows, "test").values())


def test_new_users_give_their_last_rows_and_keep_five() -> None:
    rows = [row for k in range(60) for row in person(f"u{k:02d}", "w" * (k % 10 + 1) + "x", "new_user")]
    found = selected(rows, "test")
    assert selected(rows, "valid") == {}
    assert len(found) == 60
    for user, (history, positives) in found.items():
        length = int(user[1:]) % 10 + 2
        assert sorted(history + sorted(positives)) == [f"i{k:02d}" for k in range(length)]
        assert len(history) >= min(5, length - 1)
    assert {len(positives) for _, positives in found.values()} == {1, 2, 3}


def test_users_held_out_for_validation_serve_validation() -> None:
    """The released code's user split: no training rows, the last row is validation."""
    found = selected([row for k in range(30) for row in person(f"u{k:02d}", "w" * 9 + "v")], "valid")
    assert len(found) == 30
    assert {len(positives) for _, positives in found.values()} == {1, 2, 3}
    assert all(len(history) + len(positives) == 10 for history, positives in found.values())


def test_training_takes_its_positives_from_training_and_leaves_two_rows() -> None:
    rows = [row for k in range(60) for row in person(f"u{k:02d}", "t" * (k % 5 + 1) + "wvx")]
    found = selected(rows, "train")
    assert {int(user[1:]) % 5 + 1 for user in found} == {3, 4, 5}
    for user, (history, positives) in found.items():
        length = int(user[1:]) % 5 + 1
        assert sorted(history + sorted(positives)) == [f"i{k:02d}" for k in range(length)]
        assert len(history) >= 2
    assert {len(positives) for _, positives in found.values()} == {1, 2, 3}


def test_a_repeated_item_is_one_positive() -> None:
    labels = ["train", "train", "train", "withheld", "withheld", "valid", "test"]
    rows = [(f"u{n}", item, split) for n in range(9) for item, split in zip("abcdddd", labels, strict=True)]
    catalogue = items([{"item_id": name} for name in "abcdefghij"])
    frame = Builder(catalogue, Settings(), []).examples("selection", "test", interactions(rows))
    assert frame["item_ids"].to_list() == [["d"]] * frame.height
    assert frame["candidates"].list.n_unique().to_list() == [5] * frame.height


@pytest.mark.parametrize("hardness", ["random", "same_category", "same_brand"])
@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_negatives_are_new_to_the_user_of_the_same_side_and_look_different(split: str, hardness: str) -> None:
    catalogue, rows = random_shop(size=140)
    frame = Builder(catalogue, Settings(hardness=hardness), ["office"]).examples("selection", split, rows)
    seen: dict[str, dict[str, tuple[str, int]]] = {}
    for user, item, label, position in rows.select("user_id", "item_id", "split", "position").iter_rows():
        seen.setdefault(user, {})[item] = (label, position)
    domain = dict(catalogue.select("item_id", "domain").iter_rows())
    picture = dict(catalogue.select("item_id", "image_id").iter_rows())
    for user, position, candidates, answer in frame.select("user_id", "position", "candidates", "item_ids").iter_rows():
        negatives = [item for item in candidates if item not in answer]
        assert len(candidates) == len(set(candidates)) == 5
        assert answer == [item for item in candidates if item in answer]
        assert len({domain[item] for item in candidates}) == 1
        assert not {picture[item] for item in answer} & {picture[item] for item in negatives} - {None}
        for item in set(negatives) & seen[user].keys():
            label, place = seen[user][item]
            assert {"train": label != "train", "valid": place > position, "test": False}[split]


def test_a_user_who_has_everything_is_asked_nothing() -> None:
    small = items([{"item_id": f"i{k:02d}"} for k in range(6)])
    rows = interactions([*person("all", "wwwwwx", "new_user"), *person("some", "wwwwx", "new_user")])
    frame = Builder(small, Settings(), []).examples("selection", "test", rows)
    assert frame.select("user_id", pl.col("candidates").list.sort()).rows() == [("some", ["i04", "i05"])]


def test_training_negatives_may_be_later_purchases() -> None:
    """If they never were, a training negative would tell that the user does not buy it later."""
    catalogue, rows = random_shop(users=200, size=32)
    frame = Builder(catalogue, Settings(), ["office"]).examples("selection", "train", rows)
    later = rows.filter(pl.col("split").is_in(["valid", "test"])).select(
        "user_id", pl.col("item_id").alias("candidates")
    )
    assert frame.select("user_id", "candidates").explode("candidates").join(later, on=["user_id", "candidates"]).height


def test_the_order_of_candidates_says_nothing() -> None:
    frame = Builder(CATALOGUE, Settings(), []).examples(
        "selection", "test", interactions([row for k in range(600) for row in person(f"u{k:03d}", "tttvx")])
    )
    places = frame.select(pl.col("response").str.slice(2).cast(pl.Int64))["response"]
    assert places.value_counts()["count"].min() > frame.height / 5 - 35  # type: ignore[operator]
