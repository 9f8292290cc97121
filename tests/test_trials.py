"""Trials of a runner whose quality is a parameter: what is drawn, chosen, kept, shared and gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.fakes import register
from tests.searched import Searched
from tests.shop import home_at
from unimp_bench import board, costs, exports
from unimp_bench.budget import Budget
from unimp_bench.dataset import Dataset
from unimp_bench.errors import ConfigError
from unimp_bench.execute import run
from unimp_bench.places import Home
from unimp_bench.provenance import Manifest, read_manifest, sha256
from unimp_bench.runners.space import settings
from unimp_bench.verify import verify

FOUR = Budget(trials=4)


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("searched", "reckless", "picky", "slow", "broken")
    register(monkeypatch, **{name: f"tests.searched:{name.capitalize()}" for name in names})


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_at(tmp_path / "home")


@pytest.fixture
def given(tmp_path: Path) -> dict[str, str]:
    return {"notes": str(tmp_path / "notes"), "fuse": str(tmp_path / "fuse")}


@pytest.fixture
def fits(tmp_path: Path) -> Callable[[], list[dict[str, Any]]]:
    """What was fitted so far."""
    return lambda: [json.loads(line) for line in (tmp_path / "notes").read_text().splitlines()]


def _trials(folder: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((folder / "trials.json").read_text())
    return said


def _manifest(folder: Path) -> Manifest:
    manifest = read_manifest(folder)
    assert manifest is not None
    return manifest


def test_the_given_setting_comes_first_and_no_setting_twice() -> None:
    drawn = settings(Searched(), "searched", {}, 100, 0)
    assert drawn[0] == {}
    assert len(drawn) == 7  # the default, and 3 x 2 values
    assert len({json.dumps(one) for one in drawn}) == 7
    assert settings(Searched(), "searched", {}, 3, 0) == drawn[:3]
    assert settings(Searched(), "searched", {}, 100, 1) != drawn
    fixed = settings(Searched(skill=0.5), "searched", {"skill": "0.5"}, 100, 0)
    assert fixed == [{"skill": "0.5"}, {"skill": "0.5", "luck": "1"}]  # luck=0 is the default, and there already
    assert settings(Searched(), "picky", {}, 100, 0) == settings(Searched(), "picky", {}, 100, 0)


def test_values_that_make_no_sense_are_not_drawn(home: Home, given: dict[str, str]) -> None:
    said = _trials(run(home, "shop", "recommendation", "picky", parameters=given, budget=Budget(trials=9)))
    assert [trial["parameters"].get("luck", "0") for trial in said["trials"]] in (["0", "1", "2"], ["0", "2", "1"])


def test_the_best_on_validation_answers(
    home: Home, given: dict[str, str], fits: Callable[[], list[dict[str, Any]]]
) -> None:
    folder = run(home, "shop", "recommendation", "searched", parameters=given, budget=Budget(60.0, 7))
    said, manifest = _trials(folder), _manifest(folder)
    assert (said["budget"], said["metric"]) == ({"seconds": 60.0, "trials": 7}, "ndcg@5")
    trials = said["trials"]
    assert [trial["trial"] for trial in trials] == list(range(7))
    by_skill = {trial["parameters"].get("skill", "0.25"): trial["score"] for trial in trials}
    assert by_skill["1.0"] == 1.0  # knows every validation answer
    assert by_skill["0.0"] < by_skill["0.25"] < by_skill["0.5"] < 1.0
    best = trials[said["best"]]
    assert best["parameters"]["skill"] == "1.0"
    assert best["trial"] == min(trial["trial"] for trial in trials if trial["score"] == 1.0)  # the first of equal ones
    assert manifest.facts["chosen"] == best["parameters"]
    assert manifest.facts["trials"] == 7
    assert manifest.request["budget"] == {"seconds": 60.0, "trials": 7}
    assert f"fits/{best['fit']}/state" in manifest.inputs
    assert len([name for name in manifest.inputs if name.startswith("fits/")]) == 2  # it and its adaptation
    noted = fits()
    assert [one["what"] for one in noted] == ["fit"] * 7 + ["adapt"]
    assert {one["max_seconds"] for one in noted} == {60.0 / 7}
    assert noted[-1]["skill"] == 1.0  # the best one goes on to the held-out domain
    assert manifest.seconds["fit"] >= sum(trial["seconds"] for trial in trials)
    assert verify(Dataset.open(home, "shop"), home) == []
    # Another task of the same fits chooses for itself and fits nothing; less is better there.
    other = run(home, "shop", "preference", "searched", parameters=given, budget=Budget(60.0, 7))
    assert len(fits()) == 8
    said = _trials(other)
    assert said["metric"] == "rmse"
    assert not said["higher_is_better"]
    scores = [trial["score"] for trial in said["trials"]]
    assert min(scores) == 0.0 < max(scores)
    assert scores[said["best"]] == 0.0
    (cost,) = costs.costs(home, [folder, other])
    assert (cost.runner, cost.runs, cost.trials, len(cost.fits)) == ("searched", 2, 7, 8)
    assert cost.fit == pytest.approx(manifest.seconds["fit"])
    assert cost.seconds > cost.fit


def test_no_sealed_answer_is_opened_before_scoring(
    home: Home, given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def sealed(*_: Any) -> None:
        raise PermissionError("sealed")

    with monkeypatch.context() as patch:
        patch.setattr(Dataset, "sealed_answers", sealed)
        patch.setattr(Dataset, "sealed_interactions", sealed)
        with pytest.raises(PermissionError, match="sealed") as caught:
            run(home, "shop", "recommendation", "searched", parameters=given, budget=FOUR)
    assert any(entry.name == "finish" for entry in caught.traceback)  # as far as scoring
    (kept,) = home.runs.rglob("trials.json")
    before = json.loads(kept.read_text())
    assert before["best"] is not None
    folder = run(home, "shop", "recommendation", "searched", parameters=given, budget=FOUR)
    assert _trials(folder) == before


def test_a_killed_search_goes_on_and_ends_as_if_nothing_had_been(
    tmp_path: Path, home: Home, given: dict[str, str], fits: Callable[[], list[dict[str, Any]]]
) -> None:
    three = Budget(trials=3)
    calm = home_at(tmp_path / "calm")
    undisturbed = run(calm, "shop", "recommendation", "searched", parameters=given, budget=three)
    whole = fits()
    Path(given["notes"]).unlink()
    Path(given["fuse"]).touch()
    with pytest.raises(RuntimeError, match="the fuse blew"):
        run(home, "shop", "recommendation", "searched", parameters=given, budget=three)
    folder = home.root / undisturbed.relative_to(calm.root)
    assert len(_trials(folder)["trials"]) == 2
    assert _trials(folder)["best"] is None
    Path(given["fuse"]).unlink()
    assert run(home, "shop", "recommendation", "searched", parameters=given, budget=three) == folder
    assert fits() == whole  # none was fitted twice
    assert sha256(folder / "predictions.parquet") == sha256(undisturbed / "predictions.parquet")
    assert "going on: 2 of 3 trials are there" in (folder / "log.txt").read_text()
    clock = ("seconds", "validation_seconds", "peak_megabytes")
    mine, theirs = (
        [{k: v for k, v in one.items() if k not in clock} for one in _trials(at)["trials"]]
        for at in (folder, undisturbed)
    )
    assert mine == theirs


def test_force_fits_every_trial_again(
    home: Home, given: dict[str, str], fits: Callable[[], list[dict[str, Any]]]
) -> None:
    for force in (False, True):
        run(home, "shop", "preference", "searched", parameters=given, budget=Budget(trials=2), force=force)
    assert [one["what"] for one in fits()] == 2 * ["fit", "fit", "adapt"]


def test_a_runner_with_nothing_to_search_has_one_trial_and_the_whole_time(
    home: Home, given: dict[str, str], fits: Callable[[], list[dict[str, Any]]]
) -> None:
    said = _trials(run(home, "shop", "recommendation", "popularity", budget=FOUR))
    assert [(t["trial"], t["score"], t["why"]) for t in said["trials"]] == [(0, None, "there is nothing to search")]
    said = _trials(run(home, "shop", "recommendation", "searched", parameters=given, budget=Budget(60.0)))
    assert [(t["trial"], t["score"], t["why"]) for t in said["trials"]] == [(0, None, "the budget is one trial")]
    assert fits()[0]["max_seconds"] == 60.0


def test_a_drawn_setting_may_fail_and_the_given_one_may_not(home: Home, given: dict[str, str]) -> None:
    folder = run(home, "shop", "recommendation", "reckless", parameters=given, budget=FOUR)
    said = _trials(folder)
    (failed,) = [trial for trial in said["trials"] if trial["fit"] is None]
    assert failed["parameters"]["doomed"] == "True"
    assert failed["why"] == "searched: the loss is nan"
    assert said["trials"][said["best"]]["parameters"]["skill"] == "1.0"
    assert verify(Dataset.open(home, "shop"), home) == []
    with pytest.raises(ConfigError, match="the loss is nan"):
        run(home, "shop", "recommendation", "reckless", parameters={**given, "doomed": "true"}, budget=FOUR)


def test_a_budget_is_another_row_of_the_leaderboard(home: Home, given: dict[str, str]) -> None:
    run(home, "shop", "preference", "searched", parameters=given)
    run(home, "shop", "preference", "searched", parameters=given, budget=Budget(60.0))
    run(home, "shop", "preference", "searched", parameters=given, budget=FOUR)
    rows = board.rows(home).filter(pl.col("metric") == "rmse", pl.col("cohort") == "in_domain")
    assert set(zip(rows["budget"], rows["trials"], strict=True)) == {(None, None), ("1min", 1), ("4trials", 4)}
    assert rows["parameters_hash"].n_unique() == 3
    assert sorted(exports.labels(rows)) == ["searched", "searched budget=1min", "searched budget=4trials"]
    assert "budget" in exports.csv_text(rows).splitlines()[0].split(",")


def test_a_budget_of_time_is_refused_by_a_runner_that_does_not_keep_to_it(home: Home, given: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="'slow' does not keep to a budget of time; run it apart"):
        run(home, "shop", "recommendation", "slow", parameters=given, budget=Budget(60.0))
    run(home, "shop", "preference", "slow", parameters=given, budget=Budget(trials=1))


def test_other_processes_count_in_the_peak(home: Home, given: dict[str, str]) -> None:
    plain = _manifest(run(home, "shop", "preference", "searched", parameters=given)).facts["peak_megabytes"]
    folder = run(home, "shop", "preference", "searched", parameters={**given, "megabytes": "50000"})
    assert 50_000 < _manifest(folder).facts["peak_megabytes"] < 50_000 + 3 * plain
    parts = run(home, "shop", "recommendation", "searched", parameters={**given, "megabytes": "50000", "skill": "0.5"})
    assert _manifest(parts).facts["peak_megabytes"] > 50_000


def test_what_broke_is_in_the_log(home: Home, given: dict[str, str]) -> None:
    with pytest.raises(RuntimeError, match="first line") as caught:
        run(home, "shop", "recommendation", "broken", parameters=given)
    (note,) = caught.value.__notes__
    log = Path(note.removeprefix("traceback in ")).read_text()
    assert "second line" in log
    assert "Traceback" in log
