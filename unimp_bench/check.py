"""Whether a runner's answers are answers: every promise that a predictions file makes, checked before it is written.

Anything wrong is an error that names the example: a repaired answer would be somebody else's score. What a runner could
not answer it says itself, by a null.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from unimp_bench.dataset import Catalogue
from unimp_bench.errors import PredictionError
from unimp_bench.schemas import PREDICTIONS, conform
from unimp_bench.tasks.spec import AnswerKind

LONGEST_TEXT = 65_536  # characters
LARGEST_SIDE = 4_096  # pixels
VALUE = {"ranking": "item_ids", "selection": "item_ids", "rating": "rating", "text": "text", "image": "image"}


def answers(
    frame: pl.DataFrame, kind: AnswerKind, examples: pl.DataFrame, catalogue: Catalogue, seen: pl.DataFrame
) -> pl.DataFrame:
    """The answers with the columns of their kind, sorted by example, if they keep every promise.

    `examples` are those that were asked (columns of `schemas.EXAMPLES`), `seen` pairs (example_id, item_id) that must
    not be ranked.

    Raises:
        PredictionError: they do not; the message names the first example at fault.
    """
    frame = columns(frame, kind)
    _keys(frame, examples)
    if kind == "ranking":
        lists(frame)
        _ranked(frame, examples, catalogue, seen)
    elif kind == "selection":
        lists(frame)
        _selected(frame, examples)
    elif kind == "rating":
        rating = pl.col("rating")
        _none(
            frame.filter(rating.is_not_null() & ~(rating.is_finite() & rating.is_between(1, 5))), "rating outside 1-5"
        )
    elif kind == "text":
        long = frame.filter(pl.col("text").str.len_chars() > LONGEST_TEXT)
        _none(long, f"text of more than {LONGEST_TEXT} characters")
    else:
        _pictures(frame)
    return frame.sort("example_id")


def _none(bad: pl.DataFrame, what: str) -> None:
    if bad.height:
        first = bad.sort("example_id")["example_id"][0]
        raise PredictionError(f"{what} for example '{first}' ({bad.height} in all); the runner must not answer so")


def columns(frame: pl.DataFrame, kind: AnswerKind) -> pl.DataFrame:
    """The frame with exactly the columns of the answer kind; an absent `scores` is null.

    Raises:
        PredictionError: a column is missing, unknown, or of another type.
    """
    table = PREDICTIONS[kind]
    missing = [name for name in ("example_id", VALUE[kind]) if name not in frame.columns]
    if missing:
        raise PredictionError(f"answers lack the column {missing[0]}; a {kind} answer has {', '.join(table.columns)}")
    extra = [name for name in frame.columns if name not in table.columns]
    if extra:
        raise PredictionError(f"answers have a column '{extra[0]}'; a {kind} answer has {', '.join(table.columns)}")
    try:
        return conform(frame, table.columns)
    except pl.exceptions.PolarsError:
        raise PredictionError(
            f"answers have columns of types {dict(frame.schema)}, wanted {dict(table.columns)}"
        ) from None


def _keys(frame: pl.DataFrame, examples: pl.DataFrame) -> None:
    if frame["example_id"].null_count():
        raise PredictionError("an answer without example_id; every answer names its example")
    _none(frame.filter(pl.col("example_id").is_duplicated()), "more than one answer")
    _none(frame.join(examples, on="example_id", how="anti"), "answer to an example that was not asked")
    _none(examples.join(frame, on="example_id", how="anti"), "no answer (null says: could not)")


def lists(frame: pl.DataFrame) -> None:
    """Whether lists hold no nulls or repeats, and as many scores as items, all finite.

    Raises:
        PredictionError: a list does not.
    """
    items, scores = pl.col("item_ids"), pl.col("scores")
    _none(frame.filter(items.list.eval(pl.element().is_null()).list.any()), "a null among the items")
    _none(frame.filter(items.list.n_unique() != items.list.len()), "an item twice")
    _none(frame.filter(scores.list.len() != items.list.len()), "not one score an item")
    finite = scores.list.eval(pl.element().is_not_null() & pl.element().is_finite()).list.all()
    _none(frame.filter(scores.is_not_null() & ~finite), "a score that is not a finite number")


def ordered(frame: pl.DataFrame) -> None:
    """Whether no list's scores rise.

    Raises:
        PredictionError: they do.
    """
    _none(frame.filter(pl.col("scores").list.diff().list.max() > 0), "scores that rise along the list")


def _ranked(frame: pl.DataFrame, examples: pl.DataFrame, catalogue: Catalogue, seen: pl.DataFrame) -> None:
    ordered(frame)
    pairs = (
        frame.select("example_id", pl.col("item_ids").alias("item_id"))
        .filter(pl.col("item_id").list.len() > 0)
        .explode("item_id", empty_as_null=False, keep_nulls=False)
    )
    known = pairs.join(catalogue.items.select("item_id", "item_index"), on="item_id", how="left")
    _none(known.filter(pl.col("item_index").is_null()), "an item that is not in the catalogue")
    _none(known.filter(~members(known, examples, catalogue)), "an item outside the cohort's catalogue")
    _none(known.join(seen, on=["example_id", "item_id"], how="semi"), "an item that the user already had")


def members(known: pl.DataFrame, examples: pl.DataFrame, catalogue: Catalogue) -> pl.Series:
    """Which rows `(rows,)` of (example_id, item_index) name an item that their cohort is ranked over."""
    cohorts = known.select("example_id").join(
        examples.select("example_id", "cohort"), on="example_id", how="left", maintain_order="left"
    )["cohort"]  # null for an example that was not asked, which is another check's business
    index = known["item_index"].to_numpy()
    inside: NDArray[np.bool_] = np.zeros(known.height, dtype=bool)
    for cohort in sorted(cohorts.drop_nulls().unique().to_list()):
        rows = (cohorts == cohort).fill_null(False).to_numpy()
        inside[rows] = catalogue.members(cohort)[index[rows]]
    return pl.Series(inside)


def _selected(frame: pl.DataFrame, examples: pl.DataFrame) -> None:
    both = frame.join(examples.select("example_id", "candidates"), on="example_id")
    stray = pl.col("item_ids").list.set_difference("candidates").list.len() > 0
    _none(both.filter(stray), "an item that is not among the candidates")


def _pictures(frame: pl.DataFrame) -> None:
    for example_id, picture in frame.select("example_id", pl.col("image").struct.field("bytes")).iter_rows():
        if picture is None:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # Pillow only warns of a decompression bomb below twice its limit
                with Image.open(io.BytesIO(picture)) as image:
                    if max(image.size) > LARGEST_SIDE:
                        raise PredictionError(
                            f"a picture of {image.size[0]} x {image.size[1]} pixels for example '{example_id}'; "
                            f"the largest side is {LARGEST_SIDE}"
                        )
                    image.load()
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Warning):
            raise PredictionError(f"a picture that cannot be decoded for example '{example_id}'") from None
