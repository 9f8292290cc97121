from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.finished import write_run
from unimp_bench.board import rows
from unimp_bench.metrics.spec import METRICS
from unimp_bench.places import Home
from unimp_bench.tasks.spec import TASKS
from unimp_bench.wide import HEADLINES, latex_text, markdown_text, wide


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    rng = np.random.default_rng(0)
    for seed in (0, 1):
        write_run(home, "two_seeds", {"hr@5": rng.random(300), "ndcg@5": rng.random(300) / 2}, seed=seed)
    write_run(home, "low", {"hr@5": rng.random(300) / 4, "novelty@5": np.ones(300)})
    write_run(home, "other", {"hr@5": rng.random(300)}, cohort="new_user")
    write_run(home, "rater", {"rmse": rng.random(300), "mae": rng.random(300)}, task="preference")
    return home


def test_every_headline_is_a_metric_and_every_kind_has_some() -> None:
    assert set(HEADLINES) == {spec.answer for spec in TASKS.values()}
    for kind, names in HEADLINES.items():
        assert {METRICS[name].answer_kind for name in names} == {kind}
    assert all(spec.metric in HEADLINES[spec.answer] for spec in TASKS.values())


def test_systems_are_rows_and_metrics_columns(home: Home) -> None:
    first, second, third = wide(rows(home))
    assert (first.title, second.title) == ("shop · preference · in_domain", "shop · search · in_domain")
    assert first.columns == ("rmse ↓", "mae ↓")
    assert second.columns == ("hr@5 ↑", "ndcg@5 ↑")  # what nobody has is left out, novelty is no headline
    (name, cells), (low, worse) = second.rows
    assert (name, low) == ("two_seeds", "low")
    assert cells[0].text.count(" ± ") == cells[1].text.count(" ± ") == 1
    assert [cell.best for cell in (*cells, *worse)] == [True, True, False, False]
    assert worse[1].text == "-"
    assert [one for one, _ in third.rows] == ["other"]
    assert wide(rows(home), whole=True)[1].columns == ("hr@5 ↑", "ndcg@5 ↑", "novelty@5 ↑")
    assert wide(rows(home).clear()) == []


def test_markdown_and_latex_by_hand(home: Home) -> None:
    tables = wide(rows(home, task="preference"))
    lines = markdown_text(tables).splitlines()
    (value,) = [cell.text for cell in tables[0].rows[0][1][:1]]
    assert lines[2:4] == ["| runner | rmse ↓ | mae ↓ |", "| --- | ---: | ---: |"]
    assert lines[4].startswith(f"| rater | **{value}** | **0.")
    text = latex_text(wide(rows(home)))
    assert text.startswith("% needs \\usepackage{booktabs}\n")
    assert text.count("\\begin{table}") == 3
    assert "runner & rmse $\\downarrow$ & mae $\\downarrow$ \\\\" in text
    assert f"rater & \\textbf{{{value}}} & " in text
    assert "$\\pm$" in text
