"""KID and FID of the same random descriptors by other libraries' formulas."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np

from unimp_bench.parity.samples import Sample


def by_sklearn(drawn: Sample) -> Iterator[tuple[str, float, float]]:
    """KID from the whole kernel matrices; ours rounds an example's share to nine digits."""
    from sklearn.metrics.pairwise import polynomial_kernel

    def kernel(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        matrix: np.ndarray = polynomial_kernel(left, right, degree=3, gamma=1 / left.shape[1], coef0=1)
        return matrix

    within = 0.0
    for points in (drawn.generated, drawn.real):
        matrix = kernel(points, points)
        within += float(matrix.sum() - np.trace(matrix)) / (len(points) * (len(points) - 1))
    yield "kid", within - 2 * float(kernel(drawn.generated, drawn.real).mean()), 1e-9


def by_scipy(drawn: Sample) -> Iterator[tuple[str, float, float]]:
    """FID by the general matrix square root; ours rounds an example's share to six digits."""
    from scipy.linalg import sqrtm

    left, right = (np.cov(points, rowvar=False) for points in (drawn.generated, drawn.real))
    gap = drawn.generated.mean(axis=0) - drawn.real.mean(axis=0)
    root = np.real(sqrtm(left @ right))
    yield "fid", float(gap @ gap + np.trace(left) + np.trace(right) - 2 * np.trace(root)), 1e-6


def by_torchmetrics(drawn: Sample) -> Iterator[tuple[str, float, float]]:
    """Its formulas, without its Inception network."""
    torch: Any = import_module("torch")
    fid: Any = import_module("torchmetrics.image.fid")
    kid: Any = import_module("torchmetrics.image.kid")
    generated, real = torch.from_numpy(drawn.generated), torch.from_numpy(drawn.real)
    yield "kid", float(kid.poly_mmd(generated, real)), 1e-9
    moments = [(points.mean(dim=0), torch.cov(points.T)) for points in (generated, real)]
    yield "fid", float(fid._compute_fid(*moments[0], *moments[1])), 1e-6
