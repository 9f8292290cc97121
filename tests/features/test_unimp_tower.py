"""UniMP's small CLIP as an encoder for other systems."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from tests.features.known import register
from tests.shop import home_at
from unimp import encoder, teaching
from unimp.errors import UnimpError
from unimp.vision import VisionTower
from unimp_bench.dataset import Catalogue, Dataset
from unimp_bench.errors import ConfigError
from unimp_bench.features import item_features
from unimp_bench.runners.protocol import Context


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(encoder, "_SETTINGS", replace(encoder._SETTINGS, steps=3, batch=8))
    register(monkeypatch)


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    return Dataset.open(home_at(tmp_path_factory.mktemp("tower") / "home"), "shop").catalogue()


def _context(folder: Path) -> Context:
    return Context(0, folder, features=folder / "features")


def test_rows_are_pooled_vectors_of_a_tower_that_is_kept(
    view: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = item_features(view, "unimp_tower", _context(tmp_path))
    assert found.values.shape == (20, 64)
    assert int(found.present.sum()) == 19
    assert np.allclose(np.linalg.norm(found.values[found.present], axis=1), 1, atol=1e-5)
    assert not found.values[~found.present].any()
    (folder,) = [path for path in (tmp_path / "features").glob("unimp_tower-*") if path.is_dir()]
    assert not list((tmp_path / "features").glob("*.checkpoint"))

    def again(*_: object, **__: object) -> None:
        raise AssertionError("the tower was trained twice")

    monkeypatch.setattr(teaching, "train_clip", again)
    turned = replace(view, items=view.items.with_columns(pl.col("image_id").reverse()))
    other = item_features(turned, "unimp_tower", _context(tmp_path))
    assert other.digest != found.digest
    assert np.allclose(other.values, found.values[::-1], atol=1e-6)
    given = item_features(view, f"unimp_tower:{folder}", _context(tmp_path))
    assert np.array_equal(given.values, found.values)
    parts = tmp_path / "parts"
    VisionTower.from_pretrained(folder).save_pretrained(parts / "tower")  # as UniMP's pre-training leaves it
    assert item_features(view, f"unimp_tower:{parts}", _context(tmp_path)).digest == given.digest


def test_a_killed_training_goes_on_to_the_same_end(
    view: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = item_features(view, "unimp_tower", _context(tmp_path / "a"))
    real, starts = teaching.train_clip, []

    def killed(*given: object, report: object, **options: object) -> object:
        def fuse(step: int, steps: int, loss: float) -> None:
            starts.append(step)
            if step == 3 and len(starts) == 3:
                raise KeyboardInterrupt

        return real(*given, report=fuse, every=1, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(teaching, "train_clip", killed)
    with pytest.raises(KeyboardInterrupt):
        item_features(view, "unimp_tower", _context(tmp_path / "b"))
    assert np.array_equal(item_features(view, "unimp_tower", _context(tmp_path / "b")).values, whole.values)
    assert starts == [1, 2, 3, 3]


def test_a_large_catalogue_is_sampled(view: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teaching, "MOST", 10)
    monkeypatch.setattr(teaching, "_BLOCK", 4)
    items = encoder._items(view)
    rows = teaching.drawn(items)
    assert len(rows) == 10
    names = [items.picture_ids[row] for row in rows]
    assert names == sorted(names, key=str)
    sizes = []
    real = teaching.train_clip

    def seen(pictures: np.ndarray, titles: list[str], *rest: object, **options: object) -> object:
        sizes.append(pictures.shape)
        shown = [titles[k] for k in range(10)]
        assert shown == [items.titles[row] for row in rows]
        return real(pictures, titles, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(teaching, "train_clip", seen)
    found = item_features(view, "unimp_tower", _context(tmp_path))
    assert sizes == [(10, 64, 64, 3)]
    assert int(found.present.sum()) == 19


def test_no_tower_is_one_line(view: Catalogue, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no tower; name a folder that `unimp-bench pretrain") as caught:
        item_features(view, f"unimp_tower:{tmp_path}", _context(tmp_path))
    assert "\n" not in str(caught.value)
    one = replace(view, items=view.items.with_columns(pl.when(pl.col("item_index") == 2).then("image_id")), origin=None)
    with pytest.raises(ConfigError, match="cannot learn from 1 pictures"):
        item_features(one, "unimp_tower", _context(tmp_path))
    gone = replace(view, images=())
    with pytest.raises(ConfigError, match="is named by an item but not there; build the dataset again"):
        item_features(gone, "unimp_tower", _context(tmp_path))
    assert UnimpError in encoder.Tower.errors


def test_it_knows_neither_the_toolkit_nor_polars() -> None:
    code = "import sys, unimp.encoder; print({'unimp_bench', 'polars'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
