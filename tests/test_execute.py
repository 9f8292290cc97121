from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from tests.fakes import register
from tests.shop import add_variant, build_shop, home_at
from unimp_bench import board, execute, tables
from unimp_bench.dataset import Dataset
from unimp_bench.errors import ConfigError, IncompleteError, PredictionError, UnknownNameError
from unimp_bench.metrics.spec import METRICS
from unimp_bench.places import Home
from unimp_bench.provenance import read_manifest, sha256
from unimp_bench.runners import registry
from unimp_bench.schemas import PREDICTIONS, SCORES
from unimp_bench.tasks.spec import TASKS
from unimp_bench.verify import verify


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    register(
        monkeypatch,
        fragile="tests.fakes:Fragile",
        hostile="tests.fakes:Hostile",
        spy="tests.fakes:Spy",
        truthful="tests.fakes:Truthful",
        parameters="tests.fakes:Parameters",
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_at(tmp_path / "home")


class Said:
    """Remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.done = 0

    def say(self, message: str) -> None:
        self.lines.append(message)

    def start(self, name: str, total: int | None = None, unit: str = "rows") -> None:
        self.lines.append(name)

    def advance(self, count: int = 1) -> None:
        self.done += count

    def finish(self) -> None: ...


def _files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


@pytest.mark.parametrize("task", sorted(TASKS))
def test_a_run_folder_holds_just_what_its_manifest_lists(home: Home, task: str) -> None:
    folder = execute.run(home, "shop", task, "repeat_last")
    manifest = read_manifest(folder)
    assert manifest is not None
    assert _files(folder) == sorted([*manifest.outputs, "manifest.json"])
    assert {name: sha256(folder / name) for name in manifest.outputs} == dict(manifest.outputs)
    predictions = tables.read(folder / "predictions.parquet", PREDICTIONS[TASKS[task].answer])
    asked = Dataset.open(home, "shop").examples(task, "test").collect()
    assert predictions["example_id"].to_list() == asked["example_id"].to_list()
    scores = tables.read(folder / "scores.parquet", SCORES)
    assert scores.height == predictions.height * len(manifest.facts["metrics"])
    metrics = json.loads((folder / "metrics.json").read_text())["metrics"]
    assert metrics[0]["metric"] == TASKS[task].metric
    assert {row["slice"] for row in metrics} == set(asked["cohort"].unique())
    assert sum(row["n"] for row in metrics if row["metric"] == TASKS[task].metric) == asked.height


def test_an_equal_request_does_nothing_and_force_remakes(home: Home) -> None:
    first = execute.run(home, "shop", "search", "bm25")
    made = (first / "manifest.json").stat().st_mtime_ns
    said = Said()
    assert execute.run(home, "shop", "search", "bm25", progress=said) == first
    assert (first / "manifest.json").stat().st_mtime_ns == made
    assert any("there already" in line for line in said.lines)
    assert execute.run(home, "shop", "search", "bm25", parameters={"k1": "1.5"}) == first  # the default, spelled out
    assert execute.run(home, "shop", "search", "bm25", parameters={"k1": "1.2"}) != first
    assert execute.run(home, "shop", "search", "bm25", seed=1) != first
    before = sha256(first / "predictions.parquet")
    assert execute.run(home, "shop", "search", "bm25", force=True) == first
    assert (first / "manifest.json").stat().st_mtime_ns > made
    assert sha256(first / "predictions.parquet") == before


def test_a_run_that_died_goes_on_and_ends_with_the_same_bytes(home: Home, tmp_path: Path) -> None:
    fuse = tmp_path / "fuse"
    given = {"fuse": str(fuse)}
    calm = home_at(tmp_path / "calm")
    undisturbed = execute.run(calm, "shop", "recommendation", "fragile", parameters=given)
    fuse.touch()
    with pytest.raises(RuntimeError):
        execute.run(home, "shop", "recommendation", "fragile", parameters=given)
    folder = home.root / undisturbed.relative_to(calm.root)
    assert _files(folder / "parts") == ["part-00000.json", "part-00000.parquet"]
    assert read_manifest(folder) is None
    assert board.rows(home).height == 0
    fuse.unlink()
    said = Said()
    assert execute.run(home, "shop", "recommendation", "fragile", parameters=given, progress=said) == folder
    assert "going on: 1 of 5 parts are there" in said.lines
    assert said.done == 30 + 30  # asked or found, then scored
    for name in ("predictions.parquet", "scores.parquet", "metrics.json", "run.json"):
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes(), name


def test_no_resume_starts_anew(home: Home, tmp_path: Path) -> None:
    fuse = tmp_path / "fuse"
    fuse.touch()
    given = {"fuse": str(fuse)}
    with pytest.raises(RuntimeError):
        execute.run(home, "shop", "recommendation", "fragile", parameters=given)
    fuse.unlink()
    said = Said()
    execute.run(home, "shop", "recommendation", "fragile", parameters=given, progress=said, resume=False)
    assert not any("going on" in line for line in said.lines)


def test_parts_of_other_versions_are_not_used(home: Home, tmp_path: Path) -> None:
    fuse = tmp_path / "fuse"
    fuse.touch()
    given = {"fuse": str(fuse)}
    with pytest.raises(RuntimeError):
        execute.run(home, "shop", "recommendation", "fragile", parameters=given)
    (request,) = home.runs.rglob("run.json")
    request.write_text(request.read_text().replace('"polars": "', '"polars": "0.'))
    fuse.unlink()
    said = Said()
    execute.run(home, "shop", "recommendation", "fragile", parameters=given, progress=said)
    assert not any("going on" in line for line in said.lines)


_KILLED = """
import pytest
from pathlib import Path
from tests.fakes import register
from unimp_bench import execute
from unimp_bench.places import Home
register(pytest.MonkeyPatch(), fragile="tests.fakes:Fragile")
execute.run(Home(Path({home!r})), "shop", "recommendation", "fragile", parameters={{"fuse": {fuse!r}, "kill": "true"}})
"""


def test_kill_9_leaves_parts_and_frees_the_lock(home: Home, tmp_path: Path) -> None:
    fuse = tmp_path / "fuse"
    fuse.touch()
    code = _KILLED.format(home=str(home.root), fuse=str(fuse))
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert len(list(home.runs.rglob("part-*.parquet"))) == 1
    fuse.unlink()
    folder = execute.run(home, "shop", "recommendation", "fragile", parameters={"fuse": str(fuse), "kill": "true"})
    assert read_manifest(folder) is not None


def test_two_at_once_are_refused(home: Home) -> None:
    folder = execute.run(home, "shop", "search", "random")
    with home.locked("run", folder.name), pytest.raises(IncompleteError, match="another process"):
        execute.run(home, "shop", "search", "random")


@pytest.mark.parametrize(
    ("task", "sin", "message"),
    [
        ("recommendation", "unknown", "not in the catalogue"),
        ("recommendation", "twice", "an item twice"),
        ("recommendation", "null", "a null among the items"),
        ("recommendation", "nan", "not a finite number"),
        ("recommendation", "lengths", "not one score an item"),
        ("recommendation", "rising", "scores that rise"),
        ("recommendation", "type", "columns of types"),
        ("recommendation", "missing", "no answer"),
        ("recommendation", "again", "more than one answer"),
        ("recommendation", "stranger", "that was not asked"),
        ("recommendation", "column", "lack the column item_ids"),
        ("recommendation", "extra", "have a column 'secret'"),
        ("recommendation", "thing", "a dict was yielded"),
        ("recommendation", "nothing", "none of 30 examples"),
        ("recommendation", "shape", r"wanted \(examples, items\) = \(30, 20\)"),
        ("selection", "stray", "not among the candidates"),
        ("selection", "block", "a score block answers rankings only"),
        ("preference", "nan", "rating outside 1-5"),
        ("preference", "six", "rating outside 1-5"),
        ("explanation", "long", "more than 65536 characters"),
        ("image_generation", "html", "cannot be decoded"),
        ("image_generation", "empty", "cannot be decoded"),
    ],
)
def test_broken_promises_stop_the_run(home: Home, task: str, sin: str, message: str) -> None:
    with pytest.raises(PredictionError, match=message) as caught:
        execute.run(home, "shop", task, "hostile", parameters={"sin": sin})
    assert str(caught.value).startswith(f"runner 'hostile' on {task}: ")
    assert "\n" not in str(caught.value)
    assert not list(home.runs.rglob("manifest.json"))
    assert not list(home.runs.rglob("*.parquet"))


def test_ready_lists_are_masked_like_score_blocks(home: Home) -> None:
    folder = execute.run(home, "shop", "recommendation", "hostile")
    data = Dataset.open(home, "shop")
    bought = data.sealed_interactions().select("user_id", "item_id", "split").collect()
    asked = data.examples("recommendation", "test").select("example_id", "user_id").collect()
    found = tables.read(folder / "predictions.parquet", PREDICTIONS["ranking"])
    long = found.join(asked, on="example_id").explode("item_ids", "scores")
    seen = bought.filter(pl.col("split") != "test")
    assert long.join(seen, left_on=["user_id", "item_ids"], right_on=["user_id", "item_id"], how="semi").height == 0
    assert found["item_ids"].list.len().to_list() == [16 - 7] * 24 + [1] * 6
    assert found["scores"].list.len().to_list() == found["item_ids"].list.len().to_list()


def test_what_a_runner_is_given(home: Home, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    folder = execute.run(home, "shop", "recommendation", "spy", parameters={"notes": str(notes)})
    given = {p.stem[3:]: pl.read_parquet(p) for p in sorted(notes.iterdir())}
    assert set(given["fit-recommendation"]["cohort"]) == {"in_domain"}
    assert set(given["fit-recommendation-interactions"]["domain"]) == {"toys"}
    assert set(given["adapt-recommendation"]["cohort"]) == {"new_domain"}
    asked = [pl.read_parquet(p) for p in sorted(notes.glob("*predict*"))]
    assert [set(frame["cohort"]) for frame in asked] == [{"in_domain"}, {"new_domain"}]
    answers = {"item_ids", "rating", "text", "response"}
    assert not answers & set(asked[0].columns)
    manifest = read_manifest(folder)
    assert manifest is not None
    assert manifest.facts["not_applicable"] == ["new_user"]
    assert manifest.facts["device"] == "abacus"
    assert {row["slice"] for row in json.loads((folder / "metrics.json").read_text())["metrics"]} == {
        "in_domain",
        "new_domain",
    }
    # One fit learned both tasks: the second task finds it, and its adaptation.
    before = len(list(notes.glob("*fit*"))), len(list(notes.glob("*adapt*")))
    execute.run(home, "shop", "search", "spy", parameters={"notes": str(notes)})
    assert before == (4, 2)
    assert (len(list(notes.glob("*fit*"))), len(list(notes.glob("*adapt*")))) == before
    assert len(list((home.root / "fits").iterdir())) == 2


def test_a_variant_asks_with_its_own_items(home: Home, tmp_path: Path) -> None:
    add_variant(Dataset.open(home, "shop"))
    clean, noisy = {"notes": str(tmp_path / "clean")}, {"notes": str(tmp_path / "noisy")}
    execute.run(home, "shop", "search", "spy", parameters=clean)
    folder = execute.run(home, "shop", "search", "spy", parameters=noisy, variant="NT-0.2")
    texts = {
        name: pl.read_parquet(next((tmp_path / name).glob("*predict-search*")))["instruction"].to_list()
        for name in ("clean", "noisy")
    }
    assert all("Title number" in text for text in texts["clean"])
    assert not any("Title number" in text for text in texts["noisy"])
    manifest = read_manifest(folder)
    assert manifest is not None
    assert manifest.request["variant"] == "NT-0.2"
    with pytest.raises(UnknownNameError, match=r"unknown variant 'NT-0\.3'; did you mean NT-0\.2"):
        execute.run(home, "shop", "search", "spy", variant="NT-0.3")


def test_bm25_reads_the_variant(home: Home) -> None:
    add_variant(Dataset.open(home, "shop"))
    clean = execute.run(home, "shop", "recommendation", "bm25")
    noisy = execute.run(home, "shop", "recommendation", "bm25", variant="NT-0.2")
    assert sha256(clean / "predictions.parquet") != sha256(noisy / "predictions.parquet")


def test_lean_train_rows_are_rendered_for_the_runner(tmp_path: Path) -> None:
    home = Home(tmp_path)
    build_shop(home, "lean", lean=True)
    build_shop(home, "full")
    assert Dataset.open(home, "lean").examples("search", "train").collect()["instruction"].null_count() > 0
    for name in ("lean", "full"):
        execute.run(home, name, "search", "spy", parameters={"notes": str(tmp_path / f"notes-{name}")})
    lean, full = (
        pl.read_parquet(next((tmp_path / f"notes-{n}").glob("*fit-search.parquet"))) for n in ("lean", "full")
    )
    assert lean.equals(full)


def test_a_limit_asks_the_same_few_of_everybody_and_stays_off_the_leaderboard(home: Home) -> None:
    few = [execute.run(home, "shop", "recommendation", runner, limit=5) for runner in ("random", "constant")]
    ids = [
        tables.read(folder / "predictions.parquet", PREDICTIONS["ranking"])["example_id"].to_list() for folder in few
    ]
    assert ids[0] == ids[1]
    assert len(ids[0]) == 5
    everyone = Dataset.open(home, "shop").examples("recommendation", "test").collect()["example_id"].to_list()
    assert ids[0] != everyone[:5]
    assert json.loads((few[0] / "run.json").read_text())["request"]["limit"] == 5
    assert board.rows(home).height == 0
    execute.run(home, "shop", "recommendation", "random", limit=1000)
    assert board.rows(home).height == 0


def test_new_metrics_are_scored_without_asking_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = execute.run(home, "shop", "recommendation", "random")
    before = read_manifest(folder)
    asked = (folder / "predictions.parquet").stat().st_mtime_ns
    few = ["ndcg@5", "hr@5"]
    monkeypatch.setattr("unimp_bench.scoring.suite", lambda task: few)
    said = Said()
    assert execute.run(home, "shop", "recommendation", "random", progress=said) == folder
    after = read_manifest(folder)
    assert before is not None
    assert after is not None
    assert after.facts["metrics"] == dict.fromkeys(few, 1)
    assert after.seconds["predict"] == before.seconds["predict"]
    assert set(tables.read(folder / "scores.parquet", SCORES)["metric"]) == set(few)
    assert (folder / "predictions.parquet").stat().st_mtime_ns == asked
    assert {name: sha256(folder / name) for name in after.outputs} == dict(after.outputs)


def test_another_version_of_a_metric_is_scored_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = execute.run(home, "shop", "recommendation", "random")
    monkeypatch.setitem(METRICS, "hr@5", replace(METRICS["hr@5"], version=2))
    said = Said()
    execute.run(home, "shop", "recommendation", "random", progress=said)
    assert any("scoring random on recommendation of shop again" in line for line in said.lines)
    after = read_manifest(folder)
    assert after is not None
    assert after.facts["metrics"]["hr@5"] == 2
    assert set(board.rows(home).filter(pl.col("metric") == "hr@5")["metric_version"]) == {2}


def test_force_makes_a_fit_that_tasks_share_once(home: Home, tmp_path: Path) -> None:
    notes = {"notes": str(tmp_path / "notes")}

    def fits() -> int:
        return len(list((tmp_path / "notes").glob("*fit-search.parquet")))

    for task in ("recommendation", "search"):
        execute.run(home, "shop", task, "spy", parameters=notes)
    assert fits() == 1
    remade: set[str] = set()
    for task in ("recommendation", "search"):
        execute.run(home, "shop", task, "spy", parameters=notes, force=True, remade=remade)
    assert fits() == 2
    assert len(remade) == 2  # the fit and its adaptation
    execute.run(home, "shop", "search", "spy", parameters=notes, force=True)
    assert fits() == 3


def test_neither_a_rebuild_nor_another_fit_of_the_same_bytes_breaks_a_chain(home: Home) -> None:
    execute.run(home, "shop", "search", "random")
    path = home.dataset("shop") / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "created": "2030-01-01T00:00:00+00:00", "seconds": {"tasks": 9.0}}))
    execute.run(home, "shop", "search", "random", limit=3, force=True)  # makes the same fit again
    assert verify(Dataset.open(home, "shop"), home) == []
    (state,) = home.root.glob("fits/*/state/state.json")
    state.write_text("{}")
    assert {problem.what for problem in verify(Dataset.open(home, "shop"), home)} == {"file changed"}


def test_other_bytes_under_the_same_name_are_another_run_and_fit(home: Home) -> None:
    first = execute.run(home, "shop", "search", "random")
    path = home.dataset("shop") / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["outputs"]["visible/tasks/search/test.examples.parquet"] = "0" * 64
    path.write_text(json.dumps(manifest))
    assert execute.run(home, "shop", "search", "random") != first
    assert len(list((home.root / "fits").iterdir())) == 2
    shown = board.rows(home)
    assert shown["data_hash"].n_unique() == 2
    assert set(board.current(home, shown)["data_hash"]) == {Dataset.open(home, "shop").data_hash}


def test_floors_answer_all_they_claim_and_alike_however_many_are_asked_at_once(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[tuple[str, str], bytes] = {}
    for size in (2_048, 11):
        monkeypatch.setattr("unimp_bench.asking._EXAMPLES_A_PART", size)
        monkeypatch.setattr("unimp_baselines.bm25.BM25.examples_a_part", size)
        monkeypatch.setattr("unimp_baselines.common._CELLS", 20 * size)
        for name in registry.expand("floors,bm25"):
            for task in registry.runner_class(name).tasks:
                folder = execute.run(home, "shop", task, name, force=True)
                said = (folder / "predictions.parquet").read_bytes()
                assert found.setdefault((name, task), said) == said, (name, task)
    assert {task for _, task in found} == set(TASKS)


def test_who_cannot_answer_leaves_nulls_that_are_counted(home: Home) -> None:
    folder = execute.run(home, "shop", "recommendation", "parameters")
    rows = json.loads((folder / "metrics.json").read_text())["metrics"]
    assert all(row["unanswered"] == row["n"] for row in rows)
    worst = {row["metric"]: float(row["metric"].startswith("popularity@")) for row in rows}
    assert all(row["value"] == worst[row["metric"]] for row in rows)


@pytest.mark.parametrize(
    ("task", "runner", "error", "message"),
    [
        ("serch", "bm25", UnknownNameError, "unknown task 'serch'; did you mean search"),
        ("preference", "bm25", ConfigError, "does not answer preference; it answers recommendation, search"),
        ("search", "bm52", UnknownNameError, "did you mean bm25"),
        ("recommendation", "truthful", ConfigError, "truth, which shop does not have"),
    ],
)
def test_impossible_requests_are_one_line(
    home: Home, task: str, runner: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        execute.run(home, "shop", task, runner)
    assert not home.runs.exists()
    with pytest.raises(UnknownNameError, match="unknown dataset 'shap'; did you mean shop"):
        execute.run(home, "shap", task, runner if error is not UnknownNameError else "bm25") if task in TASKS else (
            execute.run(home, "shap", "search", "bm25")
        )


def test_a_task_that_the_dataset_lacks_says_why(home: Home) -> None:
    path = home.dataset("shop") / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["facts"]["tasks"]["search"]
    manifest["facts"]["skipped_tasks"] = {"search": "no item has a category path"}
    path.write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match="shop has no task search: no item has a category path"):
        execute.run(home, "shop", "search", "bm25")


def test_a_model_that_appears_later_is_scored_with(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unimp_bench.metrics.bertscore.find_spec", lambda name: None)  # as where torch is absent

    def reason(folder: Path) -> str:
        return str(json.loads((folder / "metrics.json").read_text())["not_computed"]["bertscore of in_domain"])

    first = reason(execute.run(home, "shop", "explanation", "frequent_explanation"))
    (home.models / "bertscore").mkdir(parents=True)
    (home.models / "bertscore" / "config.json").write_text("{}")
    said = Said()
    folder = execute.run(home, "shop", "explanation", "frequent_explanation", progress=said)
    assert any("again: metrics or models are others now" in line for line in said.lines)
    assert reason(folder) != first
    after = read_manifest(folder)
    assert after is not None
    assert "bertscore" in after.facts["models"]
