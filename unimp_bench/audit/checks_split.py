"""Do the six tasks keep to one split? Nothing held out may be a target or a history entry in training."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from unimp_bench import tables
from unimp_bench.audit.findings import CHUNK, HISTORY_ITEMS, Check, Evidence, count, listing, silent, verdict
from unimp_bench.schemas import INTERACTIONS, SEALED_INTERACTIONS

_PAIR = ["user_id", "item_id"]


def _named(rows: pl.LazyFrame) -> list[pl.LazyFrame]:
    """The (user, item) pairs that examples name: answers, target, history; one frame each."""
    sources = (pl.col("item_ids"), pl.concat_list("target_item_id"), HISTORY_ITEMS)
    return [rows.select("user_id", kind.alias("item_id")).explode("item_id") for kind in sources]


def _shown(rows: pl.LazyFrame, pairs: pl.DataFrame) -> int:
    """How often examples name one of these pairs."""
    held = pairs.lazy()
    return sum(count(part.join(held, on=_PAIR, how="semi")) for part in _named(rows))


def no_target_in_training(evidence: Evidence) -> Check:
    """No held-out (user, item) in any task's training examples, and no test row in any task's valid examples.

    Both are looked for among answers, targets and histories. P5 and VIP5 leak by splitting each task anew.
    """
    dataset = evidence.dataset
    held = evidence.held_out.select(_PAIR)
    test = evidence.held_out.filter(pl.col("split") == "test").select(_PAIR)
    found = {}
    for task in dataset.tasks:
        found[f"{task} train"] = _shown(dataset.examples(task, "train"), held)
        found[f"{task} valid"] = _shown(dataset.examples(task, "valid"), test)
    total = sum(found.values())
    detail = (
        f"held-out rows shown: {listing(found)}" if total else f"{held.height:,} held-out rows, none shown in training"
    )
    return verdict("no_target_in_training", total == 0, total, detail)


def answers_in_valid(evidence: Evidence) -> Check:
    """How many (user, item) answers of a test file stand in some task's valid file, which `fit` may read.

    Only selection could have them: its test positives before the last are withheld rows.
    """
    name = "test_answers_in_valid"
    if reason := evidence.lacks("selection"):
        return silent(name, reason)
    dataset = evidence.dataset
    users = dataset.examples("selection", "test").select("example_id", "user_id").collect()
    answers = users.join(dataset.sealed_answers("selection"), on="example_id").select("user_id", item_id="item_ids")
    pairs = answers.explode("item_id").unique().sort(_PAIR)
    found = {task: _shown(dataset.examples(task, "valid"), pairs) for task in dataset.tasks}
    total = sum(found.values())
    detail = f"selection's test positives in valid files: {listing(found)}" if total else "none"
    return verdict(name, total == 0, total, detail)


def new_users_absent(evidence: Evidence) -> Check:
    """New users are in no train or valid file and in no visible interaction.

    A person's rows in a held-out domain run under an id of their own and reach `adapt` alone; they are counted, not
    condemned.
    """
    name = "new_users_absent"
    dataset, users = evidence.dataset, evidence.new_users
    if users.height == 0:
        return silent(name, f"protocol {evidence.protocol} holds out no users here")
    found = {"interactions": count(dataset.interactions().join(users.lazy(), on="user_id", how="semi"))}
    for task in dataset.tasks:
        for split in ("train", "valid"):
            rows = dataset.examples(task, split).select("user_id")
            found[f"{task} {split}"] = count(rows.join(users.lazy(), on="user_id", how="semi"))
    total = sum(found.values())
    detail = f"rows of new users: {listing(found)}" if total else f"{users.height:,} new users, no row shown"
    elsewhere = 0
    for domain in sorted(dataset.new_domains):
        aliases = users.lazy().select(pl.col("user_id") + f"@{domain}")
        elsewhere += count(dataset.interactions().select("user_id").unique().join(aliases, on="user_id", how="semi"))
    if elsewhere:
        detail += f"; {elsewhere:,} of these persons also train in a held-out domain, which `adapt` alone reads"
    return verdict(name, total == 0, total, detail)


def visible_is_train(evidence: Evidence) -> Check:
    """The visible interactions are the train rows of the sealed ones, cell by cell, and have no further column.

    A place in the raw file would be one too many: its gaps tell how many rows of a user or an item were held out. Both
    files are sorted by the same key, so they are walked side by side in parts, never held whole.
    """
    name = "visible_is_train"
    dataset, folder = evidence.dataset, evidence.dataset.folder
    columns = list(INTERACTIONS.columns)
    if further := sorted(set(dataset.interactions().collect_schema().names()) - set(columns)):
        return verdict(name, False, len(further), f"columns that runners must not see: {', '.join(further)}")
    sealed = tables.batches(folder / "sealed/interactions.parquet", SEALED_INTERACTIONS, CHUNK)
    visible = tables.batches(folder / "visible/interactions.parquet", INTERACTIONS, CHUNK)
    train = (part.filter(pl.col("split") == "train").select(columns) for part in sealed)
    wanted = given = nothing = pl.DataFrame(schema=dict(INTERACTIONS.columns))
    rows = 0
    while True:
        wanted, given = _filled(wanted, train, nothing), _filled(given, visible, nothing)
        both = min(wanted.height, given.height)
        if both == 0:
            break
        if not wanted.head(both).equals(given.select(columns).head(both)):
            return verdict(name, False, rows, f"they differ between rows {rows:,} and {rows + both:,}")
        rows, wanted, given = rows + both, wanted.slice(both), given.slice(both)
    if wanted.height or given.height:
        file = "sealed" if wanted.height else "visible"
        return verdict(name, False, rows, f"after {rows:,} equal rows only the {file} file goes on")
    return verdict(name, True, rows, f"{rows:,} rows equal")


def _filled(rest: pl.DataFrame, parts: Iterator[pl.DataFrame], nothing: pl.DataFrame) -> pl.DataFrame:
    """The rest, or if it is used up the next part that has rows, or nothing at the end."""
    return rest if rest.height else next((part for part in parts if part.height), nothing)


def one_split(evidence: Evidence) -> Check:
    """Every example's rows carry the label that the sealed interactions give them, in every task.

    Valid and test: the target has that split and cohort, and further positives are withheld. The example's id is made
    of its user and position.
    """
    held = evidence.held_out.lazy().select("user_id", "item_id", label="split", side="cohort")
    found: dict[str, int] = {}
    for task, split, rows in evidence.labelled():
        named = (pl.col("user_id") + ":" + pl.col("position").cast(pl.String).str.zfill(6)) == pl.col("example_id")
        found[f"{task} {split} ids"] = count(rows.filter(~named))
        asked = pl.coalesce("item_ids", pl.concat_list("target_item_id"))
        targets = rows.select("example_id", "user_id", "cohort", item_id=asked).explode("item_id")
        if split == "train":  # no_target_in_training looks at those
            continue
        met = targets.join(held, on=_PAIR, how="left")
        allowed = [split, "withheld"] if task == "selection" else [split]
        good = (pl.col("label").is_in(allowed) & (pl.col("side") == pl.col("cohort"))).fill_null(False)
        verdicts = met.group_by("example_id").agg(
            (good.all() & (pl.col("label") == split).fill_null(False).any()).alias("good")
        )
        found[f"{task} {split}"] = count(verdicts.filter(~pl.col("good")))
    total = sum(found.values())
    detail = (
        f"rows off their label: {listing(found)}" if total else "every example stands on a row of its split and cohort"
    )
    return verdict("one_split", total == 0, total, detail)
