"""Finished runs made by hand, so that tests say what every example scored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_bench import tables
from unimp_bench.metrics.spec import METRICS
from unimp_bench.places import Home
from unimp_bench.provenance import Manifest, digest, sha256
from unimp_bench.schemas import SCORES

Scores = Mapping[str, NDArray[np.float64]]  # by metric, of one cohort


def write_run(
    home: Home,
    runner: str,
    scores: Scores | pl.DataFrame,
    *,
    task: str = "search",
    cohort: str = "in_domain",
    seed: int = 0,
    ids: list[str] | None = None,
    **request: Any,
) -> Path:
    """A run folder with these values per example; examples are e00000, e00001, … unless named."""
    if isinstance(scores, pl.DataFrame):
        frame = scores
    else:
        frame = pl.concat(
            pl.DataFrame(
                {
                    "example_id": ids or [f"e{i:05d}" for i in range(len(values))],
                    "metric": [metric] * len(values),
                    "cohort": [cohort] * len(values),
                    "value": values,
                },
                schema=dict(SCORES.columns),
            )
            for metric, values in scores.items()
        )
    asked = {
        **{"kind": "run", "dataset": "shop", "dataset_id": "d", "data_hash": "h", "split_hash": "abcdef0123456789"},
        **{"protocol": "paper", "variant": "clean", "task": task, "task_version": 1, "runner": runner},
        **{"runner_version": 1, "reads_truth": False, "parameters": {}, "seed": seed, "limit": None},
        **request,
    }
    folder = home.run(str(asked["dataset"]), task, runner, digest(asked))
    tables.write(frame, folder / "scores.parquet", SCORES)
    metrics = []
    for (metric, of_cohort), part in frame.group_by("metric", "cohort", maintain_order=True):
        found = METRICS[str(metric)].interval(part["value"].drop_nulls().to_numpy(), seed=0)
        metrics.append(
            {
                **{"metric": metric, "slice": of_cohort, "value": found.value, "low": found.low, "high": found.high},
                **{"n": part.height, "unanswered": 0},
            }
        )
    (folder / "metrics.json").write_text(json.dumps({"metrics": metrics, "not_computed": {}}))
    versions = {str(metric): METRICS[str(metric)].version for metric in frame["metric"].unique()}
    Manifest(
        "run",
        folder.name,
        asked,
        outputs={"scores.parquet": sha256(folder / "scores.parquet")},
        facts={"metrics": versions, "peak_megabytes": 100.0, "device": "cpu"},
        seconds={"fit": 1.0, "predict": 2.0},
        created="2026-01-01T00:00:00+00:00",
    ).write(folder)
    return folder
