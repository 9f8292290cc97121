from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from tests.audited_shop import Shop, good_shop
from unimp_bench.audit import CHECKS, Check, audit, require
from unimp_bench.audit.checks_order import below_core
from unimp_bench.audit.checks_split import visible_is_train
from unimp_bench.audit.findings import Evidence
from unimp_bench.errors import AuditError


def _states(shop: Shop, root: Path) -> dict[str, Check]:
    return {check.name: check for check in audit(shop.write(root))}


def test_an_honest_dataset_passes_every_check(tmp_path: Path) -> None:
    found = _states(good_shop(), tmp_path)
    assert len(found) == len(CHECKS)
    assert {c.name: c.detail for c in found.values() if c.status == "fail"} == {}
    assert {c.name for c in found.values() if c.status == "info"} == {"below_core", "later_training_events"}


def _rows(shop: Shop, task: str, split: str, **columns: pl.Expr) -> None:
    shop.examples[task, split] = shop.examples[task, split].with_columns(**columns)


def _target_in_training(shop: Shop) -> None:
    """A search training example whose answer is its user's test item (and nothing else changes)."""
    last = shop.sealed.filter((pl.col("split") == "test") & (pl.col("user_id") == "U020"))["item_id"].item()
    here = pl.col("user_id") == "U020"
    _rows(shop, "search", "train", item_ids=pl.when(here).then(pl.concat_list(pl.lit(last))).otherwise("item_ids"))


def _target_in_training_history(shop: Shop) -> None:
    row = shop.sealed.filter((pl.col("split") == "valid") & (pl.col("user_id") == "U020")).row(0, named=True)
    entry = pl.Series([[{"item_id": row["item_id"], "rating": 3.0, "explanation": None}]], dtype=pl.Object)
    history = shop.examples["preference", "train"]["history"].dtype
    given = pl.lit(pl.Series(entry.to_list(), dtype=history)).first()
    here = pl.col("user_id") == "U020"
    _rows(shop, "preference", "train", history=pl.when(here).then(given).otherwise("history"))


def _new_user_seen(shop: Shop) -> None:
    row = shop.examples["preference", "train"].filter(pl.col("user_id") == "U020").head(1)
    stray = row.with_columns(user_id=pl.lit("U001"), example_id=pl.lit("U001:000044"), position=pl.lit(44, pl.Int32))
    frames = [shop.examples["preference", "train"], stray]
    shop.examples["preference", "train"] = pl.concat(frames).sort("example_id")


def _visible_differs(shop: Shop) -> None:
    here = (pl.col("user_id") == "U020") & (pl.col("position") == 2)
    shop.visible = shop.visible.with_columns(
        rating=pl.when(here).then(pl.lit(9.0)).otherwise("rating").cast(pl.Float32)
    )


def _visible_longer(shop: Shop) -> None:
    extra = shop.visible.tail(1).with_columns(position=pl.lit(99, pl.Int32))
    shop.visible = pl.concat([shop.visible, extra])


def _index_by_popularity(shop: Shop) -> None:
    counts = shop.visible.group_by("item_id").len().sort("item_id")
    known = (
        shop.items.drop("item_index").join(counts, on="item_id", how="left").with_columns(pl.col("len").fill_null(0))
    )
    rank = (known["len"].rank("random", seed=1) - 1).cast(pl.Int32)
    _renumber(shop, known.with_columns(item_index=rank).select("item_id", "item_index"))


def _index_after_last(shop: Shop) -> None:
    """Number the items so that many a test target follows its user's last item, and all else stays random."""
    rows = shop.examples["recommendation", "test"].select(
        last=pl.col("history").list.last().struct.field("item_id"), target=pl.col("item_ids").list.first()
    )
    used: set[str] = set()
    blocks: list[list[str]] = []
    for last, target in rows.iter_rows():
        if not used & {last, target}:
            blocks.append([last, target])
            used |= {last, target}
    blocks += [[item] for item in shop.items["item_id"] if item not in used]
    order = np.random.default_rng(3).permutation(len(blocks))
    numbered = [item for k in order for item in blocks[k]]
    _renumber(shop, pl.DataFrame({"item_id": numbered, "item_index": np.arange(len(numbered), dtype=np.int32)}))


def _renumber(shop: Shop, numbers: pl.DataFrame) -> None:
    columns = shop.items.columns
    shop.items = shop.items.drop("item_index").join(numbers, on="item_id", maintain_order="left").select(columns)
    plain = pl.col("instruction").str.replace_all(r" item_\d+", "")  # the old numbers are no longer theirs
    for task, split in shop.examples:
        _rows(shop, task, split, instruction=plain)


def _target_in_prompt(shop: Shop) -> None:
    both = pl.col("instruction") + " " + pl.col("item_ids").list.first()
    here = pl.col("user_id") == "U020"
    _rows(shop, "search", "valid", instruction=pl.when(here).then(both).otherwise("instruction"))


