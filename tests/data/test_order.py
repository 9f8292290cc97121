"""Order of a user's rows and the tie rules."""

from __future__ import annotations

import polars as pl

from unimp_bench.data.order import arranged, tie_report
from unimp_bench.schemas import RAW_ROWS


def raw(*rows: tuple[str, str, int | None, int | None]) -> pl.DataFrame:
    return pl.DataFrame(
        [(u, i, "d", t, None, s, n) for n, (u, i, t, s) in enumerate(rows)], schema=dict(RAW_ROWS), orient="row"
    )


def items(frame: pl.DataFrame) -> list[str]:
    return frame["item_id"].to_list()


def test_time_comes_before_every_tie_rule() -> None:
    frame = raw(("u", "a", 3, None), ("u", "b", 2, None), ("u", "c", 1, None))
    for rule in ("hash", "source_order", "item_id"):
        ordered = arranged(frame, rule, 0)
        assert items(ordered) == ["c", "b", "a"]
        assert ordered["position"].to_list() == [0, 1, 2]


def test_tie_rules() -> None:
    frame = raw(("u", "c", 1, None), ("u", "a", 1, None), ("u", "b", 1, None))
    assert items(arranged(frame, "source_order", 0)) == ["c", "a", "b"]
    assert items(arranged(frame, "item_id", 0)) == ["a", "b", "c"]
    orders = {tuple(items(arranged(frame, "hash", seed))) for seed in range(40)}
    assert len(orders) == 6  # every order occurs: the hash prefers none


def test_hash_order_does_not_depend_on_the_order_of_rows() -> None:
    frame = raw(*[("u", f"i{n}", 1, None) for n in range(20)])
    assert items(arranged(frame, "hash", 5)) == items(arranged(frame.reverse(), "hash", 5))


def test_without_times_the_source_sequence_counts() -> None:
    frame = raw(("u", "a", None, 2), ("u", "b", None, 0), ("u", "c", None, 1))
    assert items(arranged(frame, "hash", 0)) == ["b", "c", "a"]
    assert items(arranged(frame, "source_order", 0)) == ["b", "c", "a"]


def test_tie_report_counts_rows_and_ascending_steps() -> None:
    frame = arranged(
        raw(("u", "a", 1, None), ("u", "b", 1, None), ("u", "c", 2, None), ("v", "a", 1, None)), "item_id", 0
    )
    report = tie_report(frame, "item_id")
    assert report.rate == 0.5
    assert (report.tied_steps, report.ascending_by_id, report.ascending_all) == (1, 1.0, 1.0)
