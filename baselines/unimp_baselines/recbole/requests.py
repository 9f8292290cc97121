"""What the worker is asked, as JSON: to train a model, or to score all items for some histories.

Replies are JSON objects, one a line: `{"step": {...}}` while it trains, then `{"done": {...}}`, which has the highest
memory of the request's time as `worker_peak_megabytes`, or
`{"failed": {"kind": ..., "message": ...}}`.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Rows = Literal["next", "whole"]


@dataclass(frozen=True)
class Model:
    """Which model, with which of RecBole's settings."""

    name: str
    ours: bool  # a class of `models.py`, else RecBole's own of that name
    settings: dict[str, Any]  # numbers, booleans, lists and plain words only: RecBole evaluates strings
    gpu: bool
    trim: bool  # batches as wide as their longest history, for models to which padding is nothing
    features: dict[str, str] = field(default_factory=dict)  # "image", "text": path of a .npy `(items, width)`, float32


@dataclass(frozen=True)
class Train:
    """Train a model and keep its best weights."""

    model: Model
    feed: str  # path of `feed.npz`
    rows: Rows  # "next": a row for every item that follows others; "whole": whole sequences, for masked models
    copies: int  # of each whole sequence in an epoch
    epochs: int
    patience: int  # evaluations without a better NDCG@10 before training stops
    eval_every: int  # epochs
    max_seconds: float  # no epoch begins that would end later, pre-training taking half at most; 0: no limit
    pretrain_epochs: int  # S3-Rec's first stage
    pretrain_batch: int
    seed: int
    folder: str  # for checkpoints
    out: str  # path of the best weights
    warm_weights: str | None  # of another catalogue, to take over but for item tables; or universal pre-trained ones
    checkpoint_seconds: float  # at least so long between two checkpoints


@dataclass(frozen=True)
class Score:
    """Score every item of the feed for each history."""

    model: Model
    feed: str
    weights: str
    digest: str  # sha256 of the weights
    asked: str  # path of an .npz: `users` (rows,), `histories` (items), `starts` (rows + 1,)
    out: str  # path of the .npy `(rows, items)` to write
    rows: int  # rows worked on at a time; always so many, so that a row's scores do not depend on its neighbours
    seed: int


_PATHS = ("feed", "folder", "out", "warm_weights", "weights", "asked")


def write(request: Train | Score, path: Path) -> None:
    """Keep a request as a file; its paths become absolute, as the worker works in other folders than we do."""
    values = dataclasses.asdict(request)
    values |= {name: str(Path(values[name]).absolute()) for name in _PATHS if values.get(name)}
    features = {name: str(Path(file).absolute()) for name, file in request.model.features.items()}
    values["model"]["features"] = features
    path.write_text(json.dumps({"kind": type(request).__name__.lower(), **values}, indent=1) + "\n")


def read(path: Path) -> Train | Score:
    """What `write` kept."""
    raw = json.loads(path.read_text())
    kind = raw.pop("kind")
    values = {**raw, "model": Model(**raw["model"])}
    return Train(**values) if kind == "train" else Score(**values)
