"""`python -m unimp.predict --model FOLDER --data data/NAME --task search --out FILE`: answers without the toolkit.

The Parquet file is what `unimp-bench score FILE --dataset NAME --task search` reads. Rankings leave out what the user
has, and hold the catalogue of the example's cohort only: a held-out domain's items for its users, all others for
everybody else.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from unimp import folders
from unimp.answering import Answering
from unimp.disk import writing
from unimp.errors import UnimpError
from unimp.processes import Processes
from unimp.retrieval import MOST_SCORES
from unimp.shop import TASKS, Example
from unimp.system import System
from unimp.train import ADAPTED

LISTED = 100  # items of a ranking
BLOCK = 1000  # examples answered together, fewer where the catalogue is large
PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def answers(answering: Answering, task: str, examples: Sequence[Example], shown: NDArray[np.bool_]) -> dict[str, Any]:
    """Columns of the answers to some examples; `shown` `(items,)` are items that may be ranked."""
    names = answering.system.item_ids
    if task in ("recommendation", "search"):
        scores = answering.ranking(task, examples)
        scores[:, ~shown] = -np.inf
        for row, example in enumerate(examples):
            scores[row, example.history] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, :LISTED]
        lists = [[k for k in row if np.isfinite(scores[n, k])] for n, row in enumerate(best)]
        return {
            "item_ids": pa.array([[names[k] for k in row] for row in lists], pa.list_(pa.string())),
            "scores": pa.array(
                [[float(scores[n, k]) for k in row] for n, row in enumerate(lists)], pa.list_(pa.float32())
            ),
        }
    if task == "preference":
        return {"rating": pa.array(answering.ratings(examples), pa.float32())}
    if task == "explanation":
        return {"text": pa.array(answering.explanations(examples), pa.string())}
    if task == "selection":
        chosen, each = answering.selections(examples)
        picked = [[names[e.candidates[k]] for k in places] for e, places in zip(examples, chosen, strict=True)]
        worth = [[float(s[k]) for k in places] for s, places in zip(each, chosen, strict=True)]
        return {
            "item_ids": pa.array(picked, pa.list_(pa.string())),
            "scores": pa.array(worth, pa.list_(pa.float32())),
        }
    drawn = [None if picture is None else {"bytes": picture, "path": None} for picture in answering.pictures(examples)]
    return {"image": pa.array(drawn, PICTURE)}


def predict(model: Path, data: Path, task: str, out: Path, seed: int = 0) -> int:
    """Answer a task's test examples; how many there were.

    Raises:
        UnimpError: no such task in the dataset, no place for the answers, a dataset that is not whole, or several
            processes.
        CheckpointError: a system that is not whole or of another catalogue.
    """
    if Processes.here().count > 1:
        raise UnimpError("answers are given by one process; start unimp.predict without a launcher")
    out = out.resolve()
    if not out.parent.is_dir():
        raise UnimpError(f"{out.parent} is no folder; make it before answers are written there")
    if out.is_dir():
        raise UnimpError(f"{out} is a folder; name a file for the answers, {out / (task + '.parquet')} for example")
    if seed < 0:
        raise UnimpError(f"seed={seed}; wanted 0 or more")
    held_out_domains, items = folders.facts_of(data)["new_domains"], folders.catalogue_of(data)
    examples = folders.questions_of(data, task, items)
    if not examples:
        raise UnimpError(f"{data} asks nothing of task {task}; choose another")
    held_out = np.isin(np.array(items.domains), held_out_domains)
    tables = []
    with tempfile.TemporaryDirectory() as scratch:
        for new in (False, True):
            asked = [e for e in examples if (e.cohort == folders.NEW_DOMAIN) is new]
            folder = model / ADAPTED if new and (model / ADAPTED).is_dir() else model
            if not asked:
                continue
            answering = Answering(_that_learned(task, System.load(folder, items, Path(scratch))), seed)
            size = min(BLOCK, max(1, MOST_SCORES // len(items)))
            for start in range(0, len(asked), size):
                block = asked[start : start + size]
                told = answers(answering, task, block, held_out if new else ~held_out)
                tables.append(pa.table({"example_id": [e.id for e in block], **told}))
            if answering.dropped:
                sys.stderr.write(f"{answering.dropped} history items, the oldest of theirs, found no place\n")
    draft = out.with_name(out.name + ".part")
    with writing(out.parent):
        pq.write_table(pa.concat_tables(tables).sort_by("example_id"), draft)
        draft.replace(out)
    return len(examples)


def _that_learned(task: str, system: System) -> System:
    if task not in system.tasks:
        raise UnimpError(f"the model learned {', '.join(system.tasks)} only; train it with --tasks {task}")
    return system


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer one task; 0 if all went well."""
    parser = argparse.ArgumentParser(prog="python -m unimp.predict", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="what unimp.train wrote")
    parser.add_argument("--data", type=Path, required=True, help="a built dataset folder")
    parser.add_argument("--task", required=True, choices=TASKS)
    parser.add_argument("--out", type=Path, required=True, help="Parquet file of answers")
    parser.add_argument("--seed", type=int, default=0, help="of drawn pictures")
    asked = parser.parse_args(arguments)
    try:
        count = predict(asked.model, asked.data, asked.task, asked.out, asked.seed)
    except UnimpError as problem:
        sys.stderr.write(f"error: {problem}\n")
        return 1
    sys.stderr.write(f"{count} examples are answered in {asked.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
