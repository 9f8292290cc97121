"""Can printed HR, NDCG and MRR come from one list of hits?

With one relevant item a user and a share a_r of users hit at rank r, HR@K = sum a_r, NDCG@K = sum a_r / log2(r + 1) and
MRR@K = sum a_r / r over r <= K. A row is feasible if some a >= 0 with sum <= 1 gives all its figures to within half a
unit of the last printed digit.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.optimize import linprog

ROUNDING = 5e-5


def _weights(metric: str, ranks: int) -> list[float] | None:
    """Weight of a hit at ranks 1 … `ranks` in a metric such as "ndcg@5"; None for another metric."""
    family, _, cut = metric.partition("@")
    rank = np.arange(1, ranks + 1)
    kinds = {"hr": np.ones(ranks), "ndcg": 1 / np.log2(rank + 1), "mrr": 1 / rank}
    if family not in kinds or not cut.isdigit():
        return None
    return [float(weight) for weight in np.where(rank <= int(cut), kinds[family], 0.0)]


def feasible(printed: Mapping[str, float]) -> bool | None:
    """Whether one list of hits can give all the figures; None where fewer than two of them are of ranking metrics."""
    ranks = max((int(name.partition("@")[2] or 0) for name in printed if "@" in name), default=0)
    known = {name: weights for name in printed if (weights := _weights(name, ranks)) is not None}
    if len(known) < 2:
        return None
    matrix = np.array(list(known.values()))
    target = np.array([printed[name] for name in known])
    limits = np.concatenate([target + ROUNDING, -(target - ROUNDING), [1.0]])
    rows = np.vstack([matrix, -matrix, np.ones((1, ranks))])
    # Solved in units of 1e-4, so that the solver's own tolerance is far below the rounding.
    outcome = linprog(np.zeros(ranks), A_ub=rows, b_ub=limits * 1e4, bounds=(0, None), method="highs")
    return bool(outcome.status == 0)
