"""What RecBole 1.2.1 needs to run beside NumPy 2 and SciPy 1.17. Imported by the worker alone, before RecBole.

`ray` is asked for by `recbole.quick_start` only, and checkpoints of RecBole's making (pickles, which PyTorch 2.6 no
longer opens) are neither written nor read here, so nothing has to be done about either.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from scipy.sparse import dok_matrix

# Removed in NumPy 2.0; RecBole's Config makes `numpy.float` and the like from them.
_GONE = {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}


def apply() -> None:
    """Make the process one in which RecBole can be imported."""
    for name, kind in _GONE.items():
        if not hasattr(np, name):
            setattr(np, name, kind)
    if not hasattr(dok_matrix, "_update"):
        dok_matrix._update = _update
    sys.argv[1:] = []  # Config takes `--key=value` from there, over what it is given


def _update(matrix: Any, entries: dict[tuple[int, int], float]) -> None:
    """Set entries of a dictionary-of-keys matrix unchecked, as SciPy did before 1.13; LightGCN's graph needs it."""
    matrix._dict.update(entries)


def silence_tensorboard() -> None:
    """Write no event files: the learning curve goes to the runner's context."""
    from recbole.trainer import trainer

    trainer.get_tensorboard = lambda logger: _Nothing()


class _Nothing:
    def add_scalar(self, *values: object) -> None:
        """Nothing."""

    def add_hparams(self, *values: object) -> None:
        """Nothing."""
