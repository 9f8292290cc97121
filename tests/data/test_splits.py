"""Protocols: from ordered interactions to labels."""

from __future__ import annotations

import polars as pl
import pytest

from unimp_bench.config import BuildConfig
from unimp_bench.data.splits import PROTOCOL_FUNCTIONS, global_time, leave_last_out, new_users, official_code, paper
from unimp_bench.errors import ConfigError


def shop(lengths: dict[str, int], domain: str = "beauty") -> pl.DataFrame:
    rows = [(u, u, domain, p, 1000 + p, f"i{p}") for u, n in lengths.items() for p in range(n)]
    schema = {
        "user_id": pl.String, "person": pl.String, "domain": pl.String, "position": pl.Int32,
        "timestamp": pl.Int64, "item_id": pl.String,
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row").sort("user_id", "position")


def labels(frame: pl.DataFrame, user: str) -> list[str]:
    return frame.filter(pl.col("user_id") == user)["split"].to_list()


def test_leave_last_out() -> None:
    done = leave_last_out(shop({"u": 4, "v": 3}), BuildConfig())
    assert labels(done, "u") == ["train", "train", "valid", "test"]
    assert labels(done, "v") == ["train", "valid", "test"]
    assert done["cohort"].unique().to_list() == ["in_domain"]


def test_paper_holds_out_a_tenth_of_the_persons_whole() -> None:
    done = paper(shop({f"u{n:03d}": 9 for n in range(200)}), BuildConfig())
    new = done.filter(pl.col("cohort") == "new_user")
    assert new["user_id"].n_unique() == 20
    assert labels(done, new["user_id"][0]) == ["withheld"] * 8 + ["test"]


def test_paper_withholds_positives_right_before_validation_and_keeps_five_to_train_on() -> None:
    done = paper(shop({f"u{n:03d}": 9 for n in range(300)}), BuildConfig(new_user_share=0))
    forms = {tuple(labels(done, user)) for user in done["user_id"].unique()}
    assert forms == {
        ("train",) * 7 + ("valid", "test"),
        ("train",) * 6 + ("withheld", "valid", "test"),
        ("train",) * 5 + ("withheld", "withheld", "valid", "test"),
    }
    short = paper(shop({f"u{n:03d}": 7 for n in range(100)}), BuildConfig(new_user_share=0))
    assert "withheld" not in short["split"].to_list()


def test_the_new_domain_is_split_alike_and_nobody_of_it_is_a_new_user() -> None:
    both = pl.concat(
        [shop({f"u{n:02d}": 6 for n in range(50)}), shop({f"u{n:02d}@office": 6 for n in range(50)}, "office")]
    )
    both = both.with_columns(pl.col("person").str.replace("@office", "")).sort("user_id", "position")
    done = paper(both, BuildConfig(new_domains=("office",), new_user_share=0.5))
    office = done.filter(pl.col("domain") == "office")
    assert office["cohort"].unique().to_list() == ["new_domain"]
    assert set(office["split"]) == {"train", "valid", "test"}
    assert done.filter(pl.col("cohort") == "new_user")["user_id"].n_unique() == 25


def test_new_users_are_drawn_by_the_person_and_stratified() -> None:
    both = pl.concat([shop({f"a{n:02d}": 5 for n in range(30)}, "x"), shop({f"b{n:02d}": 5 for n in range(10)}, "y")])
    drawn = new_users(both, 0.2, 0).to_list()
    assert (sum(p[0] == "a" for p in drawn), sum(p[0] == "b" for p in drawn)) == (6, 2)


def test_another_seed_draws_others_and_adding_a_user_leaves_draws_alone() -> None:
    frame = shop({f"u{n:03d}": 5 for n in range(100)})
    assert new_users(frame, 0.1, 0).to_list() != new_users(frame, 0.1, 1).to_list()
    counts = paper(shop({"u1": 9, "u2": 9}), BuildConfig(new_user_share=0))
    more = paper(shop({"u0": 9, "u1": 9, "u2": 9}), BuildConfig(new_user_share=0))
    assert labels(counts, "u1") == labels(more, "u1")


def test_official_code_splits_users() -> None:
    done = official_code(shop({f"u{n:03d}": 8 for n in range(100)}), BuildConfig())
    forms = {tuple(labels(done, u)): 0 for u in done["user_id"].unique()}
    for user in done["user_id"].unique():
        forms[tuple(labels(done, user))] += 1
    assert forms == {("train",) * 8: 80, ("withheld",) * 7 + ("valid",): 10, ("withheld",) * 7 + ("test",): 10}
    assert set(done.filter(pl.col("split") == "test")["cohort"]) == {"new_user"}


def test_global_time_trains_on_nothing_after_the_cut() -> None:
    frame = shop({"old": 20, "late": 4}).with_columns(
        pl.when(pl.col("user_id") == "late")
        .then(pl.col("timestamp") + 18)
        .otherwise(pl.col("timestamp"))
        .alias("timestamp")
    )
    done = global_time(frame, BuildConfig())
    train, rest = done.filter(pl.col("split") == "train"), done.filter(pl.col("split") != "train")
    assert train["timestamp"].max() < rest["timestamp"].min()  # type: ignore[operator]
    assert labels(done, "old").count("test") == 1
    assert labels(done, "old").count("valid") == 1
    assert done.filter(pl.col("user_id") == "late")["cohort"].unique().to_list() == ["new_user"]
    with pytest.raises(ConfigError, match="needs a time"):
        global_time(frame.with_columns(pl.lit(None, dtype=pl.Int64).alias("timestamp")), BuildConfig())


@pytest.mark.parametrize("name", sorted(PROTOCOL_FUNCTIONS))
def test_every_protocol_keeps_all_rows_and_gives_a_user_at_most_one_test(name: str) -> None:
    frame = shop({f"u{n:03d}": 5 + n % 7 for n in range(80)})
    done = PROTOCOL_FUNCTIONS[name](frame, BuildConfig())
    assert done.select("user_id", "position").equals(frame.select("user_id", "position"))
    per_user = done.filter(pl.col("split") == "test").group_by("user_id").len()
    assert per_user["len"].max() == 1
    assert done["split"].null_count() == done["cohort"].null_count() == 0
