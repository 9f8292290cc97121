"""A headless Chromium, where there is one: Debian's, driven by the package `playwright` without its own download."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.report.shop import hostile
from unimp_bench.dataset import Dataset
from unimp_bench.report import write_report
from unimp_bench.report.collect import ROW

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A running browser; tests that ask for it are skipped where it cannot be had."""
    api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on the shop whose titles and sentences are markup."""
    folder = tmp_path_factory.mktemp("browser")
    home = hostile(folder / "home")
    write_report(home, Dataset.open(home, "shop"), folder / "report.html")
    return folder / "report.html"


def _data(runs: int, value: float | None, name: str, variant: str) -> dict[str, Any]:
    """What `collect` gives for one task, one cohort, one metric and no examples."""
    values = [None if value is None else value + 0.01 * i for i in range(runs)]
    run = {"task": "search", "variant": variant, "truth": False, "version": 1, "parameters": {}, "seeds": "0"}
    costs = {"seconds_fit": 1.0, "seconds_predict": 2.0, "peak_megabytes": 300.0, "device": "cpu"}
    return {
        "meta": {"dataset": "d", "dataset_id": "0" * 16, "split_hash": "1" * 16, "protocol": "paper"}
        | {"counts": {}, "version": "0"},
        "tasks": [
            {"name": "search", "version": 1, "kind": "ranking", "metric": "ndcg@5", "metrics": ["ndcg@5"]}
            | {"cohorts": ["in_domain"], "unanswered": "scored 0"}
        ],
        "metrics": {"ndcg@5": {"higher": True, "single": True, "squared": False}},
        "columns": list(ROW),
        "runs": [{**run, **costs, "runner": name.format(i), "date": None, "git_commit": None} for i in range(runs)],
        "rows": [[i, "in_domain", "ndcg@5", v, v, v, None, None, None, 9, 0] for i, v in enumerate(values)],
        "slices": [],
        "curves": [],
        "mistakes": [],
        "examples": {"search": {"systems": [], "examples": []}},
        "items": {},
        "pictures": [],
        "pictures_left_out": 0,
    }


@pytest.fixture
def sparse() -> dict[str, Any]:
    """One run, on a noise variant, without a value."""
    return _data(1, None, "alone", "NT-0.2")


@pytest.fixture
def crowded() -> dict[str, Any]:
    """Sixty runs of long names at one cost."""
    return _data(60, 0.1, "a_system_whose_parameters_are_all_in_its_name rate=0.00{},depth=12,width=4096", "")
