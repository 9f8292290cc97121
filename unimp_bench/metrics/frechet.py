"""FID: the Fréchet distance of two sets of descriptors, each taken for a normal distribution (Heusel et al. 2017).

FID = |m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)), with means m and covariances C (divided by n - 1). It is biased
upwards by about 1/n, so it is computed only where n is at least ten times the width of the descriptor; below, see KID.

Shares (see `shares`) come from the derivatives. With d = m_x - m_y and T = C_y^(1/2) (C_y^(1/2) C_x C_y^(1/2))^(-1/2)
C_y^(1/2), the linear map that carries C_x to C_y, that in C_x is I - T (Gelbrich 1990; Takatsu 2011), so

    c_i = FID + 2 d.(x_i - m_x) + (x_i - m_x)' (I - T) (x_i - m_x) - tr((I - T) C_x) + the same for y with -d and T^-1.

The interval tells how much FID at this n varies, not how far it lies above that of endless samples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unimp_bench.metrics.pairs import Values

TIMES_WIDTH = 10


def _root(matrix: Values, power: float) -> Values:
    """A power of a symmetric matrix without negative eigenvalues; directions of (nearly) none are left out."""
    values, vectors = np.linalg.eigh(matrix)
    kept = values > max(values[-1], 0) * len(values) * np.finfo(float).eps
    found: Values = (vectors[:, kept] * values[kept] ** power) @ vectors[:, kept].T
    return found


def _quadratic(centred: Values, matrix: Values) -> Values:
    """The form x' M x for each row, minus its mean, so that the shares' mean is not moved."""
    found: Values = np.einsum("ij,jk,ik->i", centred, matrix, centred, optimize=True)
    found -= found.mean()
    return found


def fid_shares(generated: NDArray[np.floating], real: NDArray[np.floating]) -> Values:
    """Each example's share `(n,)` of the FID of two sets of descriptors `(n, d)`; NaN where n < 10 d."""
    x, y = generated.astype(np.float64), real.astype(np.float64)
    n, width = x.shape
    if n < TIMES_WIDTH * width:
        return np.full(n, np.nan)
    apart = x.mean(axis=0) - y.mean(axis=0)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    of_x, of_y = x.T @ x / (n - 1), y.T @ y / (n - 1)
    half, half_x = _root(of_y, 0.5), _root(of_x, 0.5)
    middle = half @ of_x @ half
    crossed = np.sqrt(np.linalg.eigvalsh((middle + middle.T) / 2).clip(min=0)).sum()  # tr (C_x C_y)^(1/2)
    value = apart @ apart + np.trace(of_x) + np.trace(of_y) - 2 * crossed
    there = half @ _root((middle + middle.T) / 2, -0.5) @ half
    other = half_x @ of_y @ half_x
    back = half_x @ _root((other + other.T) / 2, -0.5) @ half_x
    identity = np.eye(width)
    shares = value + 2 * (x - y) @ apart + _quadratic(x, identity - there) + _quadratic(y, identity - back)
    # BLAS adds in another order on another number of threads; under roots that noise grows to the 8th decimal.
    rounded: Values = np.round(shares, 6)
    return rounded
