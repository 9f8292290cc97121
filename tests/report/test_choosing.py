from __future__ import annotations

import polars as pl

from unimp_bench.report.choosing import choose


def _margins(**by_id: float | None) -> pl.DataFrame:
    schema = {"example_id": pl.String, "cohort": pl.String, "margin": pl.Float64}
    return pl.DataFrame([(name, name[0], margin) for name, margin in by_id.items()], schema=schema, orient="row")


def test_largest_wins_then_largest_losses_then_drawn() -> None:
    chosen = choose(_margins(a1=0.1, a2=0.9, a3=-0.2, a4=-0.8, a5=0.0), ["a"], 3)
    assert [(one.example_id, one.why) for one in chosen[:2]] == [("a2", "won"), ("a4", "lost")]
    assert len(chosen) == 3
    assert chosen[2].why == "drawn"
    assert chosen[2].example_id in {"a1", "a3", "a5"}


def test_the_first_cohort_has_twice_the_share_and_none_comes_twice() -> None:
    chosen = choose(_margins(a1=1.0, a2=-1.0, a3=0.0, a4=0.0, b1=1.0, b2=0.5), ["a", "b"], 6)
    assert sorted(one.cohort for one in chosen) == ["a", "a", "a", "a", "b", "b"]
    assert len({one.example_id for one in chosen}) == 6


def test_values_that_say_nothing_are_drawn_whatever_the_order_of_rows() -> None:
    rows = _margins(**{f"a{k}": None for k in range(9)})
    chosen = choose(rows, ["a"], 4)
    assert {one.why for one in chosen} == {"drawn"}
    assert chosen == choose(rows.reverse(), ["a"], 4)
