"""A built dataset read by pyarrow alone says the same as the toolkit."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("torch")

from tests import shop as small
from unimp import folders, prompts
from unimp.errors import UnimpError
from unimp.item_text import body
from unimp_bench.places import Home
from unimp_bench.tasks.item_texts import ItemTexts, TextField, text_fields
from unimp_bench.tasks.styles import STYLES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = Home(tmp_path_factory.mktemp("home"))
    return small.build_shop(home).folder


def test_items_read_as_the_toolkit_writes_them() -> None:
    items = small.items().sort("item_index")
    fields = text_fields(items, "paper")
    theirs = ItemTexts.of(items, fields).rows["body"].to_list()
    ours = [body(row, [(f.label, f.source) for f in fields]) for row in items.to_dicts()]
    assert ours == theirs


def test_every_source_of_a_field_reads_alike() -> None:
    items = small.items().sort("item_index")
    sources = ("categories:1", "categories:7", "attributes:x", "price_usd")
    fields = [TextField(f"F{k}", source) for k, source in enumerate(sources)]
    theirs = ItemTexts.of(items, fields).rows["body"].to_list()
    assert [body(row, [(f.label, f.source) for f in fields]) for row in items.to_dicts()] == theirs


@pytest.mark.parametrize("style", ["paper", "official_code"])
def test_questions_are_worded_as_the_toolkit_words_them(style: str) -> None:
    for task, asked in prompts.STYLES[style].ask.items():
        assert STYLES[style].ask[task] == f"{asked} <answer>" or "{target}" in asked or task == "selection"


def test_a_folder_gives_the_log_and_what_each_task_learns(folder: Path) -> None:
    shop = folders.read_folder(folder)
    log = shop.log
    assert log.users == 20
    assert set(shop.tasks) == {"recommendation", "search", "preference", "explanation", "selection", "image_generation"}
    assert not log.learned["recommendation"][log.offsets[:-1]].any()  # a first row has no history
    assert log.learned["recommendation"].sum() == len(log.item) - log.users
    assert all(example.history.max() < len(shop.items) for example in shop.valid["recommendation"])
    names = [name for name in shop.items.picture_ids if name is not None]
    assert set(shop.items.pictures(names)) == set(names)


def test_pictures_are_found_in_the_parts_of_files_that_may_hold_them(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pq.read_table(folder / "visible/images-00000.parquet").sort_by("image_id")
    names = whole["image_id"].to_pylist()
    pq.write_table(whole, tmp_path / "images.parquet", row_group_size=4)
    read, groups = pq.ParquetFile.iter_batches, []

    def counted(self: pq.ParquetFile, *args: object, row_groups: list[int], **more: object) -> object:
        groups.extend(row_groups)
        return read(self, *args, row_groups=row_groups, **more)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    for asked, parts in ((names, 5), (names[4:8], 1), ([names[0], names[-1]], 2), (["x", "0"], 0)):
        groups.clear()
        found = folders.read_pictures([tmp_path / "images.parquet"], asked)
        assert found.keys() == set(asked) & set(names)
        assert len(groups) == parts
    assert found == {}
    one = folders.read_pictures([folder / "visible/images-00000.parquet"], names[:1])
    assert one[names[0]] == whole["image"][0]["bytes"].as_py()


def test_held_out_domains_are_read_on_request_only(folder: Path) -> None:
    regular, office = folders.read_folder(folder), folders.read_folder(folder, new_domains=True)
    domains = np.array(regular.items.domains)
    assert set(domains[regular.log.item]) == {"toys"}
    assert set(domains[office.log.item]) == {"office"}


def test_a_folder_that_is_no_dataset_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnimpError, match="no finished dataset") as refused:
        folders.read_folder(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.slow  # a process that imports torch and transformers anew
def test_reading_needs_no_polars() -> None:
    code = "import sys, unimp.system; assert not {'polars', 'unimp_bench', 'diffusers'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_examples_without_answers_are_read(folder: Path) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "visible/tasks/preference/test.examples.parquet")
    shop = folders.read_folder(folder)
    examples = folders.examples_of(table, {item: k for k, item in enumerate(shop.items.ids)})
    assert len(examples) == table.num_rows
    assert all(one.target is not None and one.answer_rating is None for one in examples)
    assert isinstance(table, pa.Table)


def test_selection_learns_from_the_whole_history(folder: Path) -> None:
    shop = folders.read_folder(folder)
    assert shop.selection
    longest = max(len(example.history) for example in shop.selection)
    assert longest > 1
    for example in shop.selection:
        assert len(example.history) == len(example.ratings) == len(example.whys)
        assert not set(example.answer_items) & set(example.history.tolist())
