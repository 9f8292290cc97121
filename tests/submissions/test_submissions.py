"""Anyone's predictions file: scored as a runner would be, or refused with the rows that are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from tests.shop import home_at
from unimp_bench import board, execute, tables
from unimp_bench.check import Fault
from unimp_bench.dataset import Dataset
from unimp_bench.errors import ConfigError, UnknownNameError
from unimp_bench.places import Home
from unimp_bench.schemas import PREDICTIONS
from unimp_bench.submissions import score
from unimp_bench.submissions.faults import FaultyFileError, gathered, shown
from unimp_bench.verify import verify


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_at(tmp_path / "home")


def _answers(home: Home, task: str, runner: str) -> tuple[Path, pl.DataFrame]:
    """A runner's run, and its answers."""
    folder = execute.run(home, "shop", task, runner)
    kind = {"search": "ranking", "selection": "selection", "preference": "rating", "explanation": "text"}
    return folder, tables.read(folder / "predictions.parquet", PREDICTIONS[kind.get(task, "image")])


def _csv(frame: pl.DataFrame, path: Path) -> Path:
    if frame.schema.get("item_ids") == pl.List(pl.String):
        frame = frame.select("example_id", pl.col("item_ids").list.join("|"))
    frame.write_csv(path)
    return path


def _metrics(folder: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((folder / "metrics.json").read_text())["metrics"]
    return found


@pytest.mark.parametrize(
    ("task", "runner"),
    [
        ("search", "bm25"),
        ("selection", "popularity"),
        ("preference", "user_mean"),
        ("explanation", "frequent_explanation"),
    ],
)
def test_a_runners_answers_in_a_shuffled_file_score_what_the_runner_scores(
    home: Home, tmp_path: Path, task: str, runner: str
) -> None:
    folder, frame = _answers(home, task, runner)
    path = _csv(frame.sample(fraction=1.0, shuffle=True, seed=3), tmp_path / "mine.csv")
    kept = score(home, "shop", task, path)
    # A file cannot be asked again with candidates in another order.
    once = [row for row in _metrics(folder) if row["metric"] != "order_sensitivity"]
    assert [row for row in _metrics(kept) if row["metric"] != "order_sensitivity"] == once
    assert kept.parent.name == "file-mine"
    rows = board.rows(home, "shop", task)
    assert {runner, "file:mine"} <= set(rows["runner"])
    assert not verify(Dataset.open(home, "shop"), home)
    before = (kept / "manifest.json").read_bytes()
    assert score(home, "shop", task, path) == kept
    assert (kept / "manifest.json").read_bytes() == before


def test_pictures_come_by_name(home: Home, tmp_path: Path) -> None:
    folder, frame = _answers(home, "image_generation", "mean_image")
    for row, cell in enumerate(frame["image"]):
        (tmp_path / f"{row}.png").write_bytes(cell["bytes"])
    names = frame.select("example_id", image=pl.format("{}.png", pl.int_range(pl.len())))
    assert _metrics(score(home, "shop", "image_generation", _csv(names, tmp_path / "p.csv"))) == _metrics(folder)
    (tmp_path / "0.png").write_bytes(b"<html>")
    (tmp_path / "p.csv").rename(tmp_path / "q.csv")
    assert _faults(home, "image_generation", tmp_path / "q.csv") == {"a picture that cannot be decoded": [1]}


def _faults(home: Home, task: str, path: Path) -> dict[str, list[int | None]]:
    with pytest.raises(FaultyFileError) as caught:
        score(home, "shop", task, path)
    assert "\n" not in str(caught.value)
    assert not list(home.runs.glob(f"shop/{task}/file-{path.stem}/*/manifest.json"))
    return {fault.what: fault.rows["row"].to_list() for fault in caught.value.faults}


def test_wrong_rows_are_named_by_kind_and_number(home: Home, tmp_path: Path) -> None:
    _, frame = _answers(home, "search", "bm25")
    cells = [[row["example_id"], "|".join(row["item_ids"])] for row in frame.iter_rows(named=True)]
    first = cells[3][1].split("|")[0]
    cells[0][0] = "nobody:000001"
    cells[2] = list(cells[1])
    cells[3][1] = "|".join([first] * 51)
    cells[4][1] += "|not_sold"
    path = _csv(pl.DataFrame(cells, schema=["example_id", "item_ids"], orient="row"), tmp_path / "bad.csv")
    assert _faults(home, "search", path) == {
        "more than one answer": [2, 3],
        "answer to an example that was not asked": [1],
        "no answer (null says: could not)": [None, None],
        "an item twice": [4],
        "an item that is not in the catalogue": [5],
    }
    with pytest.raises(FaultyFileError) as caught:
        score(home, "shop", "search", path)
    details = {fault.what: fault.rows["detail"][0] for fault in caught.value.faults}
    assert details["an item twice"] == f"'{first}' 51 times"
    assert details["an item that is not in the catalogue"] == "'not_sold'"


def test_numbers_and_texts_that_cannot_be(home: Home, tmp_path: Path) -> None:
    _, frame = _answers(home, "preference", "user_mean")
    ratings = [*([float("nan"), 0.0, 5.5, None]), *frame["rating"].to_list()[4:]]
    path = _csv(frame.with_columns(rating=pl.Series(ratings)), tmp_path / "p.csv")
    assert _faults(home, "preference", path) == {"rating outside 1-5": [1, 2, 3]}
    _, frame = _answers(home, "explanation", "frequent_explanation")
    texts = ["x" * 10_000_000, *frame["text"].to_list()[1:]]
    path = tmp_path / "p.jsonl"
    frame.with_columns(text=pl.Series(texts)).write_ndjson(path)
    assert _faults(home, "explanation", path) == {"text of more than 65536 characters": [1]}
    _, frame = _answers(home, "search", "bm25")
    path = tmp_path / "p.parquet"
    nan = pl.when(pl.int_range(pl.len()) == 6).then(pl.col("item_ids").list.eval(pl.lit(float("nan"))))
    frame.with_columns(scores=nan.otherwise("scores")).write_parquet(path)
    assert _faults(home, "search", path) == {"a score that is not a finite number": [7]}


def test_missing_answers_are_forgiven_only_by_declaration(home: Home, tmp_path: Path) -> None:
    _, frame = _answers(home, "search", "bm25")
    path = _csv(frame[5:], tmp_path / "part.csv")
    assert _faults(home, "search", path) == {"no answer (null says: could not)": [None] * 5}
    kept = score(home, "shop", "search", path, missing="zero")
    asked = [row["unanswered"] for row in _metrics(kept) if row["metric"] == "ndcg@5"]
    assert sum(int(str(n)) for n in asked) == 5
    (tmp_path / "wrong.csv").write_text("example_id,item_ids\nnobody:000001,i01\n")
    with pytest.raises(FaultyFileError, match="not asked"):
        score(home, "shop", "search", tmp_path / "wrong.csv", missing="zero")


def test_a_system_may_say_for_whom_it_answers(home: Home, tmp_path: Path) -> None:
    _, frame = _answers(home, "search", "bm25")
    cohorts = Dataset.open(home, "shop").examples("search", "test").select("example_id", "cohort").collect()
    mine = frame.join(cohorts.filter(pl.col("cohort") == "new_user"), on="example_id", how="semi")
    kept = score(home, "shop", "search", _csv(mine, tmp_path / "p.csv"), cohorts=["new_user"], name="news")
    assert {row["slice"] for row in _metrics(kept)} == {"new_user"}
    facts = json.loads((kept / "manifest.json").read_text())["facts"]
    assert facts["not_applicable"] == ["in_domain", "new_domain"]
    assert facts["measured"] is False


def test_what_users_already_had_is_taken_out_as_from_everybody(home: Home, tmp_path: Path) -> None:
    _, frame = _answers(home, "search", "bm25")
    examples = Dataset.open(home, "shop").examples("search", "test").collect()
    past = examples.select("example_id", past=pl.col("history").list.eval(pl.element().struct.field("item_id")))
    both = frame.join(past, on="example_id").select("example_id", item_ids=pl.concat_list("past", "item_ids"))
    plain = score(home, "shop", "search", _csv(frame, tmp_path / "plain.csv"))
    cheeky = score(home, "shop", "search", _csv(both, tmp_path / "cheeky.csv"))
    assert _metrics(plain) == _metrics(cheeky)


def test_seeds_of_one_name_are_one_row_and_a_mended_file_replaces_itself(home: Home, tmp_path: Path) -> None:
    _, frame = _answers(home, "search", "random")
    path = _csv(frame, tmp_path / "p.csv")
    for seed in (0, 1):
        score(home, "shop", "search", path, name="mine", seed=seed)
    score(home, "shop", "search", _csv(frame.reverse(), tmp_path / "q.csv"), name="mine")
    mine = board.rows(home, "shop", "search").filter(pl.col("runner") == "file:mine", pl.col("metric") == "ndcg@5")
    assert set(mine["seeds"]) == {"0,1"}
    assert mine["cohort"].is_unique().all()


def test_names_that_do_not_exist(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("example_id,item_ids\nx,a\n")
    for words, kind in (
        ({"missing": "none"}, "rule"),
        ({"cohorts": ["old"]}, "cohort"),
        ({"variant": "NT"}, "variant"),
    ):
        with pytest.raises(UnknownNameError, match=kind):
            score(home, "shop", "search", path, **words)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="did you mean search"):
        score(home, "shop", "serch", path)
    with pytest.raises(ConfigError, match="cannot name a folder"):
        score(home, "shop", "search", path, name="../up")


def test_shown_rows_are_few_and_of_every_kind() -> None:
    rows = pl.DataFrame({"row": [3, 1, 2], "example_id": ["c", "a", "b"]})
    many = pl.DataFrame({"row": range(100), "example_id": [str(k) for k in range(100)]})
    faults = gathered([Fault("few", rows), Fault("many", many), Fault("few", rows[:1].with_columns(row=9))])
    assert [fault.rows.height for fault in faults] == [4, 100]
    found = shown(faults, most=10)
    assert [row for what, row, _, _ in found if what == "few"] == [1, 2, 3, 9]
    assert len(found) == 10
