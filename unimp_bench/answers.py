"""From what a runner yields to what is written: score blocks ranked, ready lists masked alike, all checked.

Seen are the items of an example's history and the user's training rows before it: what every runner could know. They
are taken out of everybody's lists, so a system gains nothing by repeating them, nor loses by not knowing them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_bench import check
from unimp_bench.dataset import Catalogue, Dataset
from unimp_bench.errors import PredictionError
from unimp_bench.runners.protocol import ScoreBlock
from unimp_bench.runners.ranking import ranked, seen_items
from unimp_bench.tasks.spec import AnswerKind

LISTED = 100  # items of a ranking that are kept


@dataclass(frozen=True)
class Asked:
    """Examples that a runner is asked, with what decides about its answers.

    `seen` are pairs (example_id, item_id); `further` the same, without histories, by user as `ranked` wants them.
    """

    kind: AnswerKind
    examples: pl.DataFrame  # columns of `schemas.EXAMPLES`
    view: Catalogue
    seen: pl.DataFrame
    further: Mapping[str, NDArray[np.integer]]
    seed: int

    @classmethod
    def of(cls, kind: AnswerKind, examples: pl.DataFrame, view: Catalogue, data: Dataset, seed: int) -> Asked:
        """The examples with all that their users have seen."""
        if kind != "ranking":
            nothing = pl.DataFrame(schema={"example_id": pl.String, "item_id": pl.String})
            return cls(kind, examples, view, nothing, {}, seed)
        asked = examples.select("example_id", "user_id", pl.col("position").alias("asked"))
        low, high = str(asked["user_id"].min()), str(asked["user_id"].max())
        trained = (
            data.interactions()
            .filter(
                pl.col("user_id").is_between(pl.lit(low), pl.lit(high))
            )  # the file is sorted by user: most of it is never read
            .select("user_id", "item_id", "position")
            .join(asked.lazy(), on="user_id")
            .filter(pl.col("position") < pl.col("asked"))
            .select("example_id", "user_id", "item_id")
            .collect()
        )
        shown = examples.select("example_id", pl.col("history").list.eval(pl.element().struct.field("item_id")))
        past = shown.rename({"history": "item_id"}).filter(pl.col("item_id").list.len() > 0).explode("item_id")
        seen = pl.concat([past, trained.select("example_id", "item_id")]).unique()
        return cls(kind, examples, view, seen, seen_items(trained, view), seed)

    def settle(self, said: Iterator[object]) -> Iterator[pl.DataFrame]:
        """What a runner yields as frames of the answer kind, one for each thing yielded.

        Raises:
            PredictionError: something else was yielded, or lists that cannot be read.
        """
        for thing in said:
            if isinstance(thing, ScoreBlock):
                if self.kind != "ranking":
                    raise PredictionError(f"a score block answers rankings only; this task wants a {self.kind}")
                yield ranked(thing, self.examples, self.view, self.seed, k=LISTED, seen=self.further)
            elif isinstance(thing, pl.DataFrame):
                frame = check.columns(thing, self.kind)
                yield self._masked(frame) if self.kind == "ranking" else frame
            else:
                raise PredictionError(f"a {type(thing).__name__} was yielded; yield polars frames or score blocks")

    def checked(self, frames: list[pl.DataFrame]) -> pl.DataFrame:
        """All answers, sorted by example, if they keep every promise.

        Raises:
            PredictionError: they do not.
        """
        if not frames:
            raise PredictionError(f"none of {self.examples.height} examples was answered")
        return check.answers(pl.concat(frames), self.kind, self.examples, self.view, self.seen)

    def _masked(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Ready lists without items that are seen or not of the cohort's catalogue, cut to `LISTED`."""
        check.lists(frame)
        check.ordered(frame)  # before masking, which could hide it
        columns = ["item_ids", "scores"]
        scores = pl.when(pl.col("scores").is_null()).then(pl.col("item_ids").list.eval(pl.lit(None, dtype=pl.Float32)))
        rows = frame.with_columns(scores.otherwise("scores").alias("scores")).with_row_index("row")
        long = rows.filter(pl.col("item_ids").list.len() > 0).explode(columns).rename({"item_ids": "item_id"})
        known = long.join(
            self.view.items.select("item_id", "item_index"), on="item_id", how="left", maintain_order="left"
        )
        unknown = known["item_index"].is_null()
        allowed = check.members(known.with_columns(pl.col("item_index").fill_null(0)), self.examples, self.view)
        kept = known.filter(allowed | unknown).join(
            self.seen, on=["example_id", "item_id"], how="anti", maintain_order="left"
        )
        lists = kept.group_by("row", maintain_order=True).agg(
            pl.col("item_id").head(LISTED).alias("item_ids"), pl.col("scores").head(LISTED)
        )
        whole = frame.with_row_index("row").select("row", "example_id", had=pl.col("scores").is_not_null())
        joined = whole.join(lists, on="row", how="left", maintain_order="left")
        return joined.select("example_id", "item_ids", pl.when("had").then("scores").alias("scores"))
