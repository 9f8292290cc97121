"""Probes change what is shown at test time and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.fakes import register
from tests.finished import write_run
from tests.shop import home_at
from unimp_bench import comparing, execute, probes, probing, tables
from unimp_bench.dataset import Dataset
from unimp_bench.errors import ConfigError, UnknownNameError
from unimp_bench.places import Home
from unimp_bench.probes import BLANK_PICTURES, NO_TEXT, OTHER_HISTORY, PROBES, SWAPPED_PICTURES, borrowed
from unimp_bench.provenance import read_manifest
from unimp_bench.schemas import HISTORY, PREDICTIONS


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    register(monkeypatch, looker="tests.answering:Looker", spy="tests.fakes:Spy")
    return home_at(tmp_path / "home")


def _past(*items: str) -> list[dict[str, object]]:
    return [{"item_id": item, "rating": 3.0, "explanation": None} for item in items]


def _examples(*rows: tuple[str, str, list[dict[str, object]]]) -> pl.DataFrame:
    names = [(f"{user}:{n:06d}", user, cohort, past) for n, (user, cohort, past) in enumerate(rows)]
    schema = {"example_id": pl.String, "user_id": pl.String, "cohort": pl.String, "history": HISTORY}
    return pl.DataFrame(names, schema=schema, orient="row")


NOTHING = pl.DataFrame(schema={"example_id": pl.String, "item_id": pl.String})


def _items(frame: pl.DataFrame) -> list[list[str]]:
    return [[entry["item_id"] for entry in past] for past in frame["history"].to_list()]


def test_a_history_comes_from_another_user_of_the_cohort() -> None:
    rows = _examples(
        ("a", "in_domain", _past("a1")),
        ("b", "in_domain", _past("b1", "b2")),
        ("c", "new_user", _past("c1")),
        ("d", "new_user", _past("d1")),
    )
    found = borrowed(rows, NOTHING)
    assert found["example_id"].to_list() == rows["example_id"].to_list()
    assert _items(found) == [["b1", "b2"], ["a1"], ["d1"], ["c1"]]
    assert found.equals(borrowed(rows, NOTHING))


def test_what_a_question_asks_for_is_not_shown_in_the_borrowed_history() -> None:
    rows = _examples(("a", "x", _past("a1", "a2")), ("b", "x", _past("b1", "b2")))
    asked_for = pl.DataFrame({"example_id": ["a:000000", "b:000001"], "item_id": ["b2", "b1"]})
    assert _items(borrowed(rows, asked_for)) == [["b1"], ["a1", "a2"]]


def test_where_nothing_is_left_the_next_user_lends() -> None:
    rows = _examples(*((user, "x", _past(user)) for user in "abc"))
    order = {theirs[0]: mine for mine, theirs in zip("abc", _items(borrowed(rows, NOTHING)), strict=True)}
    first = next(user for user in "abc" if order[user] == "a")  # who lends to a
    found = _items(borrowed(rows, pl.DataFrame({"example_id": ["a:000000"], "item_id": [first]})))
    assert found[0] == [({"a", "b", "c"} - {"a", first}).pop()]
    none = pl.DataFrame({"example_id": ["a:000000"] * 3, "item_id": ["a", "b", "c"]})
    assert _items(borrowed(rows, none))[0] == []


def test_a_user_with_several_examples_borrows_from_others_only() -> None:
    rows = _examples(*(("a", "x", _past(f"a{n}")) for n in range(5)), ("b", "x", _past("b0")))
    found = _items(borrowed(rows, NOTHING))
    assert found[:5] == [["b0"]] * 5
    assert found[5][0].startswith("a")
    with pytest.raises(ConfigError, match="user 'a' is the only one of a cohort"):
        borrowed(rows.head(5), NOTHING)


def test_lengths_are_alike_and_nobody_lends_twice() -> None:
    rng = np.random.default_rng(3)
    lengths = rng.integers(1, 200, 500)
    rows = _examples(*((f"u{n:03d}", "x", _past(*([f"i{n}"] * int(k)))) for n, k in enumerate(lengths)))
    found = borrowed(rows, NOTHING)
    lenders = [past[0] for past in _items(found)]
    assert len(set(lenders)) == 500
    assert all(lender != f"i{n}" for n, lender in enumerate(lenders))
    gaps = np.abs(found["history"].list.len().to_numpy().astype(int) - lengths)
    assert np.median(gaps) <= 1
    assert gaps.max() < 70  # a group's last takes its first's; lengths of all differ by up to 199


def test_views_of_the_items(home: Home) -> None:
    data = Dataset.open(home, "shop")
    clean = data.catalogue().items
    blank, swapped, bare = (
        probes.showing(data, "search", name).catalogue for name in (BLANK_PICTURES, SWAPPED_PICTURES, NO_TEXT)
    )
    assert blank.items["image_id"].null_count() == clean.height
    shown, before = swapped.items["image_id"], clean["image_id"]
    assert sorted(shown.drop_nulls()) == sorted(before.drop_nulls())
    assert not (shown == before).any()
    assert shown.is_null().equals(before.is_null())
    for name in ("title", "brand", "price_usd", "description"):
        assert bare.items[name].null_count() == clean.height
    assert bare.items["categories"].list.len().sum() == 0
    for view in (blank, swapped, bare):
        assert view.items.select("item_id", "item_index", "domain").equals(
            clean.select("item_id", "item_index", "domain")
        )


@pytest.mark.parametrize("task", ["search", "selection", "preference"])
def test_no_borrowed_history_holds_what_is_asked_for(home: Home, task: str) -> None:
    data = Dataset.open(home, "shop")
    examples = data.examples(task, "test").collect()
    shown = probes.showing(data, task, OTHER_HISTORY).shown(examples)
    assert shown.drop("history").equals(examples.drop("history"))
    answers = data.sealed_answers(task)["item_ids"].to_list()
    cohorts = dict(examples.select("user_id", "cohort").iter_rows())
    histories = {tuple(past): user for user, past in zip(examples["user_id"], _items(examples), strict=True)}
    whole = 0
    for row, past, own, right in zip(
        shown.iter_rows(named=True), _items(shown), _items(examples), answers, strict=True
    ):
        assert past
        assert past != own
        assert not set(past) & {*(right or ()), *(row["candidates"] or ()), row["target_item_id"]}
        lender = histories.get(tuple(past))
        whole += lender is not None
        assert lender is None or cohorts[lender] == row["cohort"]
    assert whole > 5 or task == "selection"


def test_a_probed_run_is_a_run_of_the_same_fit(home: Home) -> None:
    clean = execute.run(home, "shop", "recommendation", "looker")
    probed = execute.run(home, "shop", "recommendation", "looker", variant=OTHER_HISTORY)
    again = execute.run(home, "shop", "recommendation", "looker", variant=OTHER_HISTORY)
    assert clean != probed == again
    requests = [read_manifest(folder).request for folder in (clean, probed)]  # type: ignore[union-attr]
    assert {key for key in requests[0] if requests[0][key] != requests[1][key]} == {"variant", "variant_id"}
    assert requests[1]["variant_id"]
    assert len(list((home.root / "fits").iterdir())) == 1
    first, second = (tables.read(folder / "predictions.parquet", PREDICTIONS["ranking"]) for folder in (clean, probed))
    assert not first.equals(second)
    data = Dataset.open(home, "shop")
    examples = data.examples("recommendation", "test").sort("example_id").collect()
    shown = probes.showing(data, "recommendation", OTHER_HISTORY).shown(examples)
    for listed, own, other in zip(second["item_ids"].to_list(), _items(examples), _items(shown), strict=True):
        assert not set(listed) & {*own, *other}


def test_the_runner_reads_the_borrowed_history_and_no_text(home: Home, tmp_path: Path) -> None:
    for name in (OTHER_HISTORY, NO_TEXT):
        notes = {"notes": str(tmp_path / name.partition(":")[2])}
        execute.run(home, "shop", "search", "spy", parameters=notes, variant=name)
    other, bare = (
        pl.read_parquet(next((tmp_path / name).glob("*predict-search*"))) for name in ("other_history", "no_text")
    )
    titled = dict(Dataset.open(home, "shop").catalogue().items.select("item_id", "title").iter_rows())
    for row in other.iter_rows(named=True):
        items = [entry["item_id"] for entry in row["history"][-5:]]
        assert row["image_item_ids"] == items
        assert all(titled[item] in row["instruction"] for item in items)
    assert not any("Title number" in text or "Toys" in text for text in bare["instruction"])
    assert bare["query"].null_count() == 0


def test_gains_say_what_helped(home: Home) -> None:
    found = probing.probe(home, "shop", "preference", "looker")
    assert [row.probe for row in found if row.metric == "rmse" and row.cohort == "in_domain"] == list(PROBES)
    by = {(row.probe, row.metric, row.cohort): row for row in found}
    assert by[NO_TEXT, "rmse", "in_domain"].gain.value == 0  # type: ignore[union-attr]
    row = by[OTHER_HISTORY, "mae", "in_domain"]
    assert row.gain is not None
    assert row.clean is not None
    assert row.probed is not None
    assert row.gain.value == pytest.approx(row.probed - row.clean)  # less error is a gain
    assert row.gain.low <= row.gain.value <= row.gain.high
    assert row.gain.n == 20
    assert found[0].metric == "rmse"


def test_the_gain_of_hand_made_runs(tmp_path: Path) -> None:
    home = Home(tmp_path)
    values = np.linspace(0, 1, 40)
    folders = [
        write_run(home, "r", {"ndcg@5": values}),
        write_run(home, "r", {"ndcg@5": values - 0.25}, variant=OTHER_HISTORY),
    ]
    clean, probed = (comparing.find(home, str(folder)) for folder in folders)
    (row,) = probing.gains("search", clean, probed, OTHER_HISTORY)
    assert row.gain is not None
    assert (row.gain.value, row.gain.low, row.gain.high) == pytest.approx((0.25, 0.25, 0.25))
    named = comparing.find(home, "r@probe:other_history", task="search")
    assert named.folder == folders[1]
    assert comparing.find(home, "r", task="search").folder == folders[0]
    with pytest.raises(UnknownNameError, match="did you mean r@probe:other_history"):
        comparing.find(home, "r@probe:other_histry", task="search")


def test_names_that_are_no_probe_and_probes_that_take_nothing(home: Home) -> None:
    with pytest.raises(UnknownNameError, match="did you mean probe:no_text"):
        execute.run(home, "shop", "search", "looker", variant="probe:no_txt")
    with pytest.raises(UnknownNameError, match="did you mean probe:no_text"):
        probing.probe(home, "shop", "search", "looker", wanted=["probe:notext"])
    for file in (home.dataset("shop") / "visible").glob("images-*.parquet"):
        file.unlink()
    with pytest.raises(ConfigError, match="has no pictures to take away"):
        execute.run(home, "shop", "search", "looker", variant=BLANK_PICTURES)
    with pytest.raises(ConfigError, match="no probe of probe:swapped_pictures takes anything away"):
        probing.probe(home, "shop", "search", "looker", wanted=[SWAPPED_PICTURES])
    found = probing.probe(home, "shop", "search", "looker", limit=5)
    assert {row.probe for row in found} == {NO_TEXT, OTHER_HISTORY}
