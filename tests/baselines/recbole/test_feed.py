from __future__ import annotations

import numpy as np
import polars as pl

from tests.shop import OFFICE
from unimp_baselines.recbole.feed import Feed, Lists, attributes_of, histories, numbered
from unimp_bench.dataset import Dataset
from unimp_bench.fitting import task_data


def lists(of: Lists) -> list[list[int]]:
    return [of.values[a:b].tolist() for a, b in zip(of.starts, of.starts[1:], strict=False)]


def test_a_feed_holds_train_rows_in_order_and_validation_targets(shop: Dataset) -> None:
    feed = Feed.of(task_data(shop, "recommendation", new_domains=False), "in_domain", attributes=True)
    train = shop.interactions().collect().sort("user_id", "position")
    assert not set(feed.items) & set(OFFICE)
    assert set(feed.users) == {f"u{k:02d}" for k in range(20)}
    names = ["", *feed.items]
    for user, numbers in zip(feed.users, lists(feed.sequences), strict=True):
        assert [names[k] for k in numbers] == train.filter(pl.col("user_id") == user)["item_id"].to_list()
    valid = shop.examples("recommendation", "valid").filter(pl.col("cohort") == "in_domain").collect()
    assert [names[k] for k in feed.valid_targets] == valid["item_ids"].list.first().to_list()
    assert [feed.users[int(k) - 1] for k in feed.valid_users] == valid["user_id"].to_list()
    past = valid["history"].list.eval(pl.element().struct.field("item_id")).to_list()
    assert [[names[k] for k in row] for row in lists(feed.valid_histories)] == past
    sealed = shop.sealed_interactions().filter(pl.col("split") == "test").collect()
    pairs = {(u, names[i]) for u, row in zip(feed.users, lists(feed.sequences), strict=True) for i in row}
    assert not pairs & set(sealed.select("user_id", "item_id").iter_rows())


def test_held_out_domains_have_a_feed_of_their_own(shop: Dataset) -> None:
    feed = Feed.of(task_data(shop, "recommendation", new_domains=True), "new_domain")
    assert set(feed.items) == set(OFFICE)
    assert set(feed.users) == {f"u{k:02d}" for k in range(24, 30)}


def test_unknown_items_are_left_out_of_histories() -> None:
    examples = pl.DataFrame({"history": [["a", "x", "b"], [], None, ["x"], ["b"]]}).with_columns(
        pl.col("history").list.eval(pl.struct(item_id=pl.element()))
    )
    assert lists(histories(examples, pl.Series(["b", "a"]))) == [[2, 1], [], [], [], [1]]


def test_numbers_start_at_one() -> None:
    assert numbered(pl.Series(["b", "z", "a"]), pl.Series(["a", "b"])).tolist() == [2, 0, 1]
    assert numbered(pl.Series(["b"]), pl.Series([], dtype=pl.String)).tolist() == [0]


def test_attributes_are_categories_below_the_root_and_brands() -> None:
    items = pl.DataFrame(
        {"categories": [["Toys", "Cars"], None, ["Toys"], ["Toys", "Cars"]], "brand": [None, "Acme", None, "Acme"]},
        schema_overrides={"categories": pl.List(pl.String)},
    )
    found = lists(attributes_of(items))
    assert [len(row) for row in found] == [1, 1, 0, 2]
    assert set(found[3]) == {*found[0], *found[1]} == {1, 2}


def test_lists_of_nothing() -> None:
    empty = Lists.of(pl.Series([None, []], dtype=pl.List(pl.Int64)))
    assert empty.starts.tolist() == [0, 0, 0]
    assert empty.values.dtype == np.int64
