from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from unimp_bench.features import projection
from unimp_bench.features.projection import components, directions, signed, unit


def test_signs_hang_on_the_largest_entry() -> None:
    turned = signed(np.array([[0.1, -0.6, -0.5], [-0.9, 0.2, 0.5]]))
    assert turned.tolist() == [[-0.1, 0.6, 0.5], [0.9, -0.2, -0.5]]
    assert signed(np.zeros((3, 0))).shape == (3, 0)


def test_directions_stop_at_the_rank() -> None:
    rows = csr_matrix(np.array([[3.0, 0, 0], [0, 2, 0], [6, 0, 0]]))
    assert np.allclose(directions(rows), [[1, 0], [0, 1], [0, 0]])
    assert directions(rows, most=1).shape == (3, 1)
    assert directions(csr_matrix((4, 3))).shape == (3, 0)
    assert directions(csr_matrix((4, 0))).shape == (0, 0)


def test_sparse_and_exact_directions_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    dense = np.random.default_rng(1).random((60, 40)) * (np.random.default_rng(2).random((60, 40)) < 0.2)
    exact = directions(csr_matrix(dense), most=5)
    monkeypatch.setattr(projection, "_DENSE", 0)
    sparse = directions(csr_matrix(dense), most=5)
    assert np.array_equal(sparse, directions(csr_matrix(dense), most=5))
    assert np.allclose(exact, sparse, atol=1e-6)
    assert np.allclose(exact, components(dense.T @ dense, most=5), atol=1e-6)


def test_unit_rows() -> None:
    values, long = unit(np.array([[3.0, 4.0], [0.0, 0.0], [1e-9, 0.0]]))
    assert values.dtype == np.float32
    assert np.allclose(values, [[0.6, 0.8], [0, 0], [0, 0]])
    assert long.tolist() == [True, False, False]
