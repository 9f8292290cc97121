"""The report in a real browser, opened as a file: filters, sorting, examples, and nothing that runs from the data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.report.shop import HANDLER, SCRIPT
from unimp_bench.report import assemble

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

_DESKTOP, _PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


class Opened:
    """The page with all that it complained about and asked for."""

    def __init__(self, browser: Browser, file: Path, viewport: dict[str, int], **options: Any) -> None:
        self.context = browser.new_context(viewport=viewport, **options)  # type: ignore[arg-type]
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())

    def column(self, number: int) -> list[str]:
        cells = self.page.locator(f"#board tbody tr > :nth-child({number})")
        return [cell.strip() for cell in cells.all_text_contents()]

    def task(self, name: str) -> None:
        self.page.click(f"label[for=task-{name}]")


@pytest.fixture
def opened(chromium: Browser, report: Path) -> Iterator[Opened]:
    found = Opened(chromium, report, _DESKTOP)
    yield found
    found.context.close()
    assert found.complaints == []
    assert {url.split(":")[0] for url in found.asked} <= {"file", "data", "blob"}
    assert sum(url.startswith("file:") for url in found.asked) == 1


def test_a_column_sorts_both_ways_by_mouse_and_keyboard(opened: Opened) -> None:
    opened.task("search")
    values = opened.column(2)
    assert len(values) == 4
    assert values == sorted(values, reverse=True)
    assert opened.page.locator("#board th[aria-sort=descending]").inner_text().startswith("NDCG@5")
    opened.page.click("#board button[data-key=value]")
    assert opened.column(2) == sorted(values)
    opened.page.focus("#board button[data-key=system]")
    opened.page.keyboard.press("Enter")
    names = opened.column(1)
    assert names == ["bm25 k1=1.2", "bm25 k1=1.5", "popularity", "random"]
    assert opened.page.evaluate("document.activeElement.dataset.key") == "system"
    opened.page.keyboard.press("Enter")
    assert opened.column(1) == names[::-1]


def test_filters_by_task_cohort_metric_variant_and_name(opened: Opened) -> None:
    page = opened.page
    opened.task("search")
    page.select_option("#cohort", "new_user")
    assert set(opened.column(4)) | set(opened.column(5)) >= {"4"}
    page.select_option("#cohort", "")
    assert page.locator("#board tbody tr").count() == 12
    assert "Cohort" in page.locator("#board thead").inner_text()
    page.select_option("#metric", "hr@3")
    assert "HR@3" in page.locator("#board thead").inner_text()
    page.fill("#find", "BM25")
    assert {name.split()[0] for name in opened.column(1)} == {"bm25"}
    page.fill("#find", "")
    page.select_option("#variant", "NT-0.2")
    assert set(opened.column(1)) == {"bm25 k1=1.5"}
    page.focus("#task-search")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#task-selection").is_checked()
    assert page.locator("#leaderboard-about").inner_text().startswith("Selection")


def test_plots_follow_the_filters(opened: Opened) -> None:
    page = opened.page
    opened.task("search")
    page.select_option("#cohort", "in_domain")
    assert page.locator("#intervals .dot").count() == 4
    assert page.locator("#seconds .dot").count() == page.locator("#memory .dot").count() == 4
    assert page.locator("#robust-NT .curve").count() == 1
    assert page.locator("#robust-NV").count() == 0
    page.select_option("#cohort", "")
    assert page.locator("#intervals .dot").count() == 12
    page.select_option("#family", "cohort")
    assert page.locator("#slices tbody tr").count() == 4
    assert page.locator("#slices thead th").count() == 4


def test_learning_curves_of_trained_systems(opened: Opened) -> None:
    page = opened.page
    opened.task("search")
    assert page.locator("#learning figure").count() == 0
    assert page.locator("#learning-about").inner_text().startswith("No system that is left")
    opened.task("recommendation")
    titles = page.locator("#learning figcaption").all_inner_texts()
    assert titles == ["Fit: loss", "Fit: recall"]  # what has no value at all is no panel
    assert page.locator("#learning-0 .curve").count() == page.locator("#learning-1 .curve").count() == 3
    legend = page.locator("#learning figure").first.locator(".legend span").all_inner_texts()
    assert legend == ["trained steps=260", "trained steps=4, seed 0", "trained steps=4, seed 1"]
    label = page.locator("#learning-0 svg").get_attribute("aria-label")
    assert label == "Fit: loss of 3 systems over steps; the table below has the numbers"
    page.locator("#learning summary").first.click()
    table = page.locator("#learning details").first.locator("table")
    rows = [row.locator("th, td").all_inner_texts() for row in table.locator("tbody tr").all()]
    assert [rows[0], rows[-1]] == [["0", "2.0000", "2.0000", "2.0000"], ["259", "0.0077", "\u2013", "\u2013"]]
    assert len(rows) == 12 + 1  # twelve steps, and the last of the shorter lines
    assert rows[1] == ["3", *rows[1][1:2], "0.5000", "0.5000"]
    page.fill("#find", "steps=4")
    assert page.locator("#learning-0 .curve").count() == 2
    page.fill("#find", "random")
    assert page.locator("#learning figure").count() == 0


def test_confusion_of_ratings(opened: Opened) -> None:
    page = opened.page
    opened.task("search")
    assert page.locator("#mistakes-section").is_hidden()
    opened.task("preference")
    page.select_option("#cohort", "in_domain")
    rows = [row.locator("th, td").all_inner_texts() for row in page.locator("#mistakes tbody tr").all()]
    assert [row[0].split()[0] for row in rows] == ["1", "2", "3", "4", "5"]
    assert sum(int(row[0].split()[2]) for row in rows) == 20
    for row in rows:
        shares = [int(cell.rstrip(" %")) for cell in row[1:] if cell != "\u2013"]
        assert not shares or 98 <= sum(shares) <= 102
    page.select_option("#rater", "mean_rating")  # says the same of everything
    columns = zip(
        *[row.locator("td").all_inner_texts() for row in page.locator("#mistakes tbody tr").all()], strict=True
    )
    assert sum(any(cell == "100 %" for cell in column) for column in columns) == 1


def test_an_example_opens_and_shows_what_everybody_said(opened: Opened) -> None:
    page = opened.page
    opened.task("search")
    page.select_option("#cohort", "")
    first = page.locator("#example h3 .data").inner_text()
    page.locator("#list button").nth(1).click()
    assert page.locator("#example h3 .data").inner_text() != first
    assert page.locator("#list button[aria-current=true]").count() == 1
    assert page.locator("#example .said > li").count() == 4
    assert page.locator("#example .said .focus .name").inner_text() == page.locator("#focus").input_value()
    assert page.evaluate("document.activeElement.id") == "example"
    page.locator("#list button").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.locator("#list button").nth(1).get_attribute("aria-current") == "true"
    loaded = "[...document.images].every((one) => one.complete && one.naturalWidth > 0)"
    assert page.locator("#example img").count() > 0
    assert page.evaluate(loaded)
    page.select_option("#order", "lost")
    verdicts = page.locator("#list .verdict").all_text_contents()
    rank = ["loss", "even", "win"]
    assert [rank.index(text.split()[0]) for text in verdicts] == sorted(rank.index(t.split()[0]) for t in verdicts)
    for task in ("preference", "explanation", "selection", "image_generation"):
        opened.task(task)
        assert page.locator("#example .said > li").count() >= 1
    assert page.locator("#example .said img[alt='generated picture']").count() >= 1


def test_nothing_from_the_data_runs(opened: Opened) -> None:
    page = opened.page
    for task in ("explanation", "search"):
        opened.task(task)
        page.select_option("#cohort", "")
        for button in page.locator("#list button").all():
            button.click()
            assert page.evaluate("window.injected") is None
    texts = set(page.locator("#example .title").all_text_contents())
    assert texts & {SCRIPT, HANDLER}
    assert page.locator("#example q").first.inner_text().strip("“”") == HANDLER
    assert page.locator("script").count() == 2
    assert page.locator("img[onerror]").count() == 0


def test_the_policy_stops_a_script_that_got_in_all_the_same(chromium: Browser, report: Path, tmp_path: Path) -> None:
    text = report.read_text()
    assert text.count("</body>") == 1
    bad = tmp_path / "bad.html"
    bad.write_text(text.replace("</body>", f"{SCRIPT}<img src=x onerror='window.injected = 3'></body>"))
    opened = Opened(chromium, bad, _DESKTOP)
    assert opened.page.locator("#board tbody tr").count() > 0
    assert opened.page.evaluate("window.injected") is None
    assert any("Content Security Policy" in text for text in opened.complaints)
    opened.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_down_only(chromium: Browser, report: Path, tmp_path: Path, scheme: str) -> None:
    opened = Opened(chromium, report, _PHONE, color_scheme=scheme, has_touch=True)
    for task in ("search", "recommendation", "preference", "explanation", "selection", "image_generation"):
        opened.task(task)
        opened.page.select_option("#cohort", "")
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= _PHONE["width"], task
    opened.page.screenshot(path=tmp_path / f"phone-{scheme}.png", full_page=True)
    assert (tmp_path / f"phone-{scheme}.png").stat().st_size > 20_000
    assert opened.complaints == []
    opened.context.close()


def test_every_control_has_a_name(opened: Opened) -> None:
    named = """[...document.querySelectorAll('button, select, input, svg[role=img], [role=region]')].filter((one) =>
        !(one.labels && one.labels.length && [...one.labels].some((label) => label.textContent.trim()))
        && !one.getAttribute('aria-label') && !one.getAttribute('aria-labelledby') && !one.textContent.trim())
        .map((one) => one.outerHTML.slice(0, 80))"""
    for task in ("search", "recommendation"):
        opened.task(task)
        assert opened.page.evaluate(named) == []
    assert opened.page.evaluate("[...document.images].every((one) => one.hasAttribute('alt'))")


def _opened(chromium: Browser, data: dict[str, Any], folder: Path, viewport: dict[str, int]) -> Opened:
    file = folder / "page.html"
    file.write_text(assemble(data))
    return Opened(chromium, file, viewport)


def test_a_page_with_hardly_anything_in_it(chromium: Browser, sparse: dict[str, Any], tmp_path: Path) -> None:
    opened = _opened(chromium, sparse, tmp_path, _PHONE)
    page = opened.page
    assert opened.column(2) == ["\u2013"]
    assert page.locator("#intervals").inner_text() == page.locator("#seconds").inner_text() == "Nothing to draw."
    assert page.locator("#slices-about").inner_text() == "No run on data without noise."
    assert "unimp-bench build" in page.locator("#robust-about").inner_text()
    assert page.locator("#list button").count() == 0
    page.fill("#find", "nobody")
    assert page.locator("#board tbody tr").count() == 0
    assert opened.complaints == []
    opened.context.close()


def test_costs_that_differ_by_rounding_alone(chromium: Browser, crowded: dict[str, Any], tmp_path: Path) -> None:
    for number, run in enumerate(crowded["runs"]):
        run["seconds_fit"], run["seconds_predict"] = (0.1, 0.2) if number % 2 else (0.3, 0.0)
    opened = _opened(chromium, crowded, tmp_path, _DESKTOP)
    assert opened.page.locator("#seconds .dot").count() == 60
    assert opened.page.locator("#seconds .axis").count() < 20
    assert opened.complaints == []
    opened.context.close()


def test_sixty_systems_with_long_names(chromium: Browser, crowded: dict[str, Any], tmp_path: Path) -> None:
    for viewport in (_DESKTOP, _PHONE):
        opened = _opened(chromium, crowded, tmp_path, viewport)
        assert opened.page.locator("#board tbody tr").count() == 60
        assert opened.page.locator("#intervals .dot").count() == 60
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        assert opened.complaints == []
        opened.context.close()
