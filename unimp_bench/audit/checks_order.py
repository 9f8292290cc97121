"""Does a number or an order give the target away? Item numbers, tied times, candidate order, and time itself.

A figure counts as chance while it stays within four to five standard deviations of it, so an honest dataset fails
about once in ten thousand builds and a real leak, which is far outside, always.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from unimp_bench.audit.findings import Check, Evidence, chunks, silent, verdict

_STEPS = 5  # the probe guesses the five numbers after the last one
_UNLIKELY = 1e-6


def item_index_independent(evidence: Evidence) -> Check:
    """Spearman correlation of item_index with popularity, time, order of appearance and id, each |rho| < 4 / sqrt(n).

    Under independence rho has standard deviation 1 / sqrt(n - 1). The order of appearance is taken in the users' file
    (the numbering that P5 leaks by) and in the raw files.
    """
    name = "item_index_independent"
    dataset = evidence.dataset
    popular = dataset.interactions().group_by("item_id").agg(popularity=pl.len())
    seen = (
        dataset.sealed_interactions()
        .select("item_id", "domain", "timestamp", "source_row")
        .with_row_index("walk")
        .group_by("item_id")
        .agg(pl.col("walk").min(), pl.col("timestamp").min(), pl.col("domain").first(), pl.col("source_row").min())
    )
    facts = evidence.items.select("item_id", "item_index").join(
        popular.collect(engine="streaming"), on="item_id", how="left"
    )
    facts = facts.join(seen.collect(engine="streaming"), on="item_id", how="left").with_columns(
        pl.col("popularity").fill_null(0),
        raw=pl.struct("domain", "source_row").rank("dense"),
        id=pl.col("item_id").rank(),
    )
    reached, worst = [], 0.0
    for label, column in (
        ("popularity", "popularity"),
        ("first time seen", "timestamp"),
        ("order of users' histories", "walk"),
        ("order of raw files", "raw"),
        ("id", "id"),
    ):
        known = facts.filter(pl.col(column).is_not_null() & pl.col("walk").is_not_null())
        if known.height < 3 or known[column].n_unique() < 2:
            continue
        ranks = known.select(pl.col("item_index", column).rank()).to_numpy()
        rho = float(np.corrcoef(ranks.T)[0, 1])
        limit = 4 / np.sqrt(known.height)
        reached.append(f"{label} {rho:+.4f} (limit {limit:.4f})")
        worst = max(worst, abs(rho) / limit)
    if not reached:
        return silent(name, "fewer than three items")
    return verdict(name, worst < 1, round(float(4 * worst), 3), "correlation with " + ", ".join(reached))


def below_core(evidence: Evidence) -> Check:
    """Share of test targets among the items with fewer training rows than the core asks of an item.

    Every k-core that is taken before a split tells this much: what such items lack in training must be held out.
    """
    name = "below_core"
    core = int(evidence.dataset.manifest.facts.get("core", {}).get("item", 1))
    trained = evidence.dataset.interactions().group_by("item_id").agg(rows=pl.len()).collect(engine="streaming")
    counted = evidence.items.select("item_id").join(trained, on="item_id", how="left")
    few = counted.filter(pl.col("rows").fill_null(0) < core)
    targets = evidence.held_out.filter(pl.col("split") == "test")
    if few.height == 0 or targets.height == 0:
        return silent(name, f"no item has fewer than {core} training rows")
    share = targets.join(few, on="item_id", how="semi").height / targets.height
    detail = (
        f"{few.height:,} of {counted.height:,} items ({few.height / counted.height:.1%}) have fewer than {core} "
        f"training rows and are {share:.1%} of the test targets"
    )
    return Check(name, "info", round(share, 4), detail)


def last_index_plus_one(evidence: Evidence) -> Check:
    """A probe that answers with the five item numbers after the last history item's is right no more than by chance.

    Counted over distinct (last item, target) pairs, because a pair that many users share is one draw of numbers. The
    chance of a hit is 5 / items; more hits than a binomial gives once in a million fail.
    """
    name = "last_index_plus_one"
    if reason := evidence.lacks("recommendation"):
        return silent(name, reason)
    dataset = evidence.dataset
    last = pl.col("history").list.last().struct.field("item_id").alias("last")
    rows = dataset.examples("recommendation", "test").select("example_id", last).collect(engine="streaming")
    targets = dataset.sealed_answers("recommendation").select("example_id", target=pl.col("item_ids").list.first())
    pairs = rows.join(targets, on="example_id").select("last", "target").drop_nulls().unique()
    index = evidence.items.select("item_id", "item_index")
    numbered = pairs.join(index, left_on="last", right_on="item_id").join(
        index, left_on="target", right_on="item_id", suffix="_target"
    )
    n, chance = numbered.height, min(1.0, _STEPS / max(1, index.height))
    if n == 0:
        return silent(name, "no test example has a history")
    ahead = pl.col("item_index_target") - pl.col("item_index")
    hits = numbered.filter(ahead.is_between(1, _STEPS)).height
    unlikely = float(stats.binom.sf(hits - 1, n, chance))
    detail = f"{hits:,} hits in {n:,} distinct pairs, {n * chance:.1f} expected, p = {unlikely:.2g}"
    return verdict(name, unlikely > _UNLIKELY, round(hits / n, 6), detail)


def candidate_order(evidence: Evidence) -> Check:
    """Positives stand in every place of the candidate list equally often (chi-square over places, by list length).

    An example with k positives among n candidates fills n places without replacement, so with V the sum of
    (k/n)(1 - k/n) the statistic (n - 1) / (n V) * sum (count - expected)^2 follows chi-square with n - 1 degrees.
    """
    name = "candidate_order"
    if reason := evidence.lacks("selection"):
        return silent(name, reason)
    hits: dict[int, NDArray[np.float64]] = {}
    expected: dict[int, float] = defaultdict(float)
    variance: dict[int, float] = defaultdict(float)
    examples = 0
    for _, _, rows in evidence.labelled("selection"):
        for part in chunks(rows.select("candidates", "item_ids").drop_nulls()):
            examples += part.height
            for (n,), group in part.group_by(pl.col("candidates").list.len(), maintain_order=True):
                size = int(str(n))
                flags = (
                    group.with_row_index("row")
                    .explode("candidates")
                    .select(pl.col("item_ids").list.contains(pl.col("candidates")))
                )
                places = flags.to_series().to_numpy().reshape(-1, size)  # (examples, places)
                share = places.mean(axis=1)
                hits[size] = hits.get(size, np.zeros(size)) + places.sum(axis=0)
                expected[size] += float(share.sum())
                variance[size] += float((share * (1 - share)).sum())
    statistic, freedom = 0.0, 0
    for size, counts in hits.items():
        if variance[size] > 0:
            statistic += (size - 1) / (size * variance[size]) * float(((counts - expected[size]) ** 2).sum())
            freedom += size - 1
    if freedom == 0:
        return silent(name, "no example has both positives and negatives")
    unlikely = float(stats.chi2.sf(statistic, freedom))
    common = max(hits.values(), key=lambda counts: float(counts.sum()))
    detail = f"positives by place {[int(c) for c in common]} in {examples:,} examples, p = {unlikely:.2g}"
    return verdict(name, unlikely > _UNLIKELY, round(statistic, 3), detail)


def ascending_by_id(evidence: Evidence) -> Check:
    """Share of successive steps of equal time that ascend by item id; one half by chance.

    Must be chance (five standard deviations) under protocol `paper` with hashed ties; elsewhere it is a figure to know:
    ties sorted by id give away the order of a day.
    """
    name = "ascending_by_id"
    rule = str(evidence.dataset.manifest.facts.get("ties", {}).get("rule", "hash"))
    steps = up = 0
    before: pl.DataFrame | None = None
    columns = ("user_id", "timestamp", "item_id")
    for part in chunks(evidence.dataset.sealed_interactions().select(columns)):
        rows = part if before is None else pl.concat([before, part])
        same = (pl.col("user_id") == pl.col("user_id").shift(1)) & (pl.col("timestamp") == pl.col("timestamp").shift(1))
        ascends = pl.col("item_id") > pl.col("item_id").shift(1)
        tied = rows.with_columns(_same=same, _up=ascends).filter("_same")
        steps, up = steps + tied.height, up + int(tied["_up"].sum())
        before = part.tail(1)
    if steps == 0:
        return silent(name, "no two successive rows of a user have equal times")
    share, limit = up / steps, 2.5 / np.sqrt(steps)
    detail = f"{up:,} of {steps:,} equal-time steps ascend, chance 0.5 within {limit:.4f}; tie rule {rule}"
    if evidence.protocol == "paper" and rule == "hash":
        return verdict(name, abs(share - 0.5) < limit, round(share, 4), detail)
    return Check(name, "info", round(share, 4), detail)


def later_training_events(evidence: Evidence) -> Check:
    """Share of test targets that are older than the latest training event: what leave-last-out knows of the future.

    A user's own training events precede their target, so the later ones are other users'. Cut by date it must be 0.
    """
    name = "later_training_events"
    train = evidence.dataset.interactions().select("timestamp").drop_nulls().collect(engine="streaming")
    test = evidence.held_out.filter(pl.col("split") == "test")["timestamp"].drop_nulls().to_numpy()
    if train.height == 0 or len(test) == 0:
        return silent(name, "the source has no times")
    times = np.sort(train["timestamp"].to_numpy())
    later = len(times) - np.searchsorted(times, test, side="right")
    share = float((later > 0).mean())
    median = float(np.median(later)) / len(times)
    detail = f"{share:.1%} of {len(test):,} targets; the median target precedes {median:.1%} of the training events"
    if evidence.protocol == "global_time":
        return verdict(name, share == 0, round(share, 4), detail)
    return Check(name, "info", round(share, 4), detail)
