from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from tests.shop import home_at
from unimp_bench.dataset import Catalogue, Dataset
from unimp_bench.features.thumbnail import Thumbnail, principal, shrunk
from unimp_bench.runners.protocol import Context


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    return Dataset.open(home_at(tmp_path_factory.mktemp("thumbnail") / "home"), "shop").catalogue()


def test_a_thumbnail_stands_on_a_white_square() -> None:
    tall = Image.new("RGB", (32, 64), (200, 10, 30))
    cells = shrunk([tall]).reshape(16, 16, 3)
    assert cells.dtype == np.uint8
    assert (cells[:, :3] == 255).all()
    assert (cells[:, 13:] == 255).all()
    assert (cells[:, 5:11] == [200, 10, 30]).all()


def test_directions_are_those_of_scikit_learn() -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    small = np.random.default_rng(0).integers(0, 256, (40, 768), dtype=np.uint8)
    mean, basis = principal(small)
    theirs = decomposition.PCA(svd_solver="full").fit(small / 255)
    ours = (small / 255 - mean) @ basis
    assert basis.shape == (768, 39)  # one is lost to the mean
    assert np.mean((ours**2).sum(axis=1)) == pytest.approx(1)
    placed = theirs.transform(small / 255)[:, :39]
    placed /= np.sqrt((placed**2).sum(axis=1).mean())
    assert np.allclose(np.abs(ours), np.abs(placed), atol=1e-6)


def test_colours_stand_in_their_order(view: Catalogue, tmp_path: Path) -> None:
    values, present = Thumbnail().encode(view, Context(0, tmp_path))
    assert values.shape[0] == 20
    assert 1 <= values.shape[1] <= 18
    ids = view.items["item_id"].to_list()
    assert [ids[row] for row in np.flatnonzero(~present)] == ["i03"]
    assert not values[~present].any()
    first = values[[ids.index(name) for name in sorted(ids) if name != "i03"], 0]
    assert (np.diff(first) > 0).all() or (np.diff(first) < 0).all()
    assert np.array_equal(values, Thumbnail().encode(view, Context(7, tmp_path))[0])


def test_exchanged_pictures_exchange_rows(view: Catalogue, tmp_path: Path) -> None:
    whole, _ = Thumbnail().encode(view, Context(0, tmp_path))
    turned = replace(view, items=view.items.with_columns(pl.col("image_id").reverse()))
    values, _ = Thumbnail().encode(turned, Context(0, tmp_path))
    assert np.array_equal(values, whole[::-1])
    one = replace(view, items=view.items.with_columns(pl.when(pl.col("item_index") == 2).then("image_id")))
    few, present = Thumbnail().encode(one, Context(0, tmp_path))
    assert np.flatnonzero(present).tolist() == [2]
    assert np.array_equal(few[2], whole[2])


def test_a_catalogue_without_its_pictures_has_zeros_of_the_same_width(view: Catalogue, tmp_path: Path) -> None:
    blank = replace(view, items=view.items.with_columns(pl.lit(None, dtype=pl.String).alias("image_id")))
    values, present = Thumbnail().encode(blank, Context(0, tmp_path))
    assert values.shape == Thumbnail().encode(view, Context(0, tmp_path))[0].shape
    assert not present.any()
    assert not values.any()
