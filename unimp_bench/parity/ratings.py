"""Rating metrics by other libraries."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from unimp_bench.parity.samples import Sample


def by_sklearn(drawn: Sample) -> Iterator[tuple[str, float, float]]:
    """Both errors of the whole set."""
    from sklearn.metrics import mean_absolute_error, root_mean_squared_error

    yield "mae", float(mean_absolute_error(drawn.ratings, drawn.rated)), 1e-9
    yield "rmse", float(root_mean_squared_error(drawn.ratings, drawn.rated)), 1e-9


def by_torchmetrics(drawn: Sample) -> Iterator[tuple[str, float, float]]:
    """Both errors of the whole set; its sums are of single precision."""
    torch: Any = import_module("torch")
    functional: Any = import_module("torchmetrics.functional")
    said, truth = torch.from_numpy(drawn.rated), torch.from_numpy(drawn.ratings)
    yield "mae", float(functional.mean_absolute_error(said, truth)), 1e-6
    yield "rmse", float(functional.mean_squared_error(said, truth, squared=False)), 1e-6
