"""From a trained network to predictions of each task."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from unimp_baselines.t5 import decoding
from unimp_baselines.t5.encoding import Batch, Reader
from unimp_baselines.t5.learned import Learned
from unimp_baselines.t5.questions import questions
from unimp_baselines.t5.vocabulary import RATINGS
from unimp_bench.dataset import Catalogue
from unimp_bench.errors import ConfigError
from unimp_bench.runners.protocol import ScoreBlock
from unimp_bench.schemas import PREDICTIONS, conform


@dataclass(frozen=True)
class Manner:
    """How to answer."""

    history: int
    beam: int
    mean_stars: bool
    unseen: bool
    sentence: int
    device: str


def answers(
    task: str, examples: pl.DataFrame, view: Catalogue, learned: Learned, reader: Reader, manner: Manner
) -> Iterator[pl.DataFrame | ScoreBlock]:
    """Predictions in batches; rankings cohort by cohort, since each ranks its own catalogue.

    Raises:
        ConfigError: more choices than there are labels.
    """
    for cohort in examples["cohort"].unique().sort().to_list() if task == "recommendation" else [None]:
        some = examples if cohort is None else examples.filter(pl.col("cohort") == cohort)
        asked = questions(task, some, manner.history)
        reads = [reader.asked(q, unseen=manner.unseen, named=not learned.nameless) for q in asked]
        places = members(learned, view, cohort) if cohort is not None else None
        for rows, batch in decoding.batches(reader, reads, manner.device):
            ids = some["example_id"].gather(rows)
            if task == "recommendation":
                assert places is not None
                yield ScoreBlock(ids.to_list(), _scores(learned, batch, places, view, manner.beam)[: len(rows)])
            elif task == "preference":
                yield _ratings(ids, learned, batch, manner)
            elif task == "explanation":
                network = learned.network
                rows_said = decoding.sentences(
                    network, batch, manner.sentence, reader.end, learned.vocabulary.text_rows
                )
                texts = [learned.vocabulary.written(said) for said in rows_said[: len(rows)]]
                yield conform(pl.DataFrame({"example_id": ids, "text": texts}), PREDICTIONS["text"].columns)
            else:
                yield _selection(ids, learned, batch, [asked[k].choices for k in rows], reader.end)


@dataclass(frozen=True)
class Places:
    """The items that a cohort is ranked, as a tree of ids and their columns in `item_index` order `(items,)`."""

    tree: decoding.Tree
    columns: NDArray[np.int64]


def members(learned: Learned, view: Catalogue, cohort: str) -> Places:
    """The items of a cohort's catalogue."""
    own = learned.vocabulary
    allowed = view.members(cohort)
    pairs = [(own.place(item), k) for k, item in enumerate(view.items["item_id"].to_list()) if allowed[k]]
    known = [(place, k) for place, k in pairs if place is not None]
    codes = own.item_codes()[[place for place, _ in known]]
    return Places(decoding.Tree(codes), np.array([k for _, k in known], dtype=np.int64))


def _scores(learned: Learned, batch: Batch, places: Places, view: Catalogue, beam: int) -> NDArray[np.float32]:
    """Scores of all items `(B, items)`."""
    whole = np.full((len(batch.tokens), view.items.height), -np.inf, dtype=np.float32)
    whole[:, places.columns] = decoding.item_scores(learned.network, batch, places.tree, beam).cpu().numpy()
    return whole


def _ratings(ids: pl.Series, learned: Learned, batch: Batch, manner: Manner) -> pl.DataFrame:
    tokens = [learned.vocabulary.rating(stars)[0][0] for stars in RATINGS]
    chances = decoding.rating_chances(learned.network, batch, tokens)[: len(ids)].double().cpu()
    stars = torch.tensor(RATINGS, dtype=torch.float64)
    said = chances @ stars if manner.mean_stars else stars[chances.argmax(1)]
    return conform(pl.DataFrame({"example_id": ids, "rating": said.numpy()}), PREDICTIONS["rating"].columns)


def _selection(
    ids: pl.Series, learned: Learned, batch: Batch, choices: list[tuple[str, ...]], end: int
) -> pl.DataFrame:
    most = max(len(some) for some in choices)
    if most > learned.vocabulary.labels:
        raise ConfigError(
            f"p5: {most} candidates, but it learned labels for {learned.vocabulary.labels}; fit it on this dataset"
        )
    counts = [len(some) for some in choices]
    counts += counts[-1:] * (len(batch.tokens) - len(counts))
    first = learned.vocabulary.label(0)[0][0]
    listed = decoding.chosen_labels(learned.network, batch, counts, first, end)
    picked = [[some[k] for k in said] for some, said in zip(choices, listed, strict=False)]  # fewer than rows: padding
    frame = pl.DataFrame({"example_id": ids, "item_ids": picked}, schema_overrides={"item_ids": pl.List(pl.String)})
    return conform(frame, PREDICTIONS["selection"].columns)


def ndcg10(asked: pl.DataFrame, view: Catalogue, learned: Learned, reader: Reader, manner: Manner) -> float | None:
    """Mean NDCG@10 of one right item each, over all items but those of the history; ties count against it."""
    if asked.height == 0:
        return None
    past = asked.select(pl.col("history").list.eval(pl.element().struct.field("item_id"))).to_series()
    seen = dict(zip(asked["example_id"].to_list(), past.to_list(), strict=True))
    right = dict(zip(asked["example_id"].to_list(), asked["item_ids"].list.first().to_list(), strict=True))
    gains = []
    for block in answers("recommendation", asked, view, learned, reader, manner):
        assert isinstance(block, ScoreBlock)
        for name, row in zip(block.example_ids, block.scores, strict=True):
            wanted = view.index[right[name]]
            score = row[wanted]
            row[[view.index[item] for item in seen[name] if item in view.index]] = -np.inf
            row[wanted] = -np.inf
            rank = int((row >= score).sum()) if np.isfinite(score) else len(row)
            gains.append(1 / np.log2(rank + 2) if rank < 10 else 0.0)
    return float(np.mean(gains))
