"""A dense retriever for search: query, past titles and items in one space, by one encoder, with in-batch negatives.

After DPR (Karpukhin et al., EMNLP 2020) with the popularity correction of Yi et al. (RecSys 2019):

    z(x) = e(x) / |e(x)|,   v = z(query) + softplus(a) mean over the history of z(title)
    L    = -log softmax over the batch's items j of (exp(s) v.z(j) / |v| - log share of j)   at the item asked for

e is a mean of trained vectors of hashed words, or, with `--set encoder=FOLDER`, a trained linear layer on the states
of a local sentence encoder, which stays as it is. Nothing is fetched.

Departures from DPR: the history; one encoder for both sides; the share of past titles is a learned number rather than
their words joined to the query's, which a mean of words would drown in them. An item is only its text (title, brand,
category path), so items and users that training never saw are served, and noise in titles counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from unimp_baselines.bm25 import documents
from unimp_baselines.common import EVERY_COHORT, opened_state, require_torch, sealed_state
from unimp_baselines.recbole.feed import Numbers, numbered
from unimp_baselines.search_common import Asks, Names, padded
from unimp_baselines.search_runner import Trained
from unimp_bench.dataset import Catalogue
from unimp_bench.errors import ConfigError, InputError
from unimp_bench.runners.protocol import Context, ScoreBlock, Space, TaskData

if TYPE_CHECKING:
    import torch

    from unimp_baselines import dense_net

_FILES = ("weights.safetensors",)


@dataclass(frozen=True)
class Shelf:
    """Texts of a catalogue for the encoder: items `(n, T)`, and titles `(n + 1, T)` by number from 1."""

    ids: pl.Series
    items: torch.Tensor
    titles: torch.Tensor


@dataclass(frozen=True)
class Questions:
    """Texts of distinct queries, and of each question its query's row, its history and its target."""

    queries: torch.Tensor
    query_rows: Numbers
    asks: Asks

    def __len__(self) -> int:
        return len(self.asks)


