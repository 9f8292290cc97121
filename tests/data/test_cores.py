"""Duplicates and the k-core filter."""

from __future__ import annotations

import polars as pl
import pytest

from unimp_bench.data.cores import drop_duplicates, k_core
from unimp_bench.data.drops import DropLog
from unimp_bench.schemas import RAW_ROWS


def raw(*rows: tuple[str, str, int]) -> pl.DataFrame:
    return pl.DataFrame(
        [(u, i, "d", t, 5.0, None, n) for n, (u, i, t) in enumerate(rows)], schema=dict(RAW_ROWS), orient="row"
    )


@pytest.mark.parametrize(("policy", "kept"), [("first", [1, 2]), ("last", [0, 2])])
def test_duplicates_keep_the_first_or_last_by_time(policy: str, kept: list[int]) -> None:
    drops = DropLog()
    frame = drop_duplicates(raw(("u", "a", 30), ("u", "a", 10), ("u", "b", 20)), policy, drops)
    assert frame["source_row"].to_list() == kept
    assert drops.frame().rows() == [("duplicates", "d", "duplicate_user_item", 1)]


def test_duplicates_of_equal_time_keep_the_source_order() -> None:
    frame = drop_duplicates(raw(("u", "a", 1), ("u", "a", 1), ("v", "a", 1)), "first", DropLog())
    assert frame["source_row"].to_list() == [0, 2]


def test_core_iterates_to_the_fixed_point() -> None:
    # Item c has one row; without it user w has one; without w item b has one: u, v x a, d stay.
    rows = raw(("u", "a", 1), ("v", "a", 1), ("u", "d", 1), ("v", "d", 1), ("w", "b", 1), ("w", "c", 1), ("u", "b", 1))
    core, passes = k_core(rows, 2, 2)
    assert sorted(core.select("user_id", "item_id").rows()) == [("u", "a"), ("u", "d"), ("v", "a"), ("v", "d")]
    assert passes == 4


def test_core_of_nothing_is_nothing() -> None:
    assert k_core(raw(("u", "a", 1)), 2, 1)[0].is_empty()


def test_core_agrees_with_removal_one_by_one() -> None:
    import random

    draw = random.Random(3)
    pairs = sorted({(f"u{draw.randrange(30)}", f"i{draw.randrange(25)}") for _ in range(160)})
    alive = set(pairs)
    while True:
        weak = [
            p for p in alive
            if sum(q[0] == p[0] for q in alive) < 3 or sum(q[1] == p[1] for q in alive) < 4
        ]  # fmt: skip
        if not weak:
            break
        alive.remove(weak[0])
    core, _ = k_core(raw(*[(u, i, 0) for u, i in pairs]), 3, 4)
    assert set(core.select("user_id", "item_id").rows()) == alive
    assert alive
