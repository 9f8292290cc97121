"""How a run ends, whoever answered: its answers scored, and everything written that makes its folder whole."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from unimp_bench import scoring, tables
from unimp_bench.dataset import Dataset
from unimp_bench.meter import Logged, now
from unimp_bench.metrics.pairs import Models
from unimp_bench.places import atomic
from unimp_bench.provenance import Manifest, digest, sha256
from unimp_bench.schemas import SCORES

_OUTPUTS = ("run.json", "log.txt", "predictions.parquet", "scores.parquet", "metrics.json")
_SOMETIMES = ("permuted.parquet", "trials.json")  # answers of a second round; what a budget was spent on


def finish(
    folder: Path,
    request: Mapping[str, Any],
    data: Dataset,
    progress: Logged,
    answered: pl.DataFrame,
    examples: pl.DataFrame,
    models: Models,
    *,
    seconds: Mapping[str, float],
    facts: Mapping[str, Any],
    inputs: Mapping[str, str],
    permuted: pl.DataFrame | None = None,
) -> None:
    """Score the answers and write what is left of a run's folder, manifest last.

    `run.json`, `predictions.parquet` and `log.txt` are there already, and `permuted.parquet` where `permuted` is given;
    `request` names runner and task.
    """
    started, task = time.monotonic(), request["task"]
    progress.start(f"scoring {request['runner']} on {task}", examples.height, "examples")
    scored = scoring.score_predictions(data, task, answered, examples, models=models, permuted=permuted)
    progress.advance(examples.height)
    progress.finish()
    tables.write(scored.scores, folder / "scores.parquet", SCORES)
    with atomic(folder / "metrics.json") as draft:
        found = {"metrics": scored.metrics.to_dicts(), "not_computed": scored.not_computed}
        draft.write_text(json.dumps(found, indent=1) + "\n")
    Manifest(
        "run",
        digest(request),
        request,
        inputs=inputs,
        outputs={name: sha256(folder / name) for name in _written(folder)},
        rows={"predictions.parquet": answered.height, "scores.parquet": scored.scores.height},
        facts={**facts, **scoring.basis(task, models)},
        seconds={**seconds, "score": round(time.monotonic() - started, 3)},
        created=now(),
    ).write(folder)


def _written(folder: Path) -> list[str]:
    return [*_OUTPUTS, *(name for name in _SOMETIMES if (folder / name).is_file())]
