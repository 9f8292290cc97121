from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from tests.audited_shop import good_shop
from unimp_bench.audit import Check
from unimp_bench.cards import card, card_facts
from unimp_bench.published import PAPER, PUBLIC_5_CORE
from unimp_bench.tasks.spec import TASKS

CHECKS = [
    Check("no_target_in_training", "pass", 0, "273 rows | none"),
    Check("ascending_by_id", "info", 0.4803, "half"),
]


def test_the_card_states_the_manifests_facts(tmp_path: Path) -> None:
    shop = good_shop()
    shop.facts["skipped_tasks"] = {"search": "no item has categories"}
    shop.facts["item_text"] = [["Title", "title"], ["Colour", "attributes:colour"]]
    text = card(shop.write(tmp_path), CHECKS)
    assert "720 interactions of 72 users with 190 items" in text
    assert "| office (held out) | 130 | 12 / 40 / 120 |" in text
    assert "| core | toys | user_below_5 | 7 |" in text
    assert "No search: no item has categories." in text
    assert "Prompts say of an item: Title, Colour." in text
    assert "| no_target_in_training | pass | 0 | 273 rows \\| none |" in text
    assert "| ascending_by_id | info | 0.4803 | half |" in text
    assert "90.0% of rows share their time" in text
    assert 'protocol = "paper"' in text
    assert "do not redistribute" in text
    rows = " | ".join(str(shop.examples["selection", split].height) for split in ("train", "valid", "test"))
    assert f"| selection | 1 | paper-1 | {rows} |" in text


def test_domains_of_the_paper_stand_beside_both_published_counts(tmp_path: Path) -> None:
    shop = good_shop()
    shop.facts["counts"] = {
        "interactions": 9, "users": 2, "items": 3, "by_domain": {"baby": {"users": 2, "items": 3, "interactions": 9}}
    }  # fmt: skip
    dataset = shop.write(tmp_path)
    text = card(dataset)
    assert "| baby | – | 2 / 3 / 9 | 19,822 / 7,776 / 163,856 | 19,445 / 7,050 / 160,792 |" in text  # noqa: RUF001
    assert "cannot come from filtering" in text
    assert card_facts(dataset)["published"]["baby"]["paper_table_5"]["items"] == 7_776
    assert "cannot come from filtering" not in card(good_shop().write(tmp_path, "other"))


def test_table_5_exceeds_the_public_files_everywhere() -> None:
    assert PAPER.keys() == PUBLIC_5_CORE.keys()
    for domain, size in PAPER.items():
        public = PUBLIC_5_CORE[domain]
        assert size.users > public.users and size.items > public.items and size.interactions > public.interactions
    six = [size for domain, size in PAPER.items() if domain != "office_products"]
    sums = (sum(s.users for s in six), sum(s.items for s in six), sum(s.interactions for s in six))
    assert sums == (184_846, 124_232, 1_523_662)


def test_facts_are_json_and_name_no_place(tmp_path: Path) -> None:
    dataset = good_shop().write(
        tmp_path, inputs={"/somewhere/secret/reviews.json.gz": "ab" * 32, "pics/images/": "cd" * 32}
    )
    facts = json.loads(json.dumps(card_facts(dataset, CHECKS)))
    assert facts["inputs"] == [
        {"file": "reviews.json.gz", "sha256": "ab" * 32},
        {"file": "images/", "sha256": "cd" * 32},
    ]
    assert facts["drops"][0] == {"stage": "core", "domain": "toys", "reason": "user_below_5", "rows": 7}
    assert facts["audit"][1]["value"] == 0.4803
    assert "/somewhere" not in card(dataset) and str(tmp_path) not in card(dataset)


def test_the_card_is_the_same_without_outputs_and_clock(tmp_path: Path) -> None:
    dataset = good_shop().write(tmp_path)
    draft = replace(dataset.manifest, outputs={}, seconds={"tasks": 9.0}, created="2030-01-01T00:00:00")
    assert card(replace(dataset, manifest=draft), CHECKS) == card(dataset, CHECKS)


OPEN = """
import json, sys
from datasets import get_dataset_config_names, load_dataset
folder, cache = sys.argv[1:]
found = {"configs": get_dataset_config_names(folder)}
for name in found["configs"]:
    data = load_dataset(folder, name, cache_dir=cache)
    found[name] = {split: rows.num_rows for split, rows in data.items()}
    found[name + " columns"] = data[next(iter(data))].column_names
task = load_dataset(folder, "recommendation", cache_dir=cache)
found["first"] = task["train"][0]
answers = {split: rows.filter(lambda row: row["item_ids"] is not None) for split, rows in task.items()}
found["answers"] = {split: rows.num_rows for split, rows in answers.items()}
found["streamed"] = next(iter(load_dataset(folder, "preference", split="test", streaming=True)))
picture = load_dataset(folder, "images", split="train", cache_dir=cache)[0]
found["picture"] = [type(picture["image"]).__module__, list(picture["image"].size), picture["image_id"]]
found["default"] = load_dataset(folder, cache_dir=cache)["train"].num_rows
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What the `datasets` library finds in a built folder, in a process without network."""
    root = tmp_path_factory.mktemp("hub")
    dataset = good_shop().write(root)
    (dataset.folder / "README.md").write_text(card(dataset, CHECKS))
    offline = {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(root / "c"),
        "HF_HOME": str(root / "h"),
    }
    done = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", "-c", OPEN, str(dataset.folder), str(root / "cache")],
        capture_output=True, text=True, env={**os.environ, **offline}, cwd=root, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_hugging_face_opens_every_configuration_offline(opened: dict[str, object]) -> None:
    shop = good_shop()
    assert set(opened["configs"]) == {*TASKS, "interactions", "items", "images"}
    for task in TASKS:
        sizes = {name: shop.examples[task, split].height for split, name in
                 (("train", "train"), ("valid", "validation"), ("test", "test"))}  # fmt: skip
        assert opened[task] == sizes
    assert opened["items"] == {"train": 190}
    assert opened["interactions"] == {"train": shop.visible.height}
    assert opened["default"] == shop.examples["recommendation", "train"].height
    assert opened["first"]["example_id"] == shop.examples["recommendation", "train"]["example_id"][0]
    assert opened["first"]["history"][0].keys() == {"item_id", "rating", "explanation"}


def test_test_rows_have_no_answers(opened: dict[str, object]) -> None:
    shop = good_shop()
    train, valid = (shop.examples["recommendation", split].height for split in ("train", "valid"))
    assert opened["answers"] == {"train": train, "validation": valid, "test": 0}
    assert opened["streamed"]["example_id"] == shop.examples["preference", "test"]["example_id"][0]
    assert opened["streamed"].get("rating") is None


def test_pictures_decode(opened: dict[str, object]) -> None:
    module, size, name = opened["picture"]
    assert module.startswith("PIL.") and size == [8, 8]
    assert name == good_shop().images.sort("image_id").select(pl.col("image_id").first()).item()


def test_a_domain_of_which_nothing_survived_is_still_counted_as_read(tmp_path: Path) -> None:
    shop = good_shop()
    shop.facts["raw_counts"] = {"toys": 700, "office": 130, "garden": 40}
    assert "| garden | 40 | 0 / 0 / 0 |" in card(shop.write(tmp_path))
