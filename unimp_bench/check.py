"""Whether a runner's answers are answers: every promise that a predictions file makes, checked before it is written.

Anything wrong is an error that names the example: a repaired answer would be somebody else's score. What a runner could
not answer it says itself, by a null.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256

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
UNANSWERED = "no answer (null says: could not)"
_QUOTED = pl.format("'{}'", pl.col("item_id"))
VALUE = {"ranking": "item_ids", "selection": "item_ids", "rating": "rating", "text": "text", "image": "image"}


@dataclass(frozen=True)
class Fault:
    """What answers must not do, and the rows that do it: columns of the answers, and `detail` where it helps."""

    what: str
    rows: pl.DataFrame


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
    _refuse(faults(frame, kind, examples, catalogue, seen))
    return frame.sort("example_id")


def faults(
    frame: pl.DataFrame, kind: AnswerKind, examples: pl.DataFrame, catalogue: Catalogue, seen: pl.DataFrame
) -> Iterator[Fault]:
    """Every kind of broken promise, cheap ones first; columns beside those of the kind stay with their rows."""
    yield from keys(frame, examples)
    yield from contents(frame, kind, examples, catalogue)
    if kind == "ranking":
        yield from _beside_the_point(frame, examples, catalogue, seen)


def contents(frame: pl.DataFrame, kind: AnswerKind, examples: pl.DataFrame, catalogue: Catalogue) -> Iterator[Fault]:
    """What is wrong with single answers, each for itself; rankings may still hold what is to be masked."""
    if kind == "ranking":
        yield from _lists(frame)
        yield from _rising(frame)
        yield from _unknown(frame, catalogue)
    elif kind == "selection":
        yield from _lists(frame)
        yield from _selected(frame, examples)
    elif kind == "rating":
        yield from _rated(frame)
    elif kind == "text":
        length = pl.col("text").str.len_chars()
        long = frame.filter(length > LONGEST_TEXT).with_columns(detail=pl.format("{} characters", length))
        yield from _some(long.drop("text"), f"text of more than {LONGEST_TEXT} characters")
    else:
        yield from _pictures(frame)


def _some(bad: pl.DataFrame, what: str) -> Iterator[Fault]:
    if bad.height:
        yield Fault(what, bad)


def _refuse(found: Iterable[Fault]) -> None:
    for fault in found:
        first = fault.rows["example_id"].sort()[0]
        if first is None:
            raise PredictionError(f"{fault.what}; every answer names its example")
        detail = fault.rows.sort("example_id")["detail"][0] if "detail" in fault.rows.columns else None
        said = f": {detail}" if detail else ""
        raise PredictionError(
            f"{fault.what} for example '{first}' ({fault.rows.height} in all){said}; the runner must not answer so"
        )


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


def keys(frame: pl.DataFrame, examples: pl.DataFrame) -> Iterator[Fault]:
    """Whether every example that was asked has one answer, and no other has any."""
    yield from _some(frame.filter(pl.col("example_id").is_null()), "an answer without example_id")
    named = frame.filter(pl.col("example_id").is_not_null())
    yield from _some(named.filter(pl.col("example_id").is_duplicated()), "more than one answer")
    yield from _some(named.join(examples, on="example_id", how="anti"), "answer to an example that was not asked")
    missing = examples.select("example_id").join(named, on="example_id", how="anti")
    yield from _some(missing, UNANSWERED)


def lists(frame: pl.DataFrame) -> None:
    """Whether lists hold no nulls or repeats, and as many scores as items, all finite.

    Raises:
        PredictionError: a list does not.
    """
    _refuse(_lists(frame))


def _lists(frame: pl.DataFrame) -> Iterator[Fault]:
    items, scores = pl.col("item_ids"), pl.col("scores")
    yield from _some(frame.filter(items.list.eval(pl.element().is_null()).list.any()), "a null among the items")
    twice = frame.filter(items.list.n_unique() != items.list.len())
    yield from _some(_repeated(twice) if twice.height else twice, "an item twice")
    yield from _some(frame.filter(scores.list.len() != items.list.len()), "not one score an item")
    finite = scores.list.eval(pl.element().is_not_null() & pl.element().is_finite()).list.all()
    yield from _some(frame.filter(scores.is_not_null() & ~finite), "a score that is not a finite number")


def _repeated(twice: pl.DataFrame) -> pl.DataFrame:
    """The rows with what is repeated most often in each, and how often."""
    most = pl.element().value_counts(sort=True).first()
    often = pl.col("item_ids").list.eval(most).list.first().struct.rename_fields(["name", "count"]).struct
    name, count = often.field("name").fill_null("null"), often.field("count")
    return twice.with_columns(detail=pl.format("'{}' {} times", name, count))


def ordered(frame: pl.DataFrame) -> None:
    """Whether no list's scores rise.

    Raises:
        PredictionError: they do.
    """
    _refuse(_rising(frame))


def _rising(frame: pl.DataFrame) -> Iterator[Fault]:
    steps = pl.col("scores").list.eval(pl.element().diff().fill_nan(0))  # NaN is another fault
    yield from _some(frame.filter(steps.list.max() > 0), "scores that rise along the list")


def _pairs(frame: pl.DataFrame, catalogue: Catalogue) -> pl.DataFrame:
    """One row a listed item: `item_id`, `item_index` (null if the catalogue does not know it)."""
    pairs = (
        frame.drop("scores")
        .rename({"item_ids": "item_id"})
        .filter(pl.col("item_id").list.len() > 0)
        .explode("item_id", empty_as_null=False, keep_nulls=False)
    )
    index = catalogue.items.select("item_id", "item_index")
    return pairs.join(index, on="item_id", how="left", maintain_order="left")


def _unknown(frame: pl.DataFrame, catalogue: Catalogue) -> Iterator[Fault]:
    unknown = _pairs(frame, catalogue).filter(pl.col("item_index").is_null())
    yield from _some(unknown.with_columns(detail=_QUOTED), "an item that is not in the catalogue")


def _beside_the_point(
    frame: pl.DataFrame, examples: pl.DataFrame, catalogue: Catalogue, seen: pl.DataFrame
) -> Iterator[Fault]:
    known = _pairs(frame, catalogue).drop_nulls("item_index").with_columns(detail=_QUOTED)
    yield from _some(known.filter(~members(known, examples, catalogue)), "an item outside the cohort's catalogue")
    yield from _some(known.join(seen, on=["example_id", "item_id"], how="semi"), "an item that the user already had")


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


def _selected(frame: pl.DataFrame, examples: pl.DataFrame) -> Iterator[Fault]:
    both = frame.join(examples.select("example_id", "candidates"), on="example_id", maintain_order="left")
    stray = both.with_columns(stray=pl.col("item_ids").list.set_difference("candidates").list.drop_nulls())
    stray = stray.filter(pl.col("stray").list.len() > 0)
    detail = pl.format("'{}'", pl.col("stray").list.first())
    yield from _some(
        stray.with_columns(detail=detail).drop("candidates", "stray"), "an item that is not among the candidates"
    )


def _rated(frame: pl.DataFrame) -> Iterator[Fault]:
    rating = pl.col("rating")
    off = frame.filter(rating.is_not_null() & ~(rating.is_finite() & rating.is_between(1, 5)))
    yield from _some(off.with_columns(detail=rating.cast(pl.String)), "rating outside 1-5")


def _pictures(frame: pl.DataFrame) -> Iterator[Fault]:
    """Pictures that are none or too large; each distinct one is decoded once."""
    judged: dict[bytes, tuple[str, str | None] | None] = {}
    bad: dict[str, list[tuple[int, str | None]]] = {}
    for row, picture in enumerate(frame["image"].struct.field("bytes")):
        if picture is None:
            continue
        key = sha256(picture).digest()
        if key not in judged:
            judged[key] = _judged(picture)
        fault = judged[key]
        if fault is not None:
            bad.setdefault(fault[0], []).append((row, fault[1]))
    for what, rows in bad.items():
        details = pl.Series("detail", [detail for _, detail in rows], dtype=pl.String)
        yield Fault(what, frame[[row for row, _ in rows]].drop("image").with_columns(details))


def _judged(picture: bytes) -> tuple[str, str | None] | None:
    """What is wrong with an encoded picture, and the particulars."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow only warns of a decompression bomb below twice its limit
            with Image.open(io.BytesIO(picture)) as image:
                if max(image.size) > LARGEST_SIDE:
                    size = f"{image.size[0]} x {image.size[1]} pixels"
                    return f"a picture whose largest side is over {LARGEST_SIDE} pixels", size
                image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Warning):
        return "a picture that cannot be decoded", None
    return None
