"""Selection metrics by scikit-learn, which takes a choice for the labels of a sample."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from unimp_bench.parity.samples import ITEMS, Sample, Strings


def by_sklearn(drawn: Sample) -> Iterator[tuple[str, float, float]]:
    """Averages over users ("samples"), over all choices ("micro"), and the share of exact ones."""
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    def labels(sets: Strings) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
        matrix = np.zeros((len(sets), ITEMS), dtype=np.int64)
        for row, items in enumerate(sets):
            matrix[row, [int(item[1:]) for item in items]] = 1
        return matrix

    right, chosen = labels(drawn.right), labels(drawn.chosen)
    for prefix, average in (("", "samples"), ("micro_", "micro")):
        found = precision_recall_fscore_support(right, chosen, average=average, zero_division=0)
        for name, value in zip(("precision", "recall", "f1"), found, strict=False):
            yield prefix + name, float(value), 1e-9
    yield "exact_match", float(accuracy_score(right, chosen)), 1e-9
