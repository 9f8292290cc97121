from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.finished import write_run
from unimp_bench import paired, tables
from unimp_bench.errors import ConfigError, IncompleteError
from unimp_bench.paired import example_values
from unimp_bench.places import Home
from unimp_bench.schemas import SCORES


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_systems_stand_side_by_side_and_seeds_are_averaged(home: Home) -> None:
    one = write_run(home, "one", {"hr@5": np.array([0.0, 1, 1]), "mrr@5": np.zeros(3)})
    two = [write_run(home, "two", {"hr@5": np.array(v)}, seed=s) for s, v in enumerate(([1.0, 0, 1], [0.0, 0, 1]))]
    found = example_values([[one], two], "hr@5", "in_domain")
    assert found.example_id.to_list() == ["e00000", "e00001", "e00002"]
    assert found.values.tolist() == [[0, 0.5], [1, 0], [1, 1]]


def test_only_examples_that_all_were_asked_count(home: Home) -> None:
    one = write_run(home, "one", {"hr@5": np.array([1.0, 0, 0.5])}, ids=["a", "b", "c"])
    two = write_run(home, "two", {"hr@5": np.array([0.25, 1, 0])}, ids=["c", "a", "d"])
    found = example_values([[one], [two]], "hr@5", "in_domain")
    assert found.example_id.to_list() == ["a", "c"]
    assert found.values.tolist() == [[1, 1], [0.5, 0.25]]


def test_what_has_no_value_is_left_out(home: Home) -> None:
    frame = pl.DataFrame(
        {
            "example_id": ["a", "b"],
            "metric": ["novelty@5"] * 2,
            "cohort": ["in_domain"] * 2,
            "value": [None, 2.0],
        }
    )
    one = write_run(home, "one", frame)
    assert example_values([[one]], "novelty@5", "in_domain").example_id.to_list() == ["b"]


def test_nothing_in_common_is_one_line(home: Home) -> None:
    one = write_run(home, "one", {"hr@5": np.ones(2)}, ids=["a", "b"])
    two = write_run(home, "two", {"hr@5": np.ones(2)}, ids=["c", "d"])
    for folders, metric in (([[one], [two]], "hr@5"), ([[one]], "mrr@5")):
        with pytest.raises(ConfigError, match="share no in_domain example with a value"):
            example_values(folders, metric, "in_domain")


def test_scores_that_are_no_numbers_are_one_line(home: Home) -> None:
    folder = write_run(home, "one", {"hr@5": np.ones(2)})
    rows = tables.read(folder / "scores.parquet", SCORES).with_columns(value=pl.lit(float("nan")))
    tables.write(rows, folder / "scores.parquet", SCORES)
    with pytest.raises(IncompleteError, match=r"scores\.parquet holds values that are not finite"):
        example_values([[folder]], "hr@5", "in_domain")


def test_little_memory_changes_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    metrics = ["hr@5", "mrr@5", "ndcg@5"]
    folders = [[write_run(home, name, {m: rng.random(9) for m in metrics})] for name in ("one", "two")]
    (whole,) = paired.grouped(folders, metrics)
    monkeypatch.setattr(paired, "_AT_ONCE", 18)
    parts = list(paired.grouped(folders, metrics))
    assert [list(part) for part in parts] == [[(metric, "in_domain")] for metric in metrics]
    for part in parts:
        for group, found in part.items():
            assert found.values.tolist() == whole[group].values.tolist()