def _token_in_prompt(shop: Shop) -> None:
    row = shop.answers["recommendation"].row(4, named=True)
    number = shop.items.filter(pl.col("item_id") == row["item_ids"][0])["item_index"].item()
    here = pl.col("example_id") == row["example_id"]
    both = pl.col("instruction") + f" item_{number}"
    _rows(shop, "recommendation", "test", instruction=pl.when(here).then(both).otherwise("instruction"))


def _text_in_prompt(shop: Shop) -> None:
    both = pl.col("instruction") + " " + pl.col("text")
    here = pl.col("user_id") == "U020"
    _rows(shop, "explanation", "test", instruction=pl.when(here).then(both).otherwise("instruction"))


def _target_in_history(shop: Shop) -> None:
    """A preference test example that is asked about the oldest item of its own history."""
    first = pl.col("history").list.first().struct.field("item_id")
    here = pl.col("user_id") == "U020"
    rows = shop.examples["image_generation", "train"]
    answer = pl.when(here & (pl.col("position") == 3)).then(pl.concat_list(first)).otherwise("item_ids")
    shop.examples["image_generation", "train"] = rows.with_columns(item_ids=answer)


def _positives_first(shop: Shop) -> None:
    for split in ("train", "valid", "test"):
        negatives = pl.col("candidates").list.set_difference("item_ids")
        _rows(shop, "selection", split, candidates=pl.concat_list("item_ids", negatives))


def _shared_picture(shop: Shop) -> None:
    row = shop.examples["selection", "valid"].row(5, named=True)
    negative = next(i for i in row["candidates"] if i not in row["item_ids"])
    picture = "shared"
    same = pl.col("item_id").is_in([negative, row["item_ids"][-1]])
    shop.items = shop.items.with_columns(image_id=pl.when(same).then(pl.lit(picture)).otherwise("image_id"))


def _positive_missing(shop: Shop) -> None:
    row = shop.examples["selection", "train"].row(5, named=True)
    here = pl.col("example_id") == row["example_id"]
    others = pl.col("candidates").list.set_difference("item_ids")
    _rows(shop, "selection", "train", candidates=pl.when(here).then(others).otherwise("candidates"))


def _one_query(shop: Shop) -> None:
    for split in ("train", "valid", "test"):
        _rows(shop, "search", split, query=pl.lit("things"))


def _placeholder_missing(shop: Shop) -> None:
    here = pl.col("user_id") == "U020"
    fewer = pl.col("instruction").str.replace("<image>", "", literal=True)
    _rows(shop, "search", "train", instruction=pl.when(here).then(fewer).otherwise("instruction"))


def _answer_missing(shop: Shop) -> None:
    shop.answers["preference"] = shop.answers["preference"].slice(1)


def _answer_too_many(shop: Shop) -> None:
    extra = shop.answers["preference"].head(1).with_columns(example_id=pl.lit("ZZZ:000001"))
    shop.answers["preference"] = pl.concat([shop.answers["preference"], extra])


def _target_shown(shop: Shop) -> None:
    shown = shop.answers["search"].select("example_id", shown=pl.col("item_ids").list.first())
    rows = shop.examples["search", "test"].join(shown, on="example_id", maintain_order="left")
    shop.examples["search", "test"] = rows.with_columns(target_item_id="shown").drop("shown")


def _wrong_split(shop: Shop) -> None:
    """An explanation example of the test file that stands on a validation row."""
    row = shop.examples["explanation", "valid"].filter(pl.col("user_id") == "U020")
    gone = pl.col("user_id") == "U020"
    rest = shop.examples["explanation", "test"].filter(~gone)
    shop.examples["explanation", "test"] = pl.concat([rest, row]).sort("example_id")
    shop.examples["explanation", "valid"] = shop.examples["explanation", "valid"].filter(~gone)
    answers = pl.concat(
        [shop.answers["explanation"].filter(~pl.col("example_id").str.starts_with("U020:")), row], how="diagonal"
    )
    shop.answers["explanation"] = answers.select(shop.answers["explanation"].columns).sort("example_id")


@pytest.mark.parametrize(
    ("damage", "check"),
    [
        (_target_in_training, "no_target_in_training"),
        (_target_in_training_history, "no_target_in_training"),
        (_new_user_seen, "new_users_absent"),
        (_visible_differs, "visible_is_train"),
        (_visible_longer, "visible_is_train"),
        (_index_by_popularity, "item_index_independent"),
        (_index_after_last, "last_index_plus_one"),
        (_target_in_prompt, "target_not_in_prompt"),
        (_token_in_prompt, "target_not_in_prompt"),
        (_text_in_prompt, "target_not_in_prompt"),
        (_target_in_history, "target_not_in_history"),
        (_positives_first, "candidate_order"),
        (_shared_picture, "no_shared_picture"),
        (_positive_missing, "selection_withheld"),
        (_one_query, "search_single_query"),
        (_placeholder_missing, "image_placeholders"),
        (_answer_missing, "answers_complete"),
        (_answer_too_many, "answers_complete"),
        (_target_shown, "answers_complete"),
        (_wrong_split, "one_split"),
    ],
)
def test_one_leak_fails_exactly_its_check(damage: Callable[[Shop], None], check: str, tmp_path: Path) -> None:
    shop = good_shop()
    damage(shop)
    assert {c.name for c in _states(shop, tmp_path).values() if c.status == "fail"} == {check}


