"""From p-values of all pairs to what a table may say about rank: Holm's correction, tiers and compact letters."""

from __future__ import annotations

import string
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.05  # chance that a table separates any two systems that are alike

_LETTERS = string.ascii_lowercase + string.ascii_uppercase


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """P-values `(k, k)` of all k (k - 1) / 2 pairs, corrected together; symmetric, the diagonal is 1.

    Holm (1979): the i-th smallest of m is multiplied by m - i + 1, and none is smaller than one before it.
    """
    k = len(p)
    rows, columns = np.triu_indices(k, 1)
    of_pairs = p[rows, columns]
    order = np.argsort(of_pairs, kind="stable")
    stepped = np.maximum.accumulate(of_pairs[order] * np.arange(len(order), 0, -1)).clip(max=1.0)
    corrected = np.ones((k, k))
    corrected[rows[order], columns[order]] = corrected[columns[order], rows[order]] = stepped
    return corrected


def order(values: Sequence[float], higher_is_better: bool) -> list[int]:
    """Indices of the values, best first; equal ones stay in their order."""
    return sorted(range(len(values)), key=lambda i: -values[i] if higher_is_better else values[i])


def tiers(separated: NDArray[np.bool_]) -> list[int]:
    """Tier of each system, best first, counted from 1.

    A system shares the tier of the one above it unless the test separates it from that tier's best, which then opens
    the next. So a tier says: nobody here is shown to be worse than the best here.

    Args:
        separated: `(k, k)`, systems in the order of their values.
    """
    found: list[int] = []
    best = 0
    for system in range(len(separated)):
        if separated[best, system]:
            best = system
            found.append(found[-1] + 1)
        else:
            found.append(found[-1] if found else 1)
    return found


def letters(separated: NDArray[np.bool_]) -> list[str]:
    """Compact letter display: two systems share a letter exactly if the test does not separate them.

    Insert and absorb (Piepho 2004): start with one letter for all; a separated pair splits each letter that both have;
    a letter whose bearers all bear another one goes.

    Args:
        separated: `(k, k)`, systems in the order of their values; the best has the letter a.
    """
    k = len(separated)
    groups = [(1 << k) - 1] if k else []  # bit i: system i bears the letter
    for left, right in combinations(range(k), 2):
        both = 1 << left | 1 << right
        if not separated[left, right] or not any(group & both == both for group in groups):
            continue
        split: list[int] = []
        for group in groups:
            split += [group & ~(1 << left), group & ~(1 << right)] if group & both == both else [group]
        distinct = list(dict.fromkeys(split))
        groups = [g for g in distinct if not any(g != other and g & other == g for other in distinct)]
    groups.sort(key=lambda group: [i for i in range(k) if group >> i & 1])
    names = [_LETTERS[i] if i < len(_LETTERS) else f"({i + 1})" for i in range(len(groups))]
    return ["".join(name for name, group in zip(names, groups, strict=True) if group >> i & 1) for i in range(k)]