@dataclass
class Dense(Trained):
    """One encoder of texts for questions and items."""

    lr: float = 2e-3
    history: int = 10
    buckets: int = 1 << 15  # of hashed words
    encoder: Path | None = None  # folder of a sentence encoder; none: hashed words

    cohorts: ClassVar[frozenset[str]] = EVERY_COHORT
    system: ClassVar[str] = "dense"
    search: ClassVar[Space] = {"lr": (1e-3, 2e-3, 5e-3), "embedding": (64, 100, 200), "history": (5, 10, 20)}

    _towers: Any = field(default=None, init=False, repr=False, compare=False)
    _facts: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    _shelf: Any = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse parameters without meaning."""
        super().__post_init__()
        if self.buckets < 1 or self.batch < 2:
            raise ConfigError(f"dense: buckets={self.buckets}, batch={self.batch}; wanted at least 1 and 2")
        if self.encoder is not None and not self.encoder.is_dir():
            raise InputError("no folder of a sentence encoder", self.encoder, "name one that is there")

    def _texts(self, texts: list[str], batch: int = 64) -> torch.Tensor:
        """What the encoder is given for some texts."""
        from unimp_baselines import dense_net

        if self.encoder is None:
            return dense_net.hashed(texts, self.buckets).to(self.device)
        return dense_net.from_folder(self.encoder, texts, self.device, batch).to(self.device)

    def _fresh(self, width: int) -> dense_net.Dense:
        import torch

        from unimp_baselines import dense_net

        encoder: torch.nn.Module
        if self.encoder is None:
            encoder = dense_net.Hashed(self.buckets, self.embedding)
        else:
            encoder = torch.nn.Linear(width, self.embedding)
        return dense_net.Dense(encoder).to(self.device)

    def _catalogue(self, items: pl.DataFrame) -> Shelf:
        titles = ["", *items["title"].fill_null("").to_list()]
        return Shelf(items["item_id"], self._texts(documents(items)), self._texts(titles))

    def _questions(self, examples: pl.DataFrame, ids: pl.Series) -> Questions:
        nothing = pl.Series([], dtype=pl.String)
        queries = examples["query"].fill_null("")
        distinct = queries.unique().sort()
        asks = Asks.of(examples, Names(nothing, ids, nothing))
        return Questions(self._texts(distinct.to_list(), batch=1), numbered(queries, distinct) - 1, asks)

    def _learn(self, data: TaskData, context: Context, cohort: str) -> None:
        import torch

        from unimp_baselines import search_training

        members = data.catalogue.items.filter(pl.Series(data.catalogue.members(cohort)))
        shelf = self._catalogue(members)
        columns = ["user_id", "query", "history", "item_ids"]
        asked, valid = (self._questions(part.select(columns).collect(), shelf.ids) for part in (data.train, data.valid))
        rows, known = (np.flatnonzero(part.asks.targets) for part in (asked, valid))
        if len(rows) == 0:
            raise ConfigError(f"dense: there are no train queries about items of {cohort}; build the dataset with some")
        counts = np.bincount(asked.asks.targets[rows], minlength=len(shelf.ids) + 1)
        log_share = torch.from_numpy(np.log(np.maximum(counts, 1) / len(rows)).astype(np.float32)).to(self.device)
        answerable = valid.asks.some(known)

        def start() -> tuple[torch.nn.Module, search_training.Epoch, Callable[[], float | None]]:
            network = self._fresh(shelf.items.shape[1])
            if self._towers is not None and cohort == "new_domain":
                network.load_state_dict(self._towers.state_dict())

            def distinct(numbers: torch.Tensor) -> torch.Tensor:
                some, places = numbers.unique(return_inverse=True)
                return network.items(shelf.titles[some])[places]

            def epoch(generator: torch.Generator, number: int) -> Iterator[tuple[torch.Tensor, int]]:
                for part in search_training.shuffled(len(rows), self.batch, generator):
                    targets = torch.from_numpy(asked.asks.targets[rows[part]]).to(self.device)
                    questions = self._asked(network, asked, rows[part], distinct)
                    items = network.items(shelf.items[targets - 1])
                    yield network.loss(questions, items, targets, log_share[targets]), len(part)

            def score() -> float | None:
                with torch.no_grad():
                    table, titles = network.items(shelf.items), network.items(shelf.titles)
                return search_training.ndcg5(
                    lambda part: self._asked(network, valid, known[part], titles.__getitem__) @ table.T,
                    answerable,
                    len(shelf.ids),
                )

            return network, epoch, score

        network, self._facts = self._trained(context, cohort, start)
        self._took(network)

    def _took(self, network: Any) -> None:
        self._towers, self._shelf = network, None

    def _asked(
        self, network: dense_net.Dense, questions: Questions, rows: Numbers, seen: Callable[[Any], Any]
    ) -> torch.Tensor:
        """Vectors of some questions; `seen` gives the vectors of titles by their numbers."""
        import torch

        past = torch.from_numpy(padded(questions.asks.histories, rows, self.history)).to(self.device)
        return network.asked(questions.queries[questions.query_rows[rows]], seen(past), past != 0)

    def predict(self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context) -> Iterator[ScoreBlock]:
        """Score all items for each question, in blocks."""
        import torch

        from unimp_baselines import search_training

        network = self._towers
        assert network is not None, "fit or load first"
        if self._shelf is None or self._shelf[0] is not view:
            shelf = self._catalogue(view.items)
            with torch.no_grad():
                self._shelf = (view, network.items(shelf.items), network.items(shelf.titles))
        _, table, titles = self._shelf
        questions = self._questions(examples, view.items["item_id"])
        found = search_training.in_blocks(
            lambda rows: self._asked(network, questions, rows, titles.__getitem__) @ table.T,
            len(questions),
            view.items.height,
        )
        for rows, scores in found:
            yield ScoreBlock(examples["example_id"].gather(rows).to_list(), scores.cpu().numpy())

    def save(self, folder: Path) -> None:
        """Write weights, and `state.json` with their sum."""
        from safetensors.torch import save_file

        assert self._towers is not None, "fit first"
        save_file(
            {name: value.cpu().contiguous() for name, value in self._towers.state_dict().items()}, folder / _FILES[0]
        )
        sealed_state(folder, _FILES, facts=self._facts)

    def load(self, folder: Path) -> None:
        """Take up what `save` wrote.

        Raises:
            ConfigError: PyTorch is not installed.
            IncompleteError: a file is not there or was changed.
        """
        require_torch("dense")
        from safetensors.torch import load_file

        self._facts = opened_state(folder, _FILES)["facts"]
        weights = load_file(folder / _FILES[0])
        width = 0 if self.encoder is None else weights["encoder.weight"].shape[1]
        network = self._fresh(width)
        network.load_state_dict(weights)
        self._took(network.eval())