def test_ties_in_the_order_of_ids_fail_under_hash_and_are_a_figure_under_another_rule(tmp_path: Path) -> None:
    shop = good_shop(ties="item_id")
    found = _states(shop, tmp_path / "a")
    assert {c.name for c in found.values() if c.status == "fail"} == {"ascending_by_id"}
    assert found["ascending_by_id"].value == 1.0
    shop.facts["ties"] = {"rule": "item_id"}
    assert _states(shop, tmp_path / "b")["ascending_by_id"].status == "info"


def test_targets_older_than_training_events_fail_only_where_cut_by_date(tmp_path: Path) -> None:
    shop = good_shop()
    found = _states(shop, tmp_path / "a")["later_training_events"]
    assert found.status == "info"
    newest = shop.visible["timestamp"].max()
    tests = shop.sealed.filter(pl.col("split") == "test")
    assert found.value == round(tests.filter(pl.col("timestamp") < newest).height / tests.height, 4)
    assert found.value > 0
    shop.facts["protocol"] = "global_time"
    assert _states(shop, tmp_path / "b")["later_training_events"].status == "fail"


def test_words_of_titles_and_older_explanations_are_lawful_in_a_prompt(tmp_path: Path) -> None:
    shop = good_shop()
    said = pl.col("history").list.last().struct.field("explanation")
    for split in ("train", "valid", "test"):  # the user repeats themself, and the prompt shows what they said before
        _rows(shop, "explanation", split, text=said, instruction=pl.col("instruction") + " " + said)
    shop.answers["explanation"] = shop.answers["explanation"].with_columns(
        text=shop.examples["explanation", "test"]["text"]
    )
    assert _states(shop, tmp_path)["target_not_in_prompt"].status == "pass"


def test_a_dataset_without_times_and_tasks_says_what_does_not_apply(tmp_path: Path) -> None:
    shop = good_shop()
    empty = pl.lit(None, pl.Int64)
    shop.sealed = shop.sealed.with_columns(timestamp=empty)
    shop.visible = shop.visible.with_columns(timestamp=empty)
    shop.examples = {k: v for k, v in shop.examples.items() if k[0] == "preference"}
    shop.answers = {"preference": shop.answers["preference"]}
    tasks = shop.facts["tasks"]
    assert isinstance(tasks, dict)
    shop.facts |= {"tasks": {"preference": tasks["preference"]}, "skipped_tasks": {"search": "no categories"}}
    found = _states(shop, tmp_path)
    assert not [c for c in found.values() if c.status == "fail"]
    silent = {"ascending_by_id", "later_training_events", "search_single_query", "candidate_order", "no_shared_picture"}
    assert all(found[name].value == "n/a" for name in silent)
    assert "no categories" in found["search_single_query"].detail


def test_require_names_the_failed_checks() -> None:
    good, bad = Check("a", "pass", 0, ""), Check("b", "fail", 3, "three rows")
    require([good, replace(bad, status="info")])
    with pytest.raises(AuditError, match=r"1 of 2 leak checks \(b\); first: b: three rows"):
        require([good, bad])


def test_a_place_in_the_raw_file_is_no_business_of_runners(tmp_path: Path) -> None:
    """In a file grouped by user the gaps would count a user's held-out rows, and so the positives of selection."""
    dataset = good_shop().write(tmp_path)
    path = dataset.folder / "visible/interactions.parquet"
    table = pq.read_table(path)
    pq.write_table(table.append_column("source_row", [list(range(table.num_rows))]), path)
    check = visible_is_train(Evidence(dataset))
    assert (check.status, check.detail) == ("fail", "columns that runners must not see: source_row")


def test_items_that_lack_rows_of_the_core_are_counted_among_the_targets(tmp_path: Path) -> None:
    shop = good_shop()
    rare = shop.sealed.filter(pl.col("split") == "test")["item_id"].unique().head(10)
    shop.visible = shop.visible.filter(~pl.col("item_id").is_in(rare.implode()))
    shop.facts["core"] = {"user": 1, "item": 1}
    check = below_core(Evidence(shop.write(tmp_path)))
    targets = shop.sealed.filter(pl.col("split") == "test")["item_id"]
    bought = shop.visible["item_id"].unique().implode()
    assert check.value == round(float((~targets.is_in(bought)).mean()), 4) > 0.1
