"""What several baselines share: packages, blocks of examples, last items, positives a selection asks for, states."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_bench.dataset import Catalogue
from unimp_bench.errors import ConfigError, IncompleteError
from unimp_bench.runners.protocol import Context, TaskData

EVERY_COHORT = frozenset({"in_domain", "new_user", "new_domain"})
_CELLS = 1 << 24  # scores of a block: 64 MB


def require(who: str, how: str, *packages: str) -> None:
    """Refuse to begin where a package is not installed.

    Args:
        who: needs them.
        how: a command that brings them.
        packages: as they are imported.

    Raises:
        ConfigError: one is not there.
    """
    for package in packages:
        if find_spec(package) is None:
            raise ConfigError(f"{who} needs the package '{package}', which is not installed; {how}")


def require_torch(who: str) -> None:
    """Refuse to begin where PyTorch is not installed.

    Raises:
        ConfigError: it is not.
    """
    require(who, "pip install 'unimp-bench[models]'", "torch")


def device(who: str, gpu: bool) -> str:
    """Where a system that uses PyTorch computes.

    Raises:
        ConfigError: PyTorch is not installed.
    """
    require_torch(who)
    import torch

    return "cuda" if gpu and torch.cuda.is_available() else "cpu"


class LearnsNothing:
    """The part of a runner that has nothing to learn: three methods with nothing to do."""

    def fit(self, data: Mapping[str, TaskData], context: Context) -> None:
        """There is nothing to learn."""

    def save(self, folder: Path) -> None:
        """There is nothing to write."""

    def load(self, folder: Path) -> None:
        """There is nothing to read."""


def blocks(examples: pl.DataFrame, items: int) -> Iterator[pl.DataFrame]:
    """The examples in pieces whose scores of all items take 64 MB."""
    yield from examples.iter_slices(max(1, _CELLS // max(1, items)))


def past_items(examples: pl.DataFrame) -> pl.Series:
    """Item ids of each history, oldest first."""
    return examples.select(pl.col("history").list.eval(pl.element().struct.field("item_id"))).to_series()


def last_index(examples: pl.DataFrame, view: Catalogue) -> NDArray[np.int64]:
    """`item_index` of each history's last item `(examples,)`, -1 where there is none."""
    last = past_items(examples).list.last().to_list()
    return np.array([view.index.get(item, -1) if item is not None else -1 for item in last], dtype=np.int64)


def positives(data: TaskData) -> int:
    """How many candidates a selection of the train examples takes, as a rounded mean of at least 1."""
    mean = data.train.select(pl.col("item_ids").list.len().mean()).collect().item()
    return max(1, round(mean)) if mean is not None else 1


def best_candidates(examples: pl.DataFrame, strength: pl.DataFrame, count: int) -> pl.DataFrame:
    """The `count` strongest candidates of each example, in their order of strength; equal ones as they stand.

    `strength` has columns (example_id, item_id, strength), or (item_id, strength) if it is the same for all; a
    candidate that it does not name has strength 0.
    """
    keys = [name for name in ("example_id", "item_id") if name in strength.columns]
    # Candidates stand in seeded order, so "as they stand" favours nothing.
    long = (
        examples.select("example_id", pl.col("candidates").alias("item_id")).explode("item_id").with_row_index("place")
    )
    known = long.join(strength, on=keys, how="left").with_columns(pl.col("strength").fill_null(0.0).cast(pl.Float32))
    order = known.sort("example_id", "strength", "place", descending=[False, True, False])
    return order.group_by("example_id", maintain_order=True).agg(
        pl.col("item_id").head(count).alias("item_ids"), pl.col("strength").head(count).alias("scores")
    )


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Keep small learned things as `state.json`."""
    (folder / "state.json").write_text(json.dumps(state, indent=1, sort_keys=True) + "\n")


def read_state(folder: Path) -> dict[str, Any]:
    """What `write_state` kept.

    Raises:
        IncompleteError: it is not there or not whole.
    """
    try:
        state: dict[str, Any] = json.loads((folder / "state.json").read_text())
    except (OSError, ValueError):
        raise IncompleteError(f"{folder / 'state.json'} cannot be read; run again with --force") from None
    return state


def sealed_state(folder: Path, files: Sequence[str], **state: Any) -> None:
    """Write `state.json` with what was learned besides and the sums of the files that stand there."""
    sums = {name: sha256((folder / name).read_bytes()).hexdigest() for name in files}
    write_state(folder, {**state, "files": sums})


def opened_state(folder: Path, files: Sequence[str]) -> dict[str, Any]:
    """What `sealed_state` kept.

    Raises:
        IncompleteError: a file is not there or was changed.
    """
    state = read_state(folder)
    for name in files:
        path = folder / name
        if not path.is_file() or sha256(path.read_bytes()).hexdigest() != state["files"].get(name):
            raise IncompleteError(f"{path} is missing or was changed; run again with --force")
    return state
