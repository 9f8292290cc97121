from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_models_and_rows_keep_what_their_docstrings_say(tmp_path: Path) -> None:
    # A process of its own: RecBole changes NumPy for all that share one with it.
    script = Path(__file__).with_name("model_script.py")
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "fine", done.stderr[-3000:]
