"""Is every example well made? Candidates, pictures and placeholders sound, one sealed answer a test row."""

from __future__ import annotations

import polars as pl

from unimp_bench.audit.findings import HISTORY_ITEMS, Check, Evidence, chunks, count, listing, silent, verdict
from unimp_bench.schemas import ANSWER_COLUMNS
from unimp_bench.tasks.spec import TASKS

_MOST_POSITIVES = 3
_SAME_COUNT = pl.col("instruction").str.count_matches("<image>", literal=True) == pl.col("image_item_ids").list.len()


def target_not_in_history(evidence: Evidence) -> Check:
    """No example's history holds one of its answers or its target; duplicates of (user, item) are resolved before."""
    found = {}
    for task, split, rows in evidence.labelled():
        history, answers = HISTORY_ITEMS, pl.col("item_ids").fill_null([])
        inside = (history.list.set_intersection(answers).list.len() > 0) | history.list.contains(
            pl.col("target_item_id")
        )
        found[f"{task} {split}"] = count(rows.filter(inside.fill_null(False)))
    total = sum(found.values())
    return verdict(
        "target_not_in_history", total == 0, total, f"answers in the history: {listing(found)}" if total else "none"
    )


def no_shared_picture(evidence: Evidence) -> Check:
    """No selection example has a negative with the picture of one of its positives."""
    name = "no_shared_picture"
    if reason := evidence.lacks("selection"):
        return silent(name, reason)
    pictures = evidence.items.select("item_id", "image_id").drop_nulls()
    if pictures.height == 0:
        return silent(name, "no item has a picture")
    found, examples = {}, 0
    for _, split, rows in evidence.labelled("selection"):
        bad = 0
        for part in chunks(rows.select("candidates", "item_ids")):
            examples += part.height
            flat = part.with_row_index("row").explode("candidates").drop_nulls("candidates")
            flat = flat.with_columns(positive=pl.col("item_ids").list.contains(pl.col("candidates")))
            seen = flat.join(pictures, left_on="candidates", right_on="item_id")
            both = seen.group_by("row", "image_id").agg(pl.col("positive").n_unique()).filter(pl.col("positive") > 1)
            bad += both["row"].n_unique()
        found[split] = bad
    total = sum(found.values())
    return verdict(name, total == 0, total, listing(found) if total else f"{examples:,} examples, none shares one")


def selection_withheld(evidence: Evidence) -> Check:
    """Selection has 1-3 distinct positives, each once among distinct candidates and not in the example's history."""
    name = "selection_withheld"
    if reason := evidence.lacks("selection"):
        return silent(name, reason)
    found, examples = {}, 0
    positives, candidates = pl.col("item_ids").fill_null([]), pl.col("candidates").fill_null([])
    faults = {
        "not 1-3 distinct positives": ~positives.list.n_unique().is_between(1, _MOST_POSITIVES)
        | (positives.list.n_unique() != positives.list.len()),
        "positives in the history": HISTORY_ITEMS.list.set_intersection(positives).list.len() > 0,
        "positives not among candidates": positives.list.set_difference(candidates).list.len() > 0,
        "repeated candidates": candidates.list.n_unique() != candidates.list.len(),
    }
    for _, split, rows in evidence.labelled("selection"):
        sums = rows.select(pl.len().alias("n"), *(bad.fill_null(False).sum().alias(k) for k, bad in faults.items()))
        counted = sums.collect(engine="streaming").row(0, named=True)
        examples += counted.pop("n")
        found.update({f"{split}: {fault}": int(n) for fault, n in counted.items()})
    total = sum(found.values())
    return verdict(name, total == 0, total, listing(found) if total else f"{examples:,} examples sound")


