"""Writing the task folders: whole users at a time, so that memory does not grow with the dataset."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from unimp_bench import tables
from unimp_bench.config import BuildConfig
from unimp_bench.progress import Progress
from unimp_bench.schemas import ANSWERS, EXAMPLES, LABELLED_EXAMPLES
from unimp_bench.tasks.building import Builder, Settings
from unimp_bench.tasks.spec import TASKS
from unimp_bench.tasks.styles import PROMPTS_VERSION

_ROWS_A_CHUNK = 200_000


def write_tasks(
    folder: Path, interactions: pl.DataFrame, items: pl.DataFrame, config: BuildConfig, progress: Progress
) -> dict[str, Any]:
    """Write examples and answers of every task the source can yield.

    Returns the facts `tasks`, `skipped_tasks` and `item_text` (label and source of every field of an item's text).
    `interactions` has the columns of `schemas.SEALED_INTERACTIONS`, `items` those of `schemas.ITEMS`.
    """
    settings = Settings(
        seed=config.seed,
        history=config.history,
        long_history=config.long_history,
        prompts=str(config.prompts),
        query=str(config.query),
        n_candidates=config.candidates,
        hardness=config.hardness,
        lean=config.lean,
    )
    builder = Builder(items, settings, config.new_domains)
    done: dict[str, Any] = {}
    said = interactions.select("rating", "explanation").count()
    skipped = builder.missing(*said.row(0))
    for task, reason in skipped.items():
        progress.say(f"no {task}: {reason}")
    for task in TASKS:
        if task in skipped:
            continue
        rows = _write_task(folder, task, builder, interactions, progress)
        done[task] = {
            "version": TASKS[task].version,
            "prompts": f"{settings.prompts}-{PROMPTS_VERSION}",
            "rows": rows,
        }
    item_text = [[field.label, field.source] for field in builder.fields]
    return {"tasks": done, "skipped_tasks": skipped, "item_text": item_text}


def _write_task(
    folder: Path, task: str, builder: Builder, interactions: pl.DataFrame, progress: Progress
) -> dict[str, int]:
    visible, sealed = folder / "visible/tasks" / task, folder / "sealed/tasks" / task
    with ExitStack() as stack:
        files = {
            "train": stack.enter_context(tables.writing(visible / "train.examples.parquet", LABELLED_EXAMPLES)),
            "valid": stack.enter_context(tables.writing(visible / "valid.examples.parquet", LABELLED_EXAMPLES)),
            "test": stack.enter_context(tables.writing(visible / "test.examples.parquet", EXAMPLES)),
        }
        answers = stack.enter_context(tables.writing(sealed / "test.answers.parquet", ANSWERS))
        progress.start(f"task {task}", interactions.height)
        for chunk in whole_users(interactions):
            for split, file in files.items():
                frame = builder.examples(task, split, chunk)
                file.append(frame)
                if split == "test":
                    answers.append(frame)
            progress.advance(chunk.height)
        progress.finish()
        return {split: file.rows for split, file in files.items()}


def whole_users(interactions: pl.DataFrame, rows: int = _ROWS_A_CHUNK) -> Iterator[pl.DataFrame]:
    """Chunks of about `rows` rows that hold whole users, in the order of `user_id + ":"`.

    That is the order of example ids, which start so; it differs from the order of user ids where one is a prefix of
    another.
    """
    users = interactions.group_by("user_id").len().sort(pl.col("user_id") + ":")
    ends = users["len"].cum_sum().to_numpy()
    chunk = pl.Series("_chunk", (ends - users["len"].to_numpy()) // rows, dtype=pl.Int64)
    numbered = interactions.join(users.with_columns(chunk).select("user_id", "_chunk"), on="user_id", how="left")
    for number in np.unique(chunk.to_numpy()):
        part = numbered.filter(pl.col("_chunk") == number).drop("_chunk")
        yield part.sort("user_id", "position")
