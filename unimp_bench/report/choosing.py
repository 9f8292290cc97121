"""Which examples a reader sees: where the leading system gained or lost most, and some drawn without looking.

A browser of random examples shows ties; one of extremes alone misleads. A third of each kind, cohort by cohort.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from unimp_bench.keyed import string_keys

EXAMPLES = 24  # a task

_WON, _LOST, _DRAWN = "won", "lost", "drawn"


@dataclass(frozen=True)
class Chosen:
    """An example and why it is shown."""

    example_id: str
    cohort: str
    why: str


def choose(margins: pl.DataFrame, cohorts: list[str], count: int = EXAMPLES) -> list[Chosen]:
    """At most `count` examples, twice as many of the first cohort; wins first, then losses, then drawn ones.

    Args:
        margins: example_id, cohort and margin, the leader's value minus the others' mean, positive where it is better;
            null where examples have no value of their own, which are then drawn only.
        cohorts: in their order.
        count: how many at most.
    """
    found = []
    draw = pl.Series("draw", string_keys(margins["example_id"], "report"))
    pool = margins.with_columns(draw).sort("draw", "example_id")
    for number, cohort in enumerate(cohorts):
        each = count * (2 if number == 0 else 1) // (len(cohorts) + 1)
        left = pool.filter(pl.col("cohort") == cohort)
        for why, wanted, order in (
            (_WON, left.filter(pl.col("margin") > 0), {"by": "margin", "descending": True}),
            (_LOST, left.filter(pl.col("margin") < 0), {"by": "margin", "descending": False}),
        ):
            best = wanted.sort(**order, maintain_order=True).head(each // 3)  # type: ignore[arg-type]
            found += [Chosen(example, cohort, why) for example in best["example_id"]]
        taken = [one.example_id for one in found if one.cohort == cohort]
        rest = left.filter(~pl.col("example_id").is_in(taken)).head(each - len(taken))
        found += [Chosen(example, cohort, _DRAWN) for example in rest["example_id"]]
    found.sort(key=lambda one: (_WON, _LOST, _DRAWN).index(one.why))
    return found
