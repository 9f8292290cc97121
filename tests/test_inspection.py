"""One user as people see one, and the sheet of pictures."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from tests.shop import ITEM_IDS, home_at, interactions, pictures
from unimp_bench import contact_sheet, execute
from unimp_bench.contact_sheet import Tile
from unimp_bench.dataset import Dataset
from unimp_bench.errors import ConfigError, UnknownNameError
from unimp_bench.inspection import inspect, titles
from unimp_bench.places import Home


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = home_at(tmp_path_factory.mktemp("inspection") / "home")
    execute.run(home, "shop", "search", "random")
    execute.run(home, "shop", "search", "bm25")
    execute.run(home, "shop", "preference", "user_mean")
    execute.run(home, "shop", "image_generation", "mean_image")
    return home


def test_a_user_is_shown_with_history_truth_and_answers(home: Home) -> None:
    person = inspect(home, Dataset.open(home, "shop"), "u03")
    rows = interactions().filter(user_id="u03").sort("position")
    assert person.cohort == "in_domain"
    assert person.history["item_id"].to_list() == rows["item_id"].to_list()
    assert person.history["split"].to_list() == [*["train"] * 6, "valid", "test"]
    asked = {one.task: one for one in person.asked}
    assert asked["search"].answer == [rows["item_id"][-1]]
    assert {said.runner for said in asked["search"].said} == {"random", "bm25"}
    values = [said.value for said in asked["search"].said]
    assert values == sorted(values, key=lambda value: -float(value or 0))
    assert asked["preference"].answer == rows["rating"][-1]
    assert isinstance(asked["image_generation"].said[0].answer, bytes)


def test_one_task_only_and_names_that_do_not_exist(home: Home) -> None:
    data = Dataset.open(home, "shop")
    assert {one.task for one in inspect(home, data, "u03", "search").asked} == {"search"}
    with pytest.raises(UnknownNameError, match="did you mean u03"):
        inspect(home, data, "u03x")
    with pytest.raises(UnknownNameError, match="did you mean search"):
        inspect(home, data, "u03", "serch")
    data.manifest.facts["tasks"].pop("search")  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="has no task search"):
        inspect(home, data, "u03", "search")


def test_an_item_without_title_goes_by_its_id(home: Home) -> None:
    assert titles(Dataset.open(home, "shop").catalogue(), ["i05", "gone"]) == ["Title number 5", "gone"]


def test_tiles_show_the_picture_the_frame_and_a_place_for_none() -> None:
    red = BytesIO()
    Image.new("RGB", (10, 10), (250, 0, 0)).save(red, "PNG")
    tiles = [Tile(red.getvalue(), "red", (0, 0, 250)), Tile(None, "none"), Tile(b"<html>", "broken")]
    page = Image.open(BytesIO(contact_sheet.sheet([("heading", tiles)]))).convert("RGB")
    colours = {colour for _, colour in page.getcolors(1 << 24) or ()}
    assert {(250, 0, 0), (0, 0, 250), (255, 255, 255)} <= colours
    assert page.getpixel((12 + 80, 42 + 80)) == (250, 0, 0)
    # Nothing and something broken look the same.
    left, right = (page.crop((12 + at * 172, 42, 172 + at * 172, 202)).tobytes() for at in (1, 2))
    assert left == right


def test_a_sheet_grows_with_what_it_shows(home: Home, tmp_path: Path) -> None:
    data = Dataset.open(home, "shop")
    whole = Image.open(BytesIO(contact_sheet.of_person(data, inspect(home, data, "u03"))))
    less = Image.open(BytesIO(contact_sheet.of_person(data, inspect(home, data, "u03", "preference"))))
    assert whole.width == less.width
    assert whole.height > less.height
    assert len(pictures()) == len(ITEM_IDS) - 1
