"""Learning curves of the fits that the shown runs stand on, each fit once, whatever number of tasks it serves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from unimp_bench import curves
from unimp_bench.board import settings_hash
from unimp_bench.dataset import Dataset
from unimp_bench.places import Home
from unimp_bench.provenance import read_manifest
from unimp_bench.report.labels import Labels
from unimp_bench.report.values import plain
from unimp_bench.results import Record, records
from unimp_bench.tasks.spec import TASKS

POINTS = 200  # of one line, evenly taken; the first and the last always


def learning(home: Home, dataset: Dataset, board: pl.DataFrame, labels: Labels) -> list[dict[str, Any]]:
    """One entry a line: `runner`, `seed`, `tasks`, `truth`, `stage`, `name`, `steps` and `values`, null where unknown.

    Raises:
        IncompleteError: a curve cannot be read.
    """
    shown = set(board.select("runner", "parameters_hash", "runner_version").iter_rows())
    fits: dict[Path, list[Record]] = {}
    for run in records(home, dataset.name):
        asked = run.request
        key = (asked["runner"], settings_hash(asked), asked["runner_version"])
        if asked["limit"] is not None or asked["data_hash"] != dataset.data_hash or key not in shown:
            continue
        for name in run.manifest.inputs:
            if name.startswith("fits/"):
                fits.setdefault((home.root / name).parent, []).append(run)
    found = [line for folder, runs in fits.items() for line in _lines(folder, runs, labels)]
    return sorted(found, key=lambda line: (line["runner"], line["seed"]))  # stages stay in their order


def _lines(folder: Path, runs: list[Record], labels: Labels) -> list[dict[str, Any]]:
    path = folder / curves.NAME
    if not path.is_file():
        return []
    asked, fit = runs[0].request, read_manifest(folder)
    held_out = ", held-out domains" if fit is not None and fit.request["adapted_from"] else ""
    tasks = {run.request["task"] for run in runs}
    shared = {
        "runner": labels.name(asked["runner"], settings_hash(asked)),
        "seed": asked["seed"],
        "tasks": [task for task in TASKS if task in tasks],
        "truth": asked["reads_truth"],
    }
    parts = curves.read(path).partition_by("stage", "name", maintain_order=True)
    return [
        {
            **shared,
            "stage": f"{part['stage'][0]}{held_out}",
            "name": part["name"][0],
            "steps": thin["step"].to_list(),
            "values": [plain(value) for value in thin["value"]],
        }
        for part in parts
        for thin in [part[np.unique(np.linspace(0, part.height - 1, POINTS).round().astype(int)).tolist()]]
    ]
