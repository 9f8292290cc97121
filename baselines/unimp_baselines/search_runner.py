"""The part of a runner that all learned search systems share: fields, training, states on disk, answers in blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import polars as pl

from unimp_baselines.common import blocks, device, opened_state, require_torch, sealed_state
from unimp_baselines.recbole.feed import numbered
from unimp_baselines.search_common import Asks, Corpus, Names, spread
from unimp_baselines.telling import Step, told
from unimp_bench.dataset import Catalogue
from unimp_bench.errors import ConfigError
from unimp_bench.runners.protocol import Context, ScoreBlock, Space, TaskData

if TYPE_CHECKING:
    import torch

    from unimp_baselines import search_training

    Told = tuple[search_training.Epoch, Callable[[], float | None]]
    Start = Callable[[], tuple[torch.nn.Module, search_training.Epoch, Callable[[], float | None]]]

_AT_LEAST_ONE = ("embedding", "batch", "epochs", "history", "negatives", "min_count")
FILES = ("weights.safetensors", "names.parquet")


@dataclass(frozen=True)
class Learned:
    """A trained network, what its numbers stand for, and what is told of the training."""

    network: torch.nn.Module
    names: Names
    facts: dict[str, Any]


@dataclass
class Trained(ABC):
    """Fields of every system here, and the frame around its training."""

    embedding: int = 100
    lr: float = 2e-3
    batch: int = 256  # questions
    epochs: int = 60
    patience: int = 8  # epochs without a better validation NDCG@5
    history: int = 50  # items
    max_seconds: float = 0.0  # of training; no epoch begins that would end later; 0: no limit
    gpu: bool = True  # use one where there is one

    tasks: ClassVar[frozenset[str]] = frozenset({"search"})
    cohorts: ClassVar[frozenset[str]] = frozenset()
    version: ClassVar[int] = 1
    reads_truth: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("torch",)
    examples_a_part: ClassVar[int] = 8_192
    system: ClassVar[str] = ""  # its name in messages
    search: ClassVar[Space] = {"lr": (1e-3, 2e-3, 5e-3), "embedding": (64, 100, 200)}

    def __post_init__(self) -> None:
        """Refuse parameters without meaning."""
        known = {option.name for option in fields(self)}
        least = [name for name in _AT_LEAST_ONE if name in known]
        wrong = [name for name in least if getattr(self, name) < 1]
        if wrong or self.lr <= 0 or self.patience < 0:
            raise ConfigError(
                f"{self.system}: {self}; wanted {', '.join(least)} of at least 1, lr above 0, patience of at least 0"
            )

    @property
    def device(self) -> str:
        """Where it computes."""
        return device(self.system, self.gpu)

    def fit(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Train on the search questions and the reviews, stop by validation.

        Raises:
            ConfigError: there is nothing to learn from, the loss is not finite, or PyTorch is not installed.
        """
        require_torch(self.system)
        self._learn(data["search"], context, "in_domain")

    def adapt(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Train on the rows of held-out domains, from the first weights where these do not belong to items or users."""
        require_torch(self.system)
        self._learn(data["search"], context, "new_domain")

    @abstractmethod
    def _learn(self, data: TaskData, context: Context, cohort: str) -> None:
        """Train on one cohort's rows and keep what was learned."""

    def _trained(self, context: Context, cohort: str, start: Start) -> tuple[torch.nn.Module, dict[str, Any]]:
        """Train what `start` gives, under the run's seed; the network with its best weights, and facts."""
        import torch

        from unimp_baselines import search_training

        seed = int(context.rng(self.system).integers(1 << 31))
        limit = context.limit(self.max_seconds)
        plan = search_training.Plan(self.system, self.epochs, self.patience, self.lr, seed, limit)
        with torch.random.fork_rng():  # the caller's generator goes on as if nothing had been drawn
            torch.manual_seed(seed)
            network, epoch, score = start()
            checkpoint = context.scratch / f"{cohort}.checkpoint"

            def train(step: Step) -> dict[str, Any]:
                return search_training.train(network, epoch, score, plan, checkpoint, step)

            return network, told(context, self.system, cohort, self.epochs, "NDCG@5", train)


@dataclass
class SearchRunner(Trained):
    """A system that learns vectors of words and items; it adds its network and its loss."""

    negatives: int = 5
    min_count: int = 5  # rarer words are unknown

    _learned: Learned | None = field(default=None, init=False, repr=False, compare=False)

    def _learn(self, data: TaskData, context: Context, cohort: str) -> None:
        from unimp_baselines import search_training

        corpus = Corpus.of(data, cohort, self.min_count)

        def start() -> tuple[torch.nn.Module, search_training.Epoch, Callable[[], float | None]]:
            network = self._network(corpus.names).to(self.device)
            if self._learned is not None and cohort == "new_domain":
                search_training.inherit(network, self._learned.network, _shared(corpus.names, self._learned.names))
            return network, *self._training(network, corpus, data.catalogue)

        network, facts = self._trained(context, cohort, start)
        self._took(Learned(network, corpus.names, facts), corpus)

    def _took(self, learned: Learned, corpus: Corpus) -> None:
        """Keep what was learned."""
        self._learned = learned

    @abstractmethod
    def _network(self, names: Names) -> torch.nn.Module:
        """A fresh network."""

    @abstractmethod
    def _training(self, network: Any, corpus: Corpus, catalogue: Catalogue) -> Told:
        """What `search_training.train` asks for: the losses of an epoch, and the validation score."""

    def save(self, folder: Path) -> None:
        """Write weights, names, and `state.json` with the files' sums."""
        self._write(folder)
        assert self._learned is not None
        sealed_state(folder, self._files(), facts=self._learned.facts)

    def load(self, folder: Path) -> None:
        """Take up what `save` wrote.

        Raises:
            ConfigError: PyTorch is not installed.
            IncompleteError: a file is not there or was changed.
        """
        require_torch(self.system)
        from safetensors.torch import load_file

        facts = opened_state(folder, self._files())["facts"]
        names = Names.read(folder)
        network = self._network(names)
        network.load_state_dict(load_file(folder / "weights.safetensors"))
        self._learned = Learned(network.to(self.device).eval(), names, facts)

    def _files(self) -> tuple[str, ...]:
        return FILES

    def _write(self, folder: Path) -> None:
        from safetensors.torch import save_file

        learned = self._learned
        assert learned is not None, "fit first"
        tensors = {name: value.cpu().contiguous() for name, value in learned.network.state_dict().items()}
        save_file(tensors, folder / "weights.safetensors")
        learned.names.write(folder)


@dataclass
class IntentRunner(SearchRunner):
    """What HEM and ZAM share: documents to draw words from, and items drawn as negatives."""

    query_weight: float = 0.5  # lambda
    words: int = 8  # drawn from the item's reviews (and the user's) a question
    subsample: float = 1e-4  # of frequent words, as in word2vec; 0: none
    titles: bool = True  # an item's title is one more of its reviews

    search: ClassVar[Space] = {"lr": (1e-3, 2e-3, 5e-3), "embedding": (64, 100, 200), "query_weight": (0.3, 0.5, 0.7)}

    def __post_init__(self) -> None:
        """Refuse parameters without meaning."""
        super().__post_init__()
        if not 0 <= self.query_weight <= 1 or self.words < 1 or self.subsample < 0:
            raise ConfigError(
                f"{self.system}: query_weight={self.query_weight}, words={self.words}, subsample={self.subsample}; "
                "wanted 0 <= query_weight <= 1, words of at least 1, subsample of at least 0"
            )

    def _training(self, network: Any, corpus: Corpus, catalogue: Catalogue) -> Told:
        import torch

        from unimp_baselines import search_net, search_training

        known = len(corpus.names.words)
        of_items = corpus.documents("item", titles=self.titles)
        items = search_net.Documents(of_items, known, self.subsample)
        users = search_net.Documents(corpus.documents("user", titles=False), known, self.subsample)
        word_noise = search_net.Noise(np.bincount(of_items.values, minlength=known + 1))
        item_noise = search_net.Noise(corpus.item_counts)
        device = torch.device(self.device)

        def epoch(generator: torch.Generator, number: int) -> Iterator[tuple[torch.Tensor, int]]:
            for rows in search_training.shuffled(len(corpus.asked), self.batch, generator):
                asks, wide = corpus.asked, (len(rows), self.words, self.negatives)
                draw = search_net.Draw(
                    items.draw(torch.from_numpy(asks.targets[rows]), self.words, generator).to(device),
                    word_noise.draw(wide, generator).to(device),
                    users.draw(torch.from_numpy(asks.users[rows]), self.words, generator).to(device),
                    word_noise.draw(wide, generator).to(device),
                    item_noise.draw((len(rows), self.negatives), generator).to(device),
                )
                yield network.loss(search_net.Batch.of(asks, rows, self.history, device), draw), len(rows)

        def score() -> float | None:
            return search_training.ndcg5(
                lambda rows: self._scores(network, corpus.valid, rows), corpus.valid, len(corpus.names.items)
            )

        return epoch, score

    def predict(self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context) -> Iterator[ScoreBlock]:
        """Score all items for each question, in blocks."""
        from unimp_baselines import search_training

        learned = self._learned
        assert learned is not None, "fit or load first"
        items = learned.names.items
        places = np.array([view.index.get(item, -1) for item in items.to_list()], dtype=np.int64)
        for some in blocks(examples, view.items.height):
            asks = Asks.of(some, learned.names)
            scorer = partial(self._scores, learned.network, asks)
            for rows, scores in search_training.in_blocks(scorer, len(asks), len(items)):
                ids = some["example_id"].gather(rows).to_list()
                yield ScoreBlock(ids, spread(scores.cpu().numpy(), places, view.items.height))

    def _scores(self, network: Any, asks: Asks, rows: Any) -> torch.Tensor:
        import torch

        from unimp_baselines import search_net

        batch = search_net.Batch.of(asks, rows, self.history, torch.device(self.device))
        return cast("torch.Tensor", network.scores(batch, self._similarity()))

    def _similarity(self) -> str:
        return "bias"


def _shared(new: Names, earlier: Names) -> tuple[torch.Tensor, torch.Tensor]:
    """Word numbers of two vocabularies that stand for the same words, and 0 for 0."""
    import torch

    numbers = numbered(new.words, earlier.words)
    rows = np.flatnonzero(numbers)
    both = np.concatenate([[0], rows + 1]), np.concatenate([[0], numbers[rows]])
    return torch.from_numpy(both[0]), torch.from_numpy(both[1])
