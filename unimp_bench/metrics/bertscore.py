"""BERTScore F1 (Zhang et al. 2020) by the package `bert_score`, without idf weights and baseline rescaling.

The encoder comes from a local folder in the transformers format (`Models.bertscore`, see `hub`); nothing is downloaded
here and no code of a model is run. Which one it is decides the numbers, so compare only runs that were scored with the
same. Unanswered scores 0.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl

from unimp_bench import hub
from unimp_bench.metrics.pairs import MetricContext, paired, scores


def lacks(context: MetricContext) -> str | None:
    """Why BERTScore cannot be computed."""
    folder = context.models.bertscore
    if folder is None:
        return context.models.why.get("bertscore", "needs an encoder in models/bertscore of the home folder")
    if not (folder / "config.json").is_file():
        return f"needs an encoder in the transformers format; {folder.name} has no config.json"
    if find_spec("bert_score") is None:
        return "needs the package bert-score, which is not installed"
    reason = hub.unusable(folder)
    return f"needs an encoder that can be read; {folder.name} {reason}" if reason else None


def _layers(folder: Path, asked: int | None) -> int:
    if asked is not None:
        return asked
    config = json.loads((folder / "config.json").read_text())
    return int(config.get("num_hidden_layers") or config.get("n_layers") or config["num_layers"])


def compute(
    names: Sequence[str], answers: pl.DataFrame, predictions: pl.DataFrame, context: MetricContext
) -> pl.DataFrame:
    """Values per example of `bertscore`, as a frame of `schemas.SCORES`."""
    models = context.models
    assert models.bertscore is not None, "see `lacks`"
    pairs = paired(answers, predictions, "text")
    said = pairs.select("answer", "prediction").drop_nulls().unique(maintain_order=True)
    values = np.zeros(pairs.height)
    if said.height:
        layers = _layers(models.bertscore, models.bertscore_layers)
        scorer_of = import_module("bert_score").BERTScorer
        scorer = scorer_of(model_type=str(models.bertscore), num_layers=layers, rescale_with_baseline=False)
        _, _, found = scorer.score(said["prediction"].to_list(), said["answer"].to_list())
        f1 = said.with_columns(f1=pl.Series(found.double().numpy()))
        values = (
            pairs.join(f1, on=["answer", "prediction"], how="left", maintain_order="left")["f1"]
            .fill_null(0.0)
            .to_numpy()
        )
    return scores(pairs, dict.fromkeys(names, values))
