from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from unimp_bench.metrics import closeness
from unimp_bench.metrics.closeness import gains, nearest, partners, similarity


def points(*values: float) -> np.ndarray:
    """Descriptors of one number everywhere: their similarity is 1 - |a - b| / 2."""
    return np.repeat(np.array(values)[:, None], 64, axis=1)


def test_similarity_goes_from_0_to_1() -> None:
    assert similarity(points(1, 0, 0.5), points(-1, 0, 0)) == pytest.approx([0, 1, 0.75])


@pytest.mark.parametrize("block", [1024, 2])
def test_the_nearest_is_found_and_a_copy_is_at_distance_0(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closeness, "_BLOCK", block)
    rng = np.random.default_rng(0)
    among, asked = rng.normal(size=(40, 64)).astype(np.float32), rng.normal(size=(9, 64)).astype(np.float32)
    asked[3] = among[17]
    best, distance = nearest(asked, among)
    plain = np.linalg.norm(asked[:, None] - among[None], axis=2) / 16
    assert best.tolist() == plain.argmin(axis=1).tolist()
    assert distance == pytest.approx(plain.min(axis=1), abs=1e-6)
    assert (best[3], distance[3]) == (17, 0)


def test_nobody_is_their_own_partner_whatever_the_order_of_rows() -> None:
    ids = pl.Series([f"u{n}" for n in range(50)])
    partner = partners(ids)
    assert sorted(partner.tolist()) == list(range(50))
    assert (partner != np.arange(50)).all()
    mixed = ids.sample(fraction=1, shuffle=True, seed=1)
    again = dict(zip(mixed.to_list(), mixed.gather(partners(mixed)).to_list(), strict=True))
    assert again == dict(zip(ids.to_list(), ids.gather(partner).to_list(), strict=True))


def test_gain_is_closeness_to_the_own_history_over_anothers() -> None:
    said = points(1, 0, 1, 1)
    histories = [points(1, 0), points(1), points(1), points()]
    partner, answered = np.array([1, 0, 3, 2]), np.array([True, True, True, True])
    # The first: own (1 + 0.5) / 2, the other's 1. The second: own 0.5, the other's (0.5 + 1) / 2.
    assert gains(said, histories, partner, answered) == pytest.approx([-0.25, -0.25, 0, 0])
    assert gains(said, histories, partner, ~answered) == pytest.approx([0, 0, 0, 0])
