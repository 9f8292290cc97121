"""Principal directions with a sign that does not hang on the library, and rows of length 1.

n rows, d columns, k directions
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import svds

from unimp_bench.features.protocol import Present, Values

Matrix = NDArray[np.float64]
WIDTH = 128  # most directions that are kept
_DENSE = 1 << 22  # cells of a matrix that is small enough for the exact decomposition
_LEAST = 1e-6  # of the largest singular value; what is smaller is rounding
_SHORT = 1e-6  # a row that is shorter says nothing about its direction


def directions(rows: Any, most: int = WIDTH) -> Matrix:
    """The leading right singular vectors `(d, k)` of a scipy sparse matrix `(n, d)`, k <= `most` and its rank."""
    n, d = rows.shape
    if min(n, d) == 0 or rows.nnz == 0:
        return np.zeros((d, 0))
    if n * d <= _DENSE or most >= min(n, d):
        _, sizes, vectors = np.linalg.svd(rows.toarray(), full_matrices=False)
    else:
        start = np.random.default_rng(0).random(min(n, d))  # ARPACK would draw its own
        _, sizes, vectors = svds(rows, k=most, v0=start)
        order = np.argsort(-sizes, kind="stable")
        sizes, vectors = sizes[order], vectors[order]
    kept = int((sizes[:most] > _LEAST * sizes[0]).sum())
    return signed(vectors[:kept].T)


def components(scatter: Matrix, most: int = WIDTH) -> Matrix:
    """The leading eigenvectors `(d, k)` of a scatter matrix `(d, d)`: right singular vectors of what it is made of."""
    squares, vectors = np.linalg.eigh(scatter)
    squares, vectors = squares[::-1], vectors[:, ::-1]
    kept = int((squares[:most] > _LEAST * max(squares[0], 0)).sum())
    return signed(vectors[:, :kept])


def signed(vectors: Matrix) -> Matrix:
    """The columns, each turned so that its entry of the largest size is positive; the first of equal ones counts."""
    if vectors.shape[1] == 0:
        return vectors
    sizes = np.abs(vectors)
    first = (sizes >= sizes.max(axis=0) * (1 - 1e-9)).argmax(axis=0)
    turned: Matrix = vectors * np.where(vectors[first, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)
    return turned


def unit(rows: NDArray[np.floating]) -> tuple[Values, Present]:
    """Rows `(n, k)` of length 1, and which had a length to speak of `(n,)`; the others become zeros."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    long = lengths > _SHORT
    values = np.where(long, rows / np.where(long, lengths, 1), 0).astype(np.float32)
    return values, long[:, 0]
