"""Answers beside predictions, one row an example: what every metric starts from and what it hands back.

Here alone it is decided what "unanswered" means: no row, a null, an empty list, a blank text, a rating that is no
finite number, a picture without bytes. Each metric says in its own room what such an example scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_bench.dataset import Catalogue
from unimp_bench.errors import IncompleteError, PredictionError
from unimp_bench.schemas import SCORES, conform, empty

AnswerKind = Literal["ranking", "selection", "rating", "text", "image"]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Models:
    """Local folders of what is too large to be in the package; a metric whose folder is not given is not computed.

    `why`: the reason, by name, where a folder is not given and more is known than that.
    `wordnet`: files `index.*`, `data.*`, `*.exc` of WordNet 3.0; where None, the usual places are searched.
    `bertscore_layers`: layer of the encoder whose states are compared; the last where None.
    """

    bertscore: Path | None = None
    bertscore_layers: int | None = None
    clip: Path | None = None
    wordnet: Path | None = None
    why: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MetricContext:
    """What a metric may need beside answers and predictions; a metric that lacks something says so (`MetricSpec`).

    `view`: the clean variant. `examples`: what was asked, columns of `schemas.EXAMPLES`. `train`: item_id and `count`,
    its visible training rows. `permuted`: what the same runner chooses when candidates stand in another order.
    `styles`: item_id and `style`, where a synthetic shop's truth is known.
    """

    view: Catalogue | None = None
    examples: pl.DataFrame | None = None
    train: pl.DataFrame | None = None
    permuted: pl.DataFrame | None = None
    styles: pl.DataFrame | None = None
    models: Models = Models()


def _answer(kind: AnswerKind) -> pl.Expr:
    """The column that holds the truth; the truth of a picture is the item that it shows."""
    return pl.col("item_ids" if kind in ("ranking", "selection", "image") else kind)


def _prediction(kind: AnswerKind) -> pl.Expr:
    """The column that holds what was said, null where nothing was."""
    if kind in ("ranking", "selection"):
        said = pl.col("item_ids")
        return pl.when(said.list.len() > 0).then(said)
    if kind == "rating":
        said = pl.col("rating").cast(pl.Float64)
        return pl.when(said.is_finite()).then(said)
    if kind == "text":
        said = pl.col("text")
        return pl.when(said.str.strip_chars() != "").then(said)
    said = pl.col("image").struct.field("bytes")
    return pl.when(said.bin.size() > 0).then(said)


def paired(answers: pl.DataFrame, predictions: pl.DataFrame, kind: AnswerKind) -> pl.DataFrame:
    """One row an answer, sorted by example: example_id, cohort, `answer`, `prediction` (null = unanswered).

    Args:
        answers: example_id, the answer columns of `schemas.ANSWERS` that `kind` needs, and `cohort` where known.
        predictions: a frame of `schemas.PREDICTIONS[kind]`; row order and rows of other examples do not matter.
        kind: what is answered.

    Raises:
        PredictionError: an example is answered twice.
        IncompleteError: an example has no answer to compare with.
    """
    twice = sorted(predictions.filter(pl.col("example_id").is_duplicated())["example_id"].to_list())
    if twice:
        raise PredictionError(f"example {twice[0]} is answered more than once; keep one row an example")
    cohort = pl.col("cohort") if "cohort" in answers.columns else pl.lit(None, dtype=pl.String).alias("cohort")
    left = answers.select("example_id", cohort, answer=_answer(kind))
    lacking = sorted(left.filter(pl.col("answer").is_null())["example_id"].to_list())
    if lacking:
        raise IncompleteError(f"example {lacking[0]} has no answer to compare with; build the dataset again")
    right = predictions.select("example_id", prediction=_prediction(kind))
    return left.join(right, on="example_id", how="left").sort("example_id")


def unanswered(answers: pl.DataFrame, predictions: pl.DataFrame, kind: AnswerKind) -> pl.DataFrame:
    """Which examples got no answer: example_id, cohort, `unanswered`; arguments and errors as in `paired`."""
    pairs = paired(answers, predictions, kind)
    return pairs.select("example_id", "cohort", unanswered=pl.col("prediction").is_null())


def scores(pairs: pl.DataFrame, values: Mapping[str, Values]) -> pl.DataFrame:
    """A frame of `schemas.SCORES`, metric by metric, from values `(examples,)` in the order of `pairs`; NaN is null."""
    frames = [
        pairs.select(
            "example_id", "cohort", pl.lit(metric).alias("metric"), pl.Series("value", of_metric, nan_to_null=True)
        )
        for metric, of_metric in values.items()
    ]
    return conform(pl.concat(frames), SCORES.columns) if frames else empty(SCORES.columns)


def within_cohorts(pairs: pl.DataFrame, of_rows: Callable[[NDArray[np.intp]], Values]) -> Values:
    """Values `(examples,)` that `of_rows` gives for the row numbers of each cohort apart."""
    values = np.empty(pairs.height)
    for part in pairs.select("cohort").with_row_index("row").partition_by("cohort", maintain_order=True):
        rows = part["row"].to_numpy().astype(np.intp)
        values[rows] = of_rows(rows)
    return values
