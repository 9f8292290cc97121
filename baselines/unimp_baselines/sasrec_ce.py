"""SASRec with full cross-entropy: the strongest simple rival (Kang & McAuley 2018; Petrov & Macdonald 2023: its loss).

One causal pass over a history gives a state for every place, and each is trained against the item that follows it:

    L = mean over places t of -log softmax_j(h_t . e_j)[i_(t+1)]

so a sequence of length T costs one row and gives T - 1 targets, where training on augmented prefixes takes T - 1 rows.
Scores of all items are never in memory at once, so that 120,000 items fit (`sasrec_net.AllItems`). Batches hold
sequences of about one length. Early stopping looks at NDCG@10 on validation examples, seen items masked.

Departures from SASRec: the loss (it has binary cross-entropy against one drawn item), GELU, two heads, a feed-forward
layer four times as wide, and answers by a moving average of the weights (Polyak & Juditsky 1992).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_baselines.common import EVERY_COHORT, blocks, device, opened_state, require_torch, sealed_state
from unimp_baselines.recbole import choosing
from unimp_baselines.recbole.feed import Feed, Lists, histories, read_names, write_names
from unimp_baselines.telling import Step, told
from unimp_bench.dataset import Catalogue
from unimp_bench.errors import ConfigError
from unimp_bench.runners.protocol import Context, ScoreBlock, Space, TaskData

if TYPE_CHECKING:
    import torch

    from unimp_baselines.sasrec_net import SASRec

_FILES = ("weights.safetensors", "names.parquet", "popularity.npy")


@dataclass(frozen=True)
class Learned:
    """A trained network with the items that it knows and their popularity `(items,)`, log(1 + train rows)."""

    network: SASRec
    items: pl.Series
    popularity: NDArray[np.float32]
    threshold: float | None
    facts: dict[str, Any]


@dataclass
class SASRecCE:
    """SASRec with cross-entropy over all items at all places."""

    embedding: int = 64
    layers: int = 2
    heads: int = 2
    dropout: float = 0.3
    lr: float = 1e-3
    weight_decay: float = 0.0
    average: float = 0.998  # kept each step by the moving average of weights that answers; 0: the last weights
    batch: int = 128  # sequences
    epochs: int = 200
    patience: int = 10  # epochs without a better validation NDCG@10
    history: int = 50  # items
    max_seconds: float = 0.0  # of training; no epoch begins that would end later; 0: no limit
    gpu: bool = True  # use one where there is one

    tasks: ClassVar[frozenset[str]] = frozenset({"recommendation", "selection"})
    cohorts: ClassVar[frozenset[str]] = EVERY_COHORT
    version: ClassVar[int] = 2
    system: ClassVar[str] = "sasrec_ce"  # its name in messages
    reads_truth: ClassVar[bool] = False
    joint: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("torch",)
    examples_a_part: ClassVar[int] = 8_192
    search: ClassVar[Space] = {
        "lr": (5e-4, 1e-3, 2e-3),
        "embedding": (32, 64, 128),
        "layers": (1, 2, 3),
        "dropout": (0.2, 0.3, 0.5),
    }

    _learned: Learned | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse parameters without meaning."""
        least = ("embedding", "layers", "heads", "batch", "epochs", "history")
        wrong = [name for name in least if getattr(self, name) < 1]
        shares = 0 <= self.dropout < 1 and 0 <= self.average < 1
        if wrong or self.lr <= 0 or self.patience < 0 or not shares or self.embedding % self.heads:
            raise ConfigError(
                f"{self.system}: {self}; wanted {', '.join(least)} of at least 1, lr above 0, patience of at least 0, "
                "dropout and average from 0 to below 1, embedding a multiple of heads"
            )

    @property
    def device(self) -> str:
        """Where it computes."""
        return device(self.system, self.gpu)

    @property
    def wrong_items(self) -> int:
        """Drawn wrong items a place, for a binary loss; 0: cross-entropy over all items."""
        return 0

    def fit(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Train on the interactions, stop by validation, tune the threshold of selection on validation.

        Raises:
            ConfigError: there is nothing to learn from, or the loss is not finite.
        """
        self._learn(data, context, "in_domain")

    def adapt(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Train on the rows of held-out domains, from the first weights where these do not belong to items."""
        self._learn(data, context, "new_domain")

    def _learn(self, data: Mapping[str, TaskData], context: Context, cohort: str) -> None:
        require_torch(self.system)
        import torch

        from unimp_baselines import sasrec_net

        given = data["recommendation"] if "recommendation" in data else data["selection"]
        feed = Feed.of(given, cohort)
        seed = int(context.rng(self.system).integers(1 << 31))
        known = np.flatnonzero(np.diff(feed.valid_histories.starts) > 0)
        past = _tensors(feed.valid_histories)
        valid = [past[k] for k in known], torch.from_numpy(feed.valid_targets[known])
        plan = sasrec_net.Plan(
            self.epochs,
            self.patience,
            self.batch,
            self.lr,
            self.weight_decay,
            self.average,
            seed,
            context.limit(self.max_seconds),
            wrong=self.wrong_items,
            name=self.system,
        )
        with torch.random.fork_rng():  # the caller's generator goes on as if nothing had been drawn
            torch.manual_seed(seed)
            network = sasrec_net.SASRec(self._shape(len(feed.items)))
            if self._learned is not None and cohort == "new_domain":
                shared = {k: v for k, v in self._learned.network.state_dict().items() if k != "items.weight"}
                network.load_state_dict(shared, strict=False)
            network.to(self.device)
            checkpoint = context.scratch / f"{cohort}.checkpoint"

            def train(step: Step) -> dict[str, Any]:
                return sasrec_net.train(network, _tensors(feed.sequences), valid, plan, checkpoint, step)

            facts = told(context, self.system, cohort, self.epochs, "NDCG@10", train)
        popularity = np.log1p(np.bincount(feed.sequences.values, minlength=len(feed.items) + 1)[1:])
        self._learned = Learned(network, feed.items, popularity.astype(np.float32), None, facts)
        if "selection" in data:
            asked = data["selection"].valid.collect()
            threshold = choosing.tuned(self._scores(asked), feed.items) if asked.height else None
            self._learned = Learned(network, feed.items, self._learned.popularity, threshold, facts)

    def _shape(self, items: int) -> Any:
        from unimp_baselines import sasrec_net

        return sasrec_net.Shape(
            items, self.embedding, self.layers, self.heads, 4 * self.embedding, self.dropout, self.history
        )

    def predict(
        self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context
    ) -> Iterator[pl.DataFrame | ScoreBlock]:
        """Score all items for each history, in blocks; or choose among candidates by the threshold."""
        learned = self._learned
        assert learned is not None, "fit or load first"
        index = np.array([view.index.get(item, -1) for item in learned.items.to_list()])
        for some, scores in self._scores(examples):
            if task == "selection":
                yield choosing.frame(some, scores, learned.items, learned.threshold)
            else:
                whole = np.full((len(scores), view.items.height), -np.inf, dtype=np.float32)
                whole[:, index[index >= 0]] = scores[:, index >= 0]
                yield ScoreBlock(some["example_id"].to_list(), whole)

    def _scores(self, examples: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, NDArray[np.float32]]]:
        """Examples in blocks with their scores `(examples, known items)`; popularity where no item is known."""
        from unimp_baselines import sasrec_net

        learned = self._learned
        assert learned is not None
        for some in blocks(examples, len(learned.items)):
            past = _tensors(histories(some, learned.items))
            known = [k for k, row in enumerate(past) if len(row)]
            scores = np.tile(learned.popularity, (len(past), 1))
            if known:
                scores[known] = sasrec_net.scores_of(learned.network, [past[k] for k in known]).cpu().numpy()
            yield some, scores

    def save(self, folder: Path) -> None:
        """Write weights, item ids, popularity, and `state.json` with the files' sums."""
        from safetensors.torch import save_file

        learned = self._learned
        assert learned is not None, "fit first"
        tensors = {k: v.cpu().contiguous() for k, v in learned.network.state_dict().items()}
        save_file(tensors, folder / "weights.safetensors")
        write_names(folder / "names.parquet", pl.Series([], dtype=pl.String), learned.items)
        np.save(folder / "popularity.npy", learned.popularity)
        sealed_state(folder, _FILES, threshold=learned.threshold, facts=learned.facts)

    def load(self, folder: Path) -> None:
        """Take up what `save` wrote.

        Raises:
            ConfigError: PyTorch is not installed.
            IncompleteError: a file is not there or was changed.
        """
        require_torch(self.system)
        from safetensors.torch import load_file

        from unimp_baselines import sasrec_net

        state = opened_state(folder, _FILES)
        _, items = read_names(folder / "names.parquet")
        network = sasrec_net.SASRec(self._shape(len(items)))
        network.load_state_dict(load_file(folder / "weights.safetensors"))
        popularity = np.load(folder / "popularity.npy")
        self._learned = Learned(network.to(self.device), items, popularity, state["threshold"], state["facts"])


def _tensors(lists: Lists) -> list[torch.Tensor]:
    import torch

    return list(torch.from_numpy(lists.values).tensor_split(torch.from_numpy(lists.starts[1:-1])))
