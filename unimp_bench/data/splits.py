"""Protocols: each is one function from ordered interactions to labels, shared by all six tasks.

In: rows sorted by (user_id, position) with `user_id`, `person`, `domain`, `position`, `timestamp`. Out: the same rows
with `split` (train, valid, test, withheld) and `cohort` (in_domain, new_user, new_domain). `withheld` rows are nobody's
training target: histories of new users, and the extra positives of selection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

from unimp_bench.config import BuildConfig
from unimp_bench.errors import ConfigError
from unimp_bench.keyed import string_keys, uniform

_MOST_POSITIVES = 3
_LEAST_TRAIN = 5  # rows that must stay in training when positives are withheld

_last = pl.len().over("user_id") - 1
_from_end = _last - pl.col("position")  # 0 for a user's last row


def _new_domain(config: BuildConfig) -> pl.Expr:
    return pl.col("domain").is_in(list(config.new_domains))


def new_users(frame: pl.DataFrame, share: float, seed: int) -> pl.Series:
    """Ids of the held-out persons: `share` of them in each stratum, by seeded hash.

    A person's stratum is the domain of most of their rows (the alphabetically first of equals).
    """
    per_domain = frame.group_by("person", "domain").len()
    stratum = per_domain.sort("person", "len", "domain", descending=[False, True, False]).unique(
        "person", keep="first", maintain_order=True
    )
    draw = pl.Series("_draw", string_keys(stratum["person"], "new_user", seed))
    drawn = stratum.with_columns(draw).sort("domain", "_draw", "person")
    rank = pl.int_range(pl.len()).over("domain")
    return drawn.filter(rank < (pl.len().over("domain") * share).round()).get_column("person").sort()


def withheld_counts(users: pl.Series, lengths: pl.Series, seed: int) -> pl.Series:
    """How many rows before validation a user gives to selection, 0-2: one less than their positives, drawn 1-3 evenly.

    A user too short to keep five training rows gives fewer.
    """
    wanted = (uniform(string_keys(users, "positives", seed)) * _MOST_POSITIVES).astype("int64")
    spare = (lengths.cast(pl.Int64) - 2 - _LEAST_TRAIN).clip(0, _MOST_POSITIVES - 1)
    return pl.DataFrame({"wanted": wanted, "spare": spare}).select(pl.min_horizontal("wanted", "spare")).to_series()


def paper(frame: pl.DataFrame, config: BuildConfig) -> pl.DataFrame:
    """Leave-last-out with 10 % of the persons held out and the new domain apart (UniMP section 3.1, appendix A.1)."""
    held_out = new_users(frame.filter(~_new_domain(config)), config.new_user_share, config.seed)
    cohort = (
        pl.when(_new_domain(config))
        .then(pl.lit("new_domain"))
        .when(pl.col("person").is_in(held_out.implode()))
        .then(pl.lit("new_user"))
        .otherwise(pl.lit("in_domain"))
    )
    users = frame.group_by("user_id").agg(pl.len().alias("length")).sort("user_id")
    users = users.with_columns(withheld_counts(users["user_id"], users["length"], config.seed).alias("extra"))
    split = (
        pl.when(_from_end == 0)
        .then(pl.lit("test"))
        .when(pl.col("cohort") == "new_user")
        .then(pl.lit("withheld"))
        .when(_from_end == 1)
        .then(pl.lit("valid"))
        .when(_from_end < 2 + pl.col("extra"))
        .then(pl.lit("withheld"))
        .otherwise(pl.lit("train"))
    )
    labelled = frame.with_columns(cohort.alias("cohort")).join(users, on="user_id", how="left", maintain_order="left")
    return labelled.with_columns(split.alias("split")).drop("length", "extra")


def leave_last_out(frame: pl.DataFrame, config: BuildConfig) -> pl.DataFrame:
    """Last row test, second-last validation, rest training, nobody held out: the form of published tables."""
    split = (
        pl.when(_from_end == 0)
        .then(pl.lit("test"))
        .when(_from_end == 1)
        .then(pl.lit("valid"))
        .otherwise(pl.lit("train"))
    )
    cohort = pl.when(_new_domain(config)).then(pl.lit("new_domain")).otherwise(pl.lit("in_domain"))
    return frame.with_columns(split.alias("split"), cohort.alias("cohort"))


def official_code(frame: pl.DataFrame, config: BuildConfig) -> pl.DataFrame:
    """The released code's user split: 80 % of users train whole, 10 % give validation, 10 % test by their last row.

    The test users are unseen, so they are new users; validation users are unseen too and stand in the domain's cohort,
    because the cohort `new_user` is for testing alone.
    """
    users = frame.select("user_id", "domain").unique("user_id").sort("user_id")
    draw = pl.Series("_draw", uniform(string_keys(users["user_id"], "official_code", config.seed)))
    ranked = users.with_columns((draw.rank("ordinal") - 1) / max(users.height, 1)).rename({"_draw": "_part"})
    part = frame.join(ranked.select("user_id", "_part"), on="user_id", how="left", maintain_order="left")
    last = _from_end == 0
    split = (
        pl.when(pl.col("_part") < 0.8)
        .then(pl.lit("train"))
        .when(last & (pl.col("_part") < 0.9))
        .then(pl.lit("valid"))
        .when(last)
        .then(pl.lit("test"))
        .otherwise(pl.lit("withheld"))
    )
    cohort = (
        pl.when(_new_domain(config))
        .then(pl.lit("new_domain"))
        .when(pl.col("_part") >= 0.9)
        .then(pl.lit("new_user"))
        .otherwise(pl.lit("in_domain"))
    )
    return part.with_columns(split.alias("split"), cohort.alias("cohort")).drop("_part")


def global_time(frame: pl.DataFrame, config: BuildConfig) -> pl.DataFrame:
    """Cut by date: the first 80 % of rows train; of each later tenth a user's first row is valid, then test.

    Other rows after the first cut are withheld, so nothing from after it is ever trained on.

    Raises:
        ConfigError: there are rows without times.
    """
    if frame["timestamp"].null_count():
        raise ConfigError("protocol 'global_time' needs a time on every row; choose 'leave_last_out' for this source")
    times = frame["timestamp"].sort()
    first, second = (int(times[min(int(share * len(times)), len(times) - 1)]) for share in (0.8, 0.9))
    era = pl.when(pl.col("timestamp") < first).then(0).when(pl.col("timestamp") < second).then(1).otherwise(2)
    marked = frame.with_columns(era.alias("_era"))
    opens = pl.col("_era").ne(pl.col("_era").shift(1)).fill_null(True) | pl.col("position").eq(0)
    split = (
        pl.when(pl.col("_era") == 0)
        .then(pl.lit("train"))
        .when(opens & (pl.col("_era") == 1))
        .then(pl.lit("valid"))
        .when(opens)
        .then(pl.lit("test"))
        .otherwise(pl.lit("withheld"))
    )
    trained = (pl.col("split") == "train").any().over("user_id")
    cohort = (
        pl.when(_new_domain(config))
        .then(pl.lit("new_domain"))
        .when(trained)
        .then(pl.lit("in_domain"))
        .otherwise(pl.lit("new_user"))
    )
    labelled = marked.with_columns(split.alias("split")).with_columns(cohort.alias("cohort")).drop("_era")
    # A user who first appears after the cut is new: their rows are history, and validation stays among known users.
    new_valid = (pl.col("cohort") == "new_user") & (pl.col("split") == "valid")
    return labelled.with_columns(pl.when(new_valid).then(pl.lit("withheld")).otherwise(pl.col("split")).alias("split"))


PROTOCOL_FUNCTIONS: Mapping[str, Callable[[pl.DataFrame, BuildConfig], pl.DataFrame]] = {
    "paper": paper,
    "leave_last_out": leave_last_out,
    "official_code": official_code,
    "global_time": global_time,
}