def search_single_query(evidence: Evidence) -> Check:
    """Search has more than one distinct query; also how many catalogue items an average query matches.

    An item matches a query if it shares the category path of some target of that query.
    """
    name = "search_single_query"
    if reason := evidence.lacks("search"):
        return silent(name, reason)
    asked = pl.concat(
        [rows.select("query", item_id=pl.col("item_ids").list.first()) for _, _, rows in evidence.labelled("search")]
    )
    pairs = asked.unique().collect(engine="streaming")
    paths = evidence.dataset.catalogue().items.select("item_id", path=pl.col("categories").list.join("\t"))
    sizes = paths.drop_nulls().group_by("path").agg(items=pl.len())
    matches = pairs.join(paths, on="item_id").select("query", "path").unique().join(sizes, on="path")
    distinct = pairs["query"].drop_nulls().n_unique()
    mean = matches["items"].sum() / max(1, distinct)
    detail = f"{distinct:,} distinct queries; a query matches {mean:.1f} of {paths.height:,} items on average"
    return verdict(name, distinct > 1, distinct, detail)


def image_placeholders(evidence: Evidence) -> Check:
    """Every rendered instruction has as many `<image>` as `image_item_ids` has entries."""
    name = "image_placeholders"
    rendered, found = 0, {}
    for task in evidence.dataset.tasks:
        for split in ("train", "valid", "test"):
            rows = evidence.dataset.examples(task, split).filter(pl.col("instruction").is_not_null())
            n, good = rows.select(pl.len(), _SAME_COUNT.fill_null(False).sum()).collect(engine="streaming").row(0)
            rendered, found[f"{task} {split}"] = rendered + n, n - good
    total = sum(found.values())
    if rendered == 0:
        return silent(name, "no instruction is rendered")
    return verdict(
        name, total == 0, total, f"rows that differ: {listing(found)}" if total else f"{rendered:,} prompts agree"
    )


def answers_complete(evidence: Evidence) -> Check:
    """Every test example has one sealed answer of its task's kind and no more; nothing of it is visible.

    Train and valid rows carry an answer of that kind too, example ids are unique across splits, and the visible test
    file has neither answer columns nor, where the item is asked for, a target.
    """
    dataset = evidence.dataset
    found: dict[str, int] = {}
    for task in dataset.tasks:
        kind = TASKS[task].answer
        wanted = {"rating": "rating", "text": "text"}.get(kind, "item_ids")
        has = pl.col("item_ids").list.len() > 0 if wanted == "item_ids" else pl.col(wanted).is_not_null()
        if kind == "rating":
            has &= pl.col("rating").is_between(1, 5)
        elif kind in ("ranking", "image"):
            has &= pl.col("item_ids").list.len() == 1
        for split in ("train", "valid"):
            found[f"{task} {split} rows without an answer"] = count(
                dataset.examples(task, split).filter(~has.fill_null(False))
            )
        answers = dataset.sealed_answers(task)
        test = dataset.examples(task, "test")
        visible = test.collect_schema().names()
        found[f"{task} answer columns in the test file"] = sum(c in visible for c in ANSWER_COLUMNS)
        if wanted == "item_ids":
            found[f"{task} targets in the test file"] = count(test.filter(pl.col("target_item_id").is_not_null()))
        found[f"{task} answers of another form"] = answers.filter(~has.fill_null(False)).height
        found[f"{task} answers twice"] = answers.height - answers["example_id"].n_unique()
        ids = test.select("example_id").collect(engine="streaming")
        found[f"{task} test rows twice"] = ids.height - ids["example_id"].n_unique()
        found[f"{task} test rows without an answer"] = ids.join(answers, on="example_id", how="anti").height
        found[f"{task} answers without a test row"] = answers.join(ids, on="example_id", how="anti").height
        valid = dataset.examples(task, "valid").select("example_id").collect(engine="streaming")
        held = pl.concat([ids, valid])
        found[f"{task} ids in valid and test"] = ids.join(valid, on="example_id", how="semi").height
        train = dataset.examples(task, "train").select("example_id")
        found[f"{task} ids in train and valid or test"] = count(train.join(held.lazy(), on="example_id", how="semi"))
    total = sum(found.values())
    return verdict(
        "answers_complete", total == 0, total, listing(found) if total else "one sealed answer a test example"
    )
