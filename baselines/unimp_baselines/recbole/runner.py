"""What all runners through RecBole share: feeding, training in the worker, scores in blocks, selection by threshold.

One fit serves recommendation and selection: both learn from the same train rows. Early stopping looks at validation
examples of recommendation (of selection where a dataset has no other).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_baselines.common import blocks, device, opened_state, sealed_state
from unimp_baselines.recbole import choosing, client, requests, vectors
from unimp_baselines.recbole.feed import Feed, histories, numbered
from unimp_baselines.recbole.learned import Learned
from unimp_bench.dataset import Catalogue
from unimp_bench.errors import ConfigError
from unimp_bench.runners.protocol import Context, ScoreBlock, Space, TaskData

HISTORY = 50  # items of a history that RecBole sees
_FILES = ("feed.npz", "names.parquet", "weights.pt")
_ROWS = 256  # rows of a batch when scoring
_PAIRS = 1 << 22  # scores of a batch at most


@dataclass
class RecBoleRunner:
    """A model of RecBole; subclasses say which, and with what settings.

    Batches are cut down where the scores of all items would take more than 256 MB. With `max_seconds`, what is learned
    depends on the machine's speed.
    """

    embedding: int = 64
    lr: float = 1e-3
    epochs: int = 300
    batch: int = 2048
    patience: int = 10  # evaluations without a better validation NDCG@10
    eval_every: int = 1  # epochs
    weight_decay: float = 0.0
    max_seconds: float = 0.0  # of training, both stages where there are two; see `requests.Train`; 0: no limit
    gpu: bool = True  # use one where there is one

    tasks: ClassVar[frozenset[str]] = frozenset({"recommendation", "selection"})
    cohorts: ClassVar[frozenset[str]] = frozenset({"in_domain"})
    version: ClassVar[int] = 1
    reads_truth: ClassVar[bool] = False
    joint: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("recbole",)
    examples_a_part: ClassVar[int] = 8_192
    model_name: ClassVar[str] = ""
    ours: ClassVar[bool] = True  # a class of `models.py`
    search: ClassVar[Space] = {"lr": (3e-4, 1e-3, 3e-3), "embedding": (32, 64, 128)}
    by_user: ClassVar[bool] = True  # has user embeddings: nothing can be said of users without train rows
    trim: ClassVar[bool] = False
    rows: ClassVar[requests.Rows] = "next"
    attributes: ClassVar[bool] = False

    _learned: Learned | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse parameters without meaning."""
        least = {"embedding": 1, "epochs": 1, "batch": 1, "patience": 0, "eval_every": 1, "weight_decay": 0}
        for name, low in least.items():
            value = getattr(self, name)
            self.refuse(value < low, f"{name}={value}; wanted at least {low}")
        self.refuse(self.lr <= 0, f"lr={self.lr}; wanted more than 0")

    def refuse(self, wrong: bool, why: str) -> None:
        """An error with the runner's name if something is wrong.

        Raises:
            ConfigError: it is.
        """
        if wrong:
            raise ConfigError(f"{self._name()}: {why}")

    @property
    def device(self) -> str:
        """Where it computes."""
        return device(self._name(), self.gpu)

    def _name(self) -> str:
        return type(self).__name__

    def settings(self) -> dict[str, Any]:
        """RecBole's settings beside those of every model; subclasses add theirs."""
        return {}

    def extras(self) -> dict[str, Any]:
        """Fields of `requests.Train` that subclasses set: `copies`, `pretrain_epochs`, `pretrain_batch`."""
        return {}

    def encoders(self) -> dict[str, str]:
        """Names of the encoders whose item features the model reads, by modality: "image", "text"."""
        return {}

    def learns_from(self, folder: Path) -> dict[str, str]:
        """Where training finds item features, by modality; subclasses add what training alone needs."""
        return vectors.paths(self.encoders(), folder)

    def _model(self, features: dict[str, str]) -> requests.Model:
        shared = {"learning_rate": self.lr, "train_batch_size": self.batch, "weight_decay": self.weight_decay}
        settings = {**shared, **self.settings()}
        return requests.Model(self.model_name, self.ours, settings, self.gpu, self.trim, features)

    def fit(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Train on the interactions, stop by validation, tune the threshold of selection on validation.

        Raises:
            ConfigError: RecBole is not installed, a setting does not fit, or the loss became NaN.
            WorkerError: the worker died; fitting again goes on from its last checkpoint.
        """
        self._learn(data, context, "in_domain", None)

    def _learn(self, data: Mapping[str, TaskData], context: Context, cohort: str, warm: Path | None) -> None:
        client.require_recbole()
        given = data["recommendation"] if "recommendation" in data else data["selection"]
        feed = Feed.of(given, cohort, attributes=self.attributes)
        feed.write(context.scratch)
        features = vectors.write(self._name(), self.encoders(), given.catalogue, feed.items, context)
        if self._learned is not None and warm is not None:
            vectors.check_same(features, self._learned.facts.get("features", {}))
        facts = {**self._train(context, warm), **({"features": features} if features else {})}
        self._learned = Learned.read(context.scratch, None, facts)
        if "selection" in data:
            asked = data["selection"].valid.collect()
            threshold = (
                choosing.tuned(self._scores(asked, given.catalogue, context), feed.items) if asked.height else None
            )
            self._learned = Learned.read(context.scratch, threshold, facts)

    def _train(self, context: Context, warm: Path | None) -> dict[str, Any]:
        folder = context.scratch
        request = requests.Train(
            **{
                "model": self._model(self.learns_from(folder)),
                "feed": str(folder / "feed.npz"),
                "rows": self.rows,
                "copies": 1,
                "epochs": self.epochs,
                "patience": self.patience,
                "eval_every": self.eval_every,
                "max_seconds": context.limit(self.max_seconds),
                "pretrain_epochs": 0,
                "pretrain_batch": 0,
                "seed": int(context.rng("recbole").integers(1 << 31)),
                "folder": str(folder),
                "out": str(folder / "weights.pt"),
                "warm_weights": str(warm) if warm else None,
                "checkpoint_seconds": 20.0,
                **self.extras(),
            }
        )
        stage = [""]

        def step(values: Mapping[str, Any]) -> None:
            if values["stage"] != stage[0]:
                if stage[0]:
                    context.progress.finish()
                stage[0] = values["stage"]
                context.progress.start(f"{self._name()}: {stage[0]}", values["of"], "epochs")
                context.progress.advance(values["epoch"] - 1)
            context.progress.advance()
            numbers = {name: values[name] for name in ("loss", "valid_ndcg10") if name in values}
            context.record(values["stage"], values["epoch"], **numbers)

        done = client.shared().ask(request, folder / "train.json", step)
        context.worked_elsewhere(done["worker_peak_megabytes"])
        if stage[0]:
            context.progress.finish()
        best = (
            f", best after {done['best_epoch']} with validation NDCG@10 {done['valid_ndcg10']:.4f}"
            if (done["valid_ndcg10"] is not None)
            else ""
        )
        context.progress.say(f"{self._name()}: {done['epochs']} epochs in {done['train_seconds']:.0f} s{best}")
        return done

    def predict(
        self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context
    ) -> Iterator[pl.DataFrame | ScoreBlock]:
        """Score all items for each history, in blocks; or choose among candidates by the threshold."""
        assert self._learned is not None, "fit or load first"
        index = np.array([view.index.get(item, -1) for item in self._learned.items.to_list()])
        for some, scores in self._scores(examples, view, context):
            if task == "selection":
                yield choosing.frame(some, scores, self._learned.items, self._learned.threshold)
            else:
                whole = np.full((len(scores), view.items.height), -np.inf, dtype=np.float32)
                whole[:, index[index >= 0]] = scores[:, index >= 0]
                yield ScoreBlock(some["example_id"].to_list(), whole)

    def _scores(
        self, examples: pl.DataFrame, view: Catalogue, context: Context
    ) -> Iterator[tuple[pl.DataFrame, NDArray[np.float32]]]:
        """Examples in blocks with their scores `(examples, known items)`; popularity where nothing is known."""
        learned = self._learned
        assert learned is not None
        features = vectors.of_view(self.encoders(), view, learned.items, learned.folder, learned.facts, context)
        asked, out = context.scratch / "asked.npz", context.scratch / "scores.npy"
        for some in blocks(examples, len(learned.items)):
            past = histories(some, learned.items)
            starts = np.maximum(past.starts[:-1], past.starts[1:] - HISTORY)
            last = [past.values[a:b] for a, b in zip(starts, past.starts[1:], strict=True)]
            users = numbered(some["user_id"], learned.users)
            unknown = users == 0 if self.by_user else np.array([len(items) == 0 for items in last])
            scores = np.empty((some.height, len(learned.items)), dtype=np.float32)
            scores[unknown] = learned.popularity
            known = np.flatnonzero(~unknown)
            if len(known):
                flat = np.concatenate([last[row] for row in known])
                lengths = [len(last[row]) for row in known]
                with asked.open("wb") as file:
                    np.savez(file, users=users[known], histories=flat, starts=np.concatenate([[0], np.cumsum(lengths)]))
                request = requests.Score(
                    model=self._model(features),
                    feed=str(learned.folder / "feed.npz"),
                    weights=str(learned.folder / "weights.pt"),
                    digest=learned.digest,
                    asked=str(asked),
                    out=str(out),
                    rows=max(1, min(_ROWS, _PAIRS // len(learned.items))),
                    seed=int(context.rng("recbole", "score").integers(1 << 31)),
                )
                done = client.shared().ask(request, context.scratch / "score.json")
                context.worked_elsewhere(done["worker_peak_megabytes"])
                scores[known] = np.load(out)
                out.unlink()
            yield some, scores

    def _files(self) -> tuple[str, ...]:
        return (*_FILES, *vectors.files(self.encoders()))

    def save(self, folder: Path) -> None:
        """Write weights, the feed that they belong to, and `state.json` with their sums."""
        learned = self._learned
        assert learned is not None, "fit first"
        for name in self._files():
            shutil.copyfile(learned.folder / name, folder / name)
        sealed_state(folder, self._files(), threshold=learned.threshold, facts=learned.facts)

    def load(self, folder: Path) -> None:
        """Take up what `save` wrote.

        Raises:
            IncompleteError: a file is not there or was changed.
        """
        state = opened_state(folder, self._files())
        self._learned = Learned.read(folder, state["threshold"], state["facts"])


@dataclass
class SequenceRunner(RecBoleRunner):
    """A model of histories: it answers for new users, and learns held-out domains by a second training.

    That training starts from the first one's weights where these do not belong to items, with the same budget.
    """

    batch: int = 512  # rows: a history and the item after it

    cohorts: ClassVar[frozenset[str]] = frozenset({"in_domain", "new_user", "new_domain"})
    by_user: ClassVar[bool] = False

    def adapt(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Train on the rows of held-out domains; see `fit`."""
        assert self._learned is not None, "fit or load first"
        self._learn(data, context, "new_domain", self._learned.folder / "weights.pt")


def loss_settings(loss: str, negatives: int = 1) -> dict[str, Any]:
    """RecBole's settings of a loss: "ce" over all items, or "bpr" against uniformly drawn ones."""
    if loss == "ce":
        return {"loss_type": "CE", "train_neg_sample_args": None}
    drawn = {"distribution": "uniform", "sample_num": negatives, "alpha": 1.0, "dynamic": False, "candidate_num": 0}
    return {"loss_type": "BPR", "train_neg_sample_args": drawn}
