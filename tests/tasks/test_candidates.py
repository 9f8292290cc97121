from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tests.tasks.shop import items
from unimp_bench.errors import ConfigError
from unimp_bench.keyed import string_keys
from unimp_bench.tasks.candidates import Draw, Pools, shuffled

NONE = np.empty(0, dtype=np.int64)
CATALOGUE = items(
    [
        {
            "item_id": f"i{k:03d}",
            "domain": "office" if k >= 90 else "toys",
            "categories": ["Root", f"Kind {k % 3}", f"Leaf {k % 30}"],
            "brand": f"brand {k % 9}",
            "image_id": f"pic {k}" if k else None,
        }
        for k in range(100)
    ]
)


def draw(positives: list[list[int]], hardness: str = "random", seen: np.ndarray = NONE, n: int = 5) -> np.ndarray:
    keys = string_keys(pl.Series([f"e{k}" for k in range(len(positives))]), 0)
    pools = Pools.of(CATALOGUE, frozenset({"office"}), hardness)
    return Draw(pools, keys, np.array(positives), np.arange(len(positives)), seen).negatives(n)


def test_draws_are_even_over_the_side_of_the_positive() -> None:
    found = draw([[5, -1, -1]] * 3000)
    assert found.shape == (3000, 4)
    counts = np.bincount(found.ravel(), minlength=100)
    assert counts[90:].sum() == counts[5] == 0
    assert counts[[k for k in range(90) if k != 5]].min() > 12000 / 89 - 6 * np.sqrt(12000 / 89)
    assert set(draw([[95, -1, -1]] * 200).ravel()) == set(range(90, 100)) - {95}


def test_more_positives_leave_fewer_negatives() -> None:
    found = draw([[1, -1, -1], [1, 2, -1], [1, 2, 3]])
    assert (found >= 0).sum(axis=1).tolist() == [4, 3, 2]


def test_half_of_the_hard_negatives_come_from_the_nearest_pool_that_has_some() -> None:
    found = draw([[4, -1, -1]] * 1000, "same_category")
    leaf = found % 30 == 4
    assert set(found[leaf].tolist()) == {34, 64}  # all that the leaf holds
    assert set(leaf.sum(axis=1).tolist()) == {0, 1, 2}
    parent = (found % 3 == 1) & ~leaf  # once those are taken
    near = leaf | parent
    assert abs(near.mean() - (0.5 + 0.5 * 29 / 89)) < 0.03
    brand = draw([[4, -1, -1]] * 1000, "same_brand") % 9 == 4
    assert abs(brand.mean() - (0.5 + 0.5 * 9 / 89)) < 0.03


def test_each_positive_gets_negatives_near_to_it() -> None:
    found = draw([[4, 5, -1]] * 1000, "same_brand")[:, :3] % 9
    assert [np.bincount(column).argmax() for column in found.T] == [4, 5, 4]


@pytest.mark.parametrize("hardness", ["same_category", "same_brand"])
def test_a_candidate_without_a_neighbour_may_be_a_negative(hardness: str) -> None:
    """If every negative stood beside a positive, whatever stands alone would be an answer."""
    positives = [[k % 30, 30 + (k + 7) % 30, 60 + (k + 14) % 30] for k in range(900)]
    found = draw(positives, hardness)[:, :2]
    group = np.concatenate([np.array(positives), found], axis=1) % (30 if hardness == "same_category" else 9)
    alone = (group[:, :, None] == group[:, None, :]).sum(axis=2) == 1
    assert alone[:, 3:].mean() > 0.3


def test_items_without_category_or_brand_fall_back_to_the_whole_side() -> None:
    bare = CATALOGUE.with_columns(pl.lit(None).cast(pl.List(pl.String)).alias("categories"))
    pools = Pools.of(bare, frozenset(), "same_category")
    keys = string_keys(pl.Series(["e"]), 0)
    found = Draw(pools, keys, np.array([[4, -1, -1]]), np.array([0]), NONE).negatives(5)
    assert len(set(found.ravel())) == 4


def test_a_side_that_is_nearly_used_up_is_searched_to_the_end() -> None:
    seen = np.array([k for k in range(90) if k not in (7, 8, 9)], dtype=np.int64)
    found = draw([[5, -1, -1]], seen=seen)
    assert sorted(found.ravel().tolist()) == [-1, 7, 8, 9]


def test_a_negative_never_shares_a_picture_with_a_positive() -> None:
    same = CATALOGUE.with_columns(
        pl.when(pl.col("item_index") < 80).then(pl.lit("one")).otherwise("image_id").alias("image_id")
    )
    pools = Pools.of(same, frozenset({"office"}), "random")
    keys = string_keys(pl.Series([f"e{k}" for k in range(40)]), 0)
    found = Draw(pools, keys, np.array([[85, 5, -1]] * 40), np.arange(40), NONE).negatives(5)
    assert set(found.ravel()) - {-1} == {80, 81, 82, 83, 84, 86, 87, 88, 89}


def test_an_unknown_hardness_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="random, same_category, same_brand"):
        Pools.of(CATALOGUE, frozenset(), "popular")


def test_shuffling_keeps_the_members_and_puts_padding_last() -> None:
    keys = string_keys(pl.Series(["a", "b"]), 0)
    found = shuffled(keys, np.array([[1, -1, 2, 3], [1, -1, 2, 3]]))
    assert found[:, 3].tolist() == [-1, -1]
    assert [sorted(row) for row in found[:, :3].tolist()] == [[1, 2, 3], [1, 2, 3]]
