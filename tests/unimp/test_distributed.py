"""Two processes learn what one does: each with a copy of the model (DDP), or each with a share of it (FSDP2)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.unimp import learning_shop, training_runs, two_processes
from tests.unimp.launched import launch
from unimp import loading
from unimp.published import load_model


def told(folder: Path) -> tuple[list[dict[str, list]], list[dict[str, torch.Tensor]]]:
    """What each process of a launch saw, and its weights."""
    seen = [json.loads((folder / f"rows-{rank}.json").read_text()) for rank in (0, 1)]
    return seen, [load_file(str(folder / f"weights-{rank}")) for rank in (0, 1)]


def _reference(folder: Path, monkeypatch) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """One process that learns from two batches a step, cut as for two."""
    plain = loading.steps_of

    def for_two(rows, epoch, draw, share, accumulate):
        assert (share, accumulate) == (1, 2)
        return plain(rows, epoch, draw, 2, 1)

    monkeypatch.setattr("unimp.training.steps_of", for_two)
    some = np.zeros(learning_shop.ITEMS, dtype=bool)
    some[1] = True
    recipe = replace(two_processes.RECIPE, accumulate=2)
    kwargs = {"rows": learning_shop.rows(tokens=150), "has_picture": some}
    # The first process's metric takes the weights of the first epoch.
    kwargs |= {"validate": lambda _: {"rank": 0.0}, "select": "rank", "higher": False}
    model, outcome = training_runs.run(folder, recipe, **kwargs)
    return training_runs.weights(model), outcome.history


@pytest.mark.slow
@pytest.mark.parametrize("how", ["copies", "shares"])
def test_two_processes_learn_what_one_does_and_read_every_row_once(tmp_path: Path, monkeypatch, how: str) -> None:
    launch("tests.unimp.two_processes", str(tmp_path), how)
    seen, weights = told(tmp_path)
    rows = learning_shop.rows()
    for epoch in (0, 1):
        read = [sorted(n for e, *ns in one["seen"] if e == epoch for n in ns) for one in seen]
        assert sorted(read[0] + read[1]) == list(range(len(rows)))
        assert read[0] and read[1]
    assert training_runs.differing(*weights) == []
    assert [epoch["rank"] for epoch in seen[1]["history"]] == [0.0, 0.0]  # the first process's metrics count
    assert [epoch["whole"] for epoch in seen[0]["history"]] == [epoch["whole"] for epoch in seen[1]["history"]]
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 1  # one process writes
    one, history = _reference(tmp_path / "one", monkeypatch)
    for alone, two in zip(history, seen[0]["history"], strict=True):
        assert {name: value for name, value in two.items() if name != "whole"} == pytest.approx(alone, rel=1e-4)
    start = learning_shop.model().state_dict()
    away = torch.cat([(weights[0][name] - value).abs().flatten() for name, value in one.items()])
    assert training_runs.rounded_only(away, two_processes.RECIPE.lr)
    learned = {name for name, value in one.items() if not torch.equal(value, start[name])}
    assert learned == {name for name, value in weights[0].items() if not torch.equal(value, start[name])}
    if how == "shares":
        saved = load_model(tmp_path / "saved", items=learning_shop.ITEMS)
        changed = training_runs.differing(weights[0], training_runs.weights(saved))
        assert changed == ["head.new.weight"]  # what learned afterwards, in a stage of its own


@pytest.mark.slow
def test_shares_that_are_stopped_and_go_on_equal_those_that_are_not(tmp_path: Path) -> None:
    launch("tests.unimp.two_processes", str(tmp_path / "whole"), "shares")
    with pytest.raises(Exception, match="KilledError"):
        launch("tests.unimp.two_processes", str(tmp_path / "parts"), "shares", "killed")
    assert not (tmp_path / "parts" / "rows-0.json").exists()
    assert list((tmp_path / "parts" / "run").glob("checkpoint-*"))
    launch("tests.unimp.two_processes", str(tmp_path / "parts"), "shares")
    (straight, whole), (resumed, again) = told(tmp_path / "whole"), told(tmp_path / "parts")
    assert training_runs.differing(whole[0], again[0]) == []
    assert straight[0]["history"] == resumed[0]["history"]
    assert len(resumed[0]["seen"]) < len(straight[0]["seen"])  # it did go on, not begin anew


def test_batches_are_dealt_out_to_exactly_one_process_each() -> None:
    steps = loading.steps_of(learning_shop.rows(), 1, 1, 3, 2)
    dealt = [[loading.own(step, rank, 3) for step in steps] for rank in range(3)]
    assert len({tuple(len(own) for own in of) for of in dealt}) == 1  # equally many for all
    read = sorted(n for of in dealt for own in of for _, numbers, idle in own if not idle for n in numbers)
    assert read == list(range(len(learning_shop.rows())))
    ragged = loading.own([(0, [5]), (1, [6]), (2, [7])], 1, 2)
    assert ragged == [(1, [6], False), (2, [7], True)]
