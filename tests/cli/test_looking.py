"""The commands score, compare, inspect, doctor and parity, called in-process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from tests.shop import home_at
from unimp_bench import execute, inspection, parity, tables
from unimp_bench.cli.columns import plain
from unimp_bench.cli.main import app
from unimp_bench.dataset import Dataset
from unimp_bench.errors import ConfigError, UnimpBenchError, UnknownNameError
from unimp_bench.parity.samples import Sample
from unimp_bench.places import Home
from unimp_bench.schemas import PREDICTIONS
from unimp_bench.submissions.faults import FaultyFileError


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = home_at(tmp_path_factory.mktemp("looking") / "home")
    for runner in ("bm25", "popularity"):
        execute.run(home, "shop", "search", runner)
    execute.run(home, "shop", "preference", "user_mean")
    return home


def _call(home: Home, *words: str | Path) -> Result:
    return CliRunner().invoke(app, ["--home", str(home.root), *map(str, words)])


def _refused(home: Home, error: type[UnimpBenchError], *words: str | Path) -> tuple[Result, str]:
    done = _call(home, *words)
    assert isinstance(done.exception, error), done.output
    assert "\n" not in str(done.exception)
    return done, str(done.exception)


def _table(text: str) -> list[dict[str, str]]:
    names, *lines = [line.split("\t") for line in text.splitlines()]
    return [dict(zip(names, line, strict=True)) for line in lines]


def _file(home: Home, path: Path, rows: int = 30) -> Path:
    (folder,) = (home.runs / "shop/search/bm25").iterdir()
    frame = tables.read(folder / "predictions.parquet", PREDICTIONS["ranking"]).head(rows)
    frame.select("example_id", pl.col("item_ids").list.join(" ")).write_csv(path)
    return path


def test_score_prints_metrics_and_enters_the_leaderboard(home: Home, tmp_path: Path) -> None:
    done = _call(home, "score", _file(home, tmp_path / "mine.csv"), "--dataset", "shop", "--task", "search")
    assert done.exit_code == 0, done.output
    rows = {(row["metric"], row["cohort"]): row for row in _table(done.stdout)}
    assert rows["ndcg@5", "in_domain"]["n"] == "20"
    assert "file-mine" in done.stderr
    assert "file:mine" in _call(home, "leaderboard", "--task", "search").stdout


def test_score_lists_wrong_rows_and_counts_the_rest(home: Home, tmp_path: Path) -> None:
    path = _file(home, tmp_path / "part.csv", 10)
    path.write_text(path.read_text() + 'evil\x1b[2J\tx:000001,"i01"\n')
    done, said = _refused(home, FaultyFileError, "score", path, "--dataset", "shop", "--task", "search")
    rows = _table(done.stdout)
    assert len(rows) == 10
    assert [row["row"] for row in rows if row["fault"] == "answer to an example that was not asked"] == ["11"]
    assert "\x1b" not in done.stdout
    assert "and 11 more" in done.stderr
    assert "--missing zero counts absent examples as unanswered" in said


def test_compare_prints_differences_tests_and_users(home: Home) -> None:
    done = _call(home, "compare", "bm25", "popularity", "--task", "search", "--users", "2")
    assert done.exit_code == 0, done.output
    differs, metrics, users = done.stdout.split("\n\n")
    assert "configuration runner\tbm25\tpopularity" in differs
    (row,) = [row for row in _table(metrics) if (row["metric"], row["cohort"]) == ("ndcg@5", "in_domain")]
    assert float(row["low"]) <= float(row["A - B"]) <= float(row["high"])
    assert 0 < float(row["p"]) <= 1
    assert {row["ndcg@5 of A"] for row in _table(users)} == {"gains", "loses"}
    assert len(_table(users)) == 4
    assert "users gain" in done.stderr
    _refused(home, UnknownNameError, "compare", "bm25", "popularity", "--task", "serch")
    _refused(home, UnknownNameError, "compare", "bm25", "popularity", "--dataset", "shpo")


def test_inspect_prints_a_user_and_writes_a_sheet(home: Home, tmp_path: Path) -> None:
    png = tmp_path / "u03.png"
    done = _call(home, "inspect", "--user", "u03", "--dataset", "shop", "--png", png)
    assert done.exit_code == 0, done.output
    assert "u03 · in_domain · 8 interactions" in done.stdout
    assert "search · u03:000007 · query: " in done.stdout
    assert "bm25\t" in done.stdout
    with Image.open(png) as page:
        assert page.format == "PNG"
    (tmp_path / "file").touch()
    words = ("inspect", "--user", "u03", "--dataset", "shop", "--png", tmp_path / "file" / "x.png")
    assert "choose another --png" in _refused(home, ConfigError, *words)[1]


def test_inspect_shows_users_of_one_query_side_by_side(home: Home, tmp_path: Path) -> None:
    data = Dataset.open(home, "shop")
    examples = data.examples("image_generation", "test").collect()
    query = str(examples["query"][0])
    execute.run(home, "shop", "image_generation", "mean_image")
    people = inspection.with_query(home, data, query)
    assert 1 <= len(people) <= 4
    lately = [set(inspection.before(person)["item_id"].tail(4)) for person in people]
    assert sum(map(len, lately)) == len(set.union(*lately))
    assert all(one.query == query and one.said for person in people for one in person.asked)
    png = tmp_path / "figure3.png"
    words = ("inspect", "--dataset", "shop", "--query", query)
    done = _call(home, *words, "--runner", "mean_image", "--png", png)
    assert done.exit_code == 0, done.output
    with Image.open(png) as page:
        assert page.height > 200 * len(people)
    assert "where with --png" in _refused(home, ConfigError, *words)[1]
    assert "one of --user and --query" in _refused(home, ConfigError, "inspect", "--dataset", "shop")[1]
    _refused(home, UnknownNameError, "inspect", "--dataset", "shop", "--query", f"{query}s", "--png", png)


def test_doctor_is_a_table_in_a_pipe(home: Home) -> None:
    done = _call(home, "doctor")
    assert done.exit_code == 0, done.output
    assert {"python", "disk", "WordNet", "browser"} <= {row["what"] for row in _table(done.stdout)}


def test_parity_exits_1_where_a_number_differs(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    gap = 0.0

    def other(drawn: Sample) -> Iterator[parity.Check]:
        yield "mae", drawn.aggregate("mae") + gap, parity.TOLERANCE

    monkeypatch.setattr(parity, "LIBRARIES", {"other": ("math", other), "gone": ("no_such_module", other)})
    done = _call(home, "parity")
    assert (done.exit_code, _table(done.stdout)[0]["agree"]) == (0, "yes")
    assert "not asked: gone" in done.stderr
    gap = 1e-8
    done = _call(home, "parity")
    assert (done.exit_code, _table(done.stdout)[0]["agree"]) == (1, "NO")


def test_cells_never_steer_the_terminal() -> None:
    assert plain("a\x1b[2Jb\tc\nd\x9b\u202e") == "a [2Jb c d  "
