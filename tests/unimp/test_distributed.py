from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.unimp import learning_shop, training_runs, two_processes
from unimp import loading

ROOT = Path(__file__).parents[2]


def _reference(folder: Path, monkeypatch) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """One process that learns from two batches a step, cut as for two."""
    plain = loading.steps_of

    def for_two(rows, epoch, draw, share, accumulate):
        assert (share, accumulate) == (1, 2)
        return plain(rows, epoch, draw, 2, 1)

    monkeypatch.setattr("unimp.training.steps_of", for_two)
    some = np.zeros(learning_shop.ITEMS, dtype=bool)
    some[1] = True
    recipe = two_processes.RECIPE.__class__(**{**two_processes.RECIPE.__dict__, "accumulate": 2})
    kwargs = {"rows": learning_shop.rows(tokens=150), "has_picture": some}
    model, outcome = training_runs.run(folder, recipe, **kwargs)
    return training_runs.weights(model), outcome.history


@pytest.mark.slow
def test_two_processes_learn_what_one_does_and_read_every_row_once(tmp_path: Path, monkeypatch) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    launch += ["-m", "tests.unimp.two_processes", str(tmp_path)]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "models"), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(launch, cwd=ROOT, env=env, capture_output=True, text=True, timeout=85, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = [json.loads((tmp_path / f"rows-{rank}.json").read_text()) for rank in (0, 1)]
    rows = learning_shop.rows()
    for epoch in (0, 1):
        read = [sorted(n for e, *ns in one["seen"] if e == epoch for n in ns) for one in told]
        assert sorted(read[0] + read[1]) == list(range(len(rows)))
        assert read[0] and read[1]
    weights = [load_file(str(tmp_path / f"weights-{rank}")) for rank in (0, 1)]
    assert training_runs.differing(*weights) == []
    assert [epoch["rank"] for epoch in told[1]["history"]] == [0.0, 0.0]  # the first process's metrics count
    # Epoch 0's weights are the better ones by that metric; the curve of both epochs is compared.
    _, history = _reference(tmp_path / "one", monkeypatch)
    for one, two in zip(history, told[0]["history"], strict=True):
        assert {name: value for name, value in two.items() if name != "rank"} == pytest.approx(one, rel=1e-4)


def test_batches_are_dealt_out_to_exactly_one_process_each() -> None:
    steps = loading.steps_of(learning_shop.rows(), 1, 1, 3, 2)
    dealt = [[loading.own(step, rank, 3) for step in steps] for rank in range(3)]
    assert len({tuple(len(own) for own in of) for of in dealt}) == 1  # equally many for all
    read = sorted(n for of in dealt for own in of for _, numbers, idle in own if not idle for n in numbers)
    assert read == list(range(len(learning_shop.rows())))
    ragged = loading.own([(0, [5]), (1, [6]), (2, [7])], 1, 2)
    assert ragged == [(1, [6], False), (2, [7], True)]
