"""The order of a user's rows: by time, then by a named tie rule; and how much of the order the tie rule decides."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from unimp_bench.keyed import mix, string_keys


@dataclass(frozen=True)
class TieReport:
    """How many rows share their time with another row of the same user, and whether order follows item ids.

    `rate` is a share of all rows; `ascending_by_id` is the share of successive equal-time steps whose item id ascends
    (None without such steps; one half is chance); `ascending_all` the same over all successive steps.
    """

    rule: str
    rate: float
    tied_steps: int
    ascending_by_id: float | None
    ascending_all: float | None


def arranged(frame: pl.DataFrame, rule: str, seed: int) -> pl.DataFrame:
    """The rows sorted by user and order, with their 0-based `position` (Int32).

    Rules: `hash` breaks ties by a seeded hash of (user, item), `source_order` by the source's own order, `item_id` by
    the id (as the released code does; it leaks). Rows without times stand in the source's order.
    """
    if rule == "hash":
        tie = pl.Series(mix(string_keys(frame["user_id"], "tie", seed), string_keys(frame["item_id"], "tie")))
        # Where the source gives an order of its own and no times, there is nothing to break.
        keys = [pl.col("sequence").fill_null(0), pl.col("_tie")]
        ordered = frame.with_columns(tie.alias("_tie")).sort("user_id", "timestamp", *keys, "item_id").drop("_tie")
    elif rule == "item_id":
        ordered = frame.sort("user_id", "timestamp", "sequence", "item_id")
    else:
        ordered = frame.sort("user_id", "timestamp", "sequence", "domain", "source_row")
    return ordered.with_columns(pl.int_range(pl.len(), dtype=pl.Int32).over("user_id").alias("position"))


def tie_report(ordered: pl.DataFrame, rule: str) -> TieReport:
    """Measure ties in rows that `arranged` has sorted."""
    same_user = pl.col("user_id").eq(pl.col("user_id").shift(1)).fill_null(False)
    facts = ordered.with_columns(
        same_user.alias("step"),
        (same_user & pl.col("timestamp").eq(pl.col("timestamp").shift(1)).fill_null(False)).alias("tied"),
        (pl.col("item_id") > pl.col("item_id").shift(1)).alias("ascends"),
    ).with_columns((pl.col("tied") | pl.col("tied").shift(-1).fill_null(False)).alias("in_tie"))
    steps, tied = facts.filter("step"), facts.filter("tied")
    return TieReport(
        rule=rule,
        rate=float(facts["in_tie"].mean() or 0.0),  # type: ignore[arg-type]
        tied_steps=tied.height,
        ascending_by_id=None if tied.height == 0 else float(tied["ascends"].mean()),  # type: ignore[arg-type]
        ascending_all=None if steps.height == 0 else float(steps["ascends"].mean()),  # type: ignore[arg-type]
    )
