"""Pictures of items as features: by the built-in descriptor, or from a file of anybody's encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_bench import descriptor
from unimp_bench.dataset import Catalogue
from unimp_bench.errors import ConfigError

Table = NDArray[np.float32]
BUILT_IN = descriptor.NAME


def described(view: Catalogue) -> tuple[list[str], Table]:
    """Items that have a picture, in order of `item_index`, and the descriptors of their pictures `(items, 64)`."""
    pictured = view.items.select("item_id", "image_id").drop_nulls()
    found = view.pictures(pictured["image_id"].to_list())
    pictured = pictured.filter(pl.col("image_id").is_in(list(found)))
    distinct = sorted(found)
    rows = descriptor.describe_all(found[image] for image in distinct)
    place = {image: k for k, image in enumerate(distinct)}
    order = [place[image] for image in pictured["image_id"].to_list()]
    return pictured["item_id"].to_list(), rows[order]


def read(path: Path, view: Catalogue) -> tuple[list[str], Table]:
    """The same from a file.

    A `.npy` file holds `(items, numbers)` in order of `item_index`; a Parquet file columns `item_id` and `features` (a
    list of numbers). An item whose picture the view lacks has none here either.

    Raises:
        ConfigError: the file cannot be read, is of another shape, or holds what is no number.
    """
    items = view.items["item_id"]
    try:
        if path.suffix == ".npy":
            table = np.load(path, allow_pickle=False)
            ids = items.to_list()
        else:
            frame = pl.read_parquet(path, columns=["item_id", "features"])
            ids, table = frame["item_id"].to_list(), np.array(frame["features"].to_list(), dtype=np.float32)
    except (OSError, ValueError, TypeError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"vip5: features={path} cannot be read ({reason}); see the docstring of VIP5") from None
    if table.ndim != 2 or len(table) != len(ids) or not np.issubdtype(table.dtype, np.number):
        raise ConfigError(f"vip5: features={path} has shape {table.shape}; wanted ({len(ids)} items, numbers)")
    if not np.isfinite(table).all():
        raise ConfigError(f"vip5: features={path} holds what is no finite number; make the file again")
    pictured = set(view.items.filter(pl.col("image_id").is_not_null())["item_id"].to_list())
    kept = [k for k, item in enumerate(ids) if item in pictured]
    return [ids[k] for k in kept], table[kept].astype(np.float32)


def features(view: Catalogue, path: Path | None) -> tuple[list[str], Table]:
    """Items with pictures and their features, from a file or by the descriptor."""
    return described(view) if path is None else read(path, view)


def scales(table: Table) -> tuple[Table, Table]:
    """Mean and spread of each number, both `(numbers,)`, of the catalogue that was learned from."""
    spread = table.std(0) if len(table) else np.ones(table.shape[1], dtype=np.float32)
    mean = table.mean(0) if len(table) else np.zeros(table.shape[1], dtype=np.float32)
    return mean.astype(np.float32), np.where(spread > 1e-6, spread, 1.0).astype(np.float32)
