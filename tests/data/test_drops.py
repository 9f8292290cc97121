"""The drop log."""

from __future__ import annotations

import polars as pl

from unimp_bench.data.drops import DropLog


def test_a_row_counts_under_its_first_reason_and_null_is_not_bad() -> None:
    drops = DropLog(keep_rejects=True)
    frame = pl.DataFrame({"domain": ["x", "x", "y"], "rating": [0.0, None, 9.0], "user_id": ["a", "b", "c"]})
    kept = drops.sift(frame, "read", [("low", pl.col("rating") < 1), ("any", pl.col("rating") > 5)])
    assert kept["user_id"].to_list() == ["b"]
    assert drops.frame().rows() == [("read", "x", "low", 1), ("read", "y", "any", 1)]
    assert sorted(drops.rejects()["user_id"]) == ["a", "c"]


def test_nothing_bad_nothing_counted() -> None:
    drops = DropLog()
    drops.add("read", "x", "none", 0)
    assert drops.frame().is_empty()
