"""How often each rating was said where each was due: the confusion of the shown systems on rating tasks, by cohort."""

from __future__ import annotations

from typing import Any

import polars as pl

from unimp_bench import tables
from unimp_bench.dataset import CLEAN, Dataset
from unimp_bench.metrics.rating import confusion
from unimp_bench.places import Home
from unimp_bench.report.examples import speakers
from unimp_bench.report.labels import Labels
from unimp_bench.schemas import COHORTS, PREDICTIONS
from unimp_bench.tasks.spec import TASKS


def mistakes(home: Home, dataset: Dataset, board: pl.DataFrame, labels: Labels) -> list[dict[str, Any]]:
    """One entry a task, cohort and system: `counts`, a row a true rating 1-5 of six: said 1-5, and not answered.

    Raises:
        IncompleteError: a run's answers cannot be read.
    """
    found = []
    for task, spec in TASKS.items():
        first = board.filter(pl.col("task") == task, pl.col("metric") == spec.metric, pl.col("variant") == CLEAN)
        if spec.answer != "rating" or first.height == 0:
            continue
        asked = dataset.examples(task, "test").select("example_id", "cohort").collect()
        answers = asked.join(dataset.sealed_answers(task), on="example_id", how="inner")
        for speaker in speakers(home, dataset, task, labels, first):
            said = tables.read(speaker.run.folder / "predictions.parquet", PREDICTIONS["rating"])
            for cohort in COHORTS:
                due = answers.filter(pl.col("cohort") == cohort).join(said, on="example_id", how="semi")
                if due.height:
                    counts = confusion(due, said)["n"].to_list()
                    rows = [counts[start : start + 6] for start in range(0, len(counts), 6)]
                    found.append({"task": task, "cohort": cohort, "system": speaker.label, "counts": rows})
    return found
