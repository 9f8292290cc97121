"""Our feeding against RecBole's own pipeline (atomic files, its splitting and augmentation): one batch, one loss.

This file imports RecBole into the test's process, after the compatibility lines that the worker applies.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("parity_script.py")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec", "BPR"])
def test_the_same_batch_has_the_same_loss(tmp_path: Path, model: str) -> None:
    # A process of its own: RecBole changes NumPy for all that share one with it.
    done = subprocess.run(
        [sys.executable, str(SCRIPT), model], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    ours, theirs, rows = map(float, done.stdout.split()[-3:])
    assert rows > 20
    assert ours == pytest.approx(theirs, rel=1e-6)
