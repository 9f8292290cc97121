"""RTM, the review-based transformer of product search (Bi, Ai & Croft, SIGIR 2021).

For a user u, a query q and a candidate i, a transformer reads [q; r_u1 ... r_um; r_i1 ... r_in], the query with reviews
that u wrote and that others wrote about i, and its state at q gives the score:

    q         = tanh(W mean(w) + b)
    r         = mean of the word vectors of a review
    s(u,q,i)  = w . Transformer([q; r_u; r_i] + segments + positions)[q] + b
    L         = sum over one right item and K wrong ones of BCE(s), plus, in the first `review_epochs` epochs, the loss
                of paragraph vectors with corruption (Chen, ICLR 2017): NCE(mean of the words that were kept -> word)

**It reranks.** A pass a candidate is too much for a catalogue: BM25 picks the query's best `candidates` items (equal
ones by popularity), RTM orders them, and all others follow in BM25's order. What BM25 leaves out cannot be found.

Reviews are train reviews. The one that an answer is about is on neither side: a history ends before it, and reviews by
the asking user are taken out of the item's. Training pairs whose item no other person reviewed are skipped (if titles
do not count as reviews). In training a random subset is read, in its order; in ranking the latest ones.

Departures: half of the wrong items (`hard`) come from the query's own candidates, since it ranks among those; titles
count as a review of their item; a past purchase without a train review speaks by the explanation that the history
shows; words for the reviews' loss are drawn from the whole review, not a window; no embeddings of users and items.
Validation asks `valid_examples` questions and reranks as the test does: a network that has learned from the best 100
of 1,000 puts others before them (NDCG@5 0.006 on `synthetic-small` after an epoch, 0.065 among the 100). Review vectors
are all held in ranking: reviews x embedding x 4 bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_baselines.common import EVERY_COHORT, blocks
from unimp_baselines.recbole.feed import Lists, Numbers
from unimp_baselines.search_common import Asks, Corpus, Names, padded, spread
from unimp_baselines.search_runner import FILES, Learned, SearchRunner
from unimp_bench.dataset import Catalogue
from unimp_bench.errors import ConfigError
from unimp_bench.runners.protocol import Context, ScoreBlock, Space

if TYPE_CHECKING:
    import torch

    from unimp_baselines import rtm_data, rtm_net, rtm_reading, search_net
    from unimp_baselines.search_runner import Told


@dataclass
class RTM(SearchRunner):
    """A transformer over reviews that reranks BM25's best items."""

    embedding: int = 128
    lr: float = 2e-3
    batch: int = 64
    epochs: int = 20
    patience: int = 3
    layers: int = 2
    heads: int = 8
    dropout: float = 0.1
    user_reviews: int = 20
    item_reviews: int = 30
    review_words: int = 100  # of a review that count: its last
    review_epochs: int = 10  # with the reviews' own loss
    words: int = 8  # of a review that are predicted
    corruption: float = 0.9  # share of a review's words that its own loss drops
    titles: bool = True  # an item's title is one of its reviews
    hard: float = 0.5  # share of the wrong items that are drawn from the query's candidates
    candidates: int = 100  # items that are reranked, in validation as in test
    valid_examples: int = 300

    cohorts: ClassVar[frozenset[str]] = EVERY_COHORT
    system: ClassVar[str] = "rtm"
    version: ClassVar[int] = 2
    search: ClassVar[Space] = {"lr": (1e-3, 2e-3, 5e-3), "layers": (1, 2), "dropout": (0.1, 0.3), "hard": (0.0, 0.5)}

    _shelf: Any = field(default=None, init=False, repr=False, compare=False)
    _vectors: Any = field(default=None, init=False, repr=False, compare=False)
    _filter: Any = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse parameters without meaning."""
        super().__post_init__()
        least = (
            "layers",
            "heads",
            "user_reviews",
            "item_reviews",
            "review_words",
            "words",
            "candidates",
            "valid_examples",
        )
        wrong = [name for name in least if getattr(self, name) < 1]
        shares = 0 <= self.dropout < 1 and 0 <= self.corruption < 1 and 0 <= self.hard <= 1
        if wrong or not shares or self.embedding % self.heads or self.review_epochs < 0:
            raise ConfigError(
                f"rtm: {self}; wanted {', '.join(least)} of at least 1, dropout and corruption from 0 to "
                "below 1, hard from 0 to 1, review_epochs of at least 0, embedding a multiple of heads"
            )

    def _network(self, names: Names) -> rtm_net.RTM:
        from unimp_baselines import rtm_net

        tokens = 1 + self.user_reviews + self.item_reviews + self.titles
        return rtm_net.RTM(
            rtm_net.Shape(len(names.words), self.embedding, self.layers, self.heads, self.dropout, tokens)
        )

    def _took(self, learned: Learned, corpus: Corpus) -> None:
        from unimp_baselines import rtm_data

        self._keep(learned, rtm_data.Shelf.of(corpus))

    def _keep(self, learned: Learned, shelf: rtm_data.Shelf) -> None:
        self._learned, self._shelf, self._vectors, self._filter = learned, shelf, None, None

    def _training(self, network: Any, corpus: Corpus, catalogue: Catalogue) -> Told:
        import torch

        from unimp_baselines import rtm_data, rtm_reading, search_net, search_training

        shelf = rtm_data.Shelf.of(corpus)
        members = catalogue.items.filter(catalogue.items["item_id"].is_in(corpus.names.items.implode()))
        filtered = rtm_reading.Prefilter.of(members, corpus.item_counts[1:])
        lessons = rtm_reading.Lessons.of(corpus, shelf, filtered, self.candidates, self.hard, self.titles)
        word_noise = search_net.Noise(np.bincount(shelf.texts.values, minlength=len(corpus.names.words) + 1))
        device = torch.device(self.device)

        def epoch(generator: torch.Generator, number: int) -> Iterator[tuple[torch.Tensor, int]]:
            for part in search_training.shuffled(len(lessons.asks), self.batch, generator):
                loss = self._ranking_loss(network, lessons, part, generator)
                if number < self.review_epochs:
                    loss = loss + self._review_loss(network, shelf, word_noise, len(part), generator).to(device)
                yield loss, len(part)

        rows = np.unique(np.linspace(0, len(corpus.valid) - 1, self.valid_examples).astype(np.int64))
        asked = corpus.valid.some(rows[: len(corpus.valid)])
        past = rtm_data.past_in(shelf, asked)
        orders = {text: filtered.order(text) for text in asked.texts.unique().to_list()}

        def score() -> float | None:
            gains = []
            with torch.no_grad():
                reader = self._reader(network, shelf, self._all_vectors(network, shelf.texts))
                for row in range(len(asked)):
                    few = orders[asked.texts[row]][: self.candidates]
                    scores = reader.scores(asked, row, past, few)
                    seen = asked.histories.values[asked.histories.starts[row] : asked.histories.starts[row + 1]] - 1
                    gains.append(rtm_reading.gain(scores, few, seen, int(asked.targets[row]) - 1))
            return float(np.mean(gains)) if gains else None

        return epoch, score

    def _ranking_loss(
        self, network: Any, lessons: rtm_reading.Lessons, part: Numbers, generator: torch.Generator
    ) -> torch.Tensor:
        """BCE over each question's item and its wrong ones: their sum, and the mean over questions."""
        import torch
        from torch.nn import functional

        from unimp_baselines import rtm_data, search_net

        device, asks, shelf = torch.device(self.device), lessons.asks, lessons.shelf
        users = asks.users[part]
        items = np.concatenate([asks.targets[part, None], lessons.wrong(part, self.negatives, generator)], 1)
        flat = items.reshape(-1)
        reviews = rtm_data.drawn(lessons.by_item, flat, self.item_reviews, generator)
        reviews = rtm_data.not_by(reviews, np.repeat(users, items.shape[1]), shelf)
        if self.titles:
            reviews = np.concatenate([shelf.written + flat[:, None], reviews], 1)
        reviews = reviews.reshape(*items.shape, -1)
        past = rtm_data.drawn(lessons.past, part, self.user_reviews, generator)
        numbers, places = np.unique(np.concatenate([past.reshape(-1), reviews.reshape(-1)]), return_inverse=True)
        words = padded(shelf.texts, (numbers - 1).clip(min=0), self.review_words)
        words = words[:, (words > 0).any(0).argmax() :]  # few reviews are that long
        vectors = network.mean(torch.from_numpy(words).to(device))[torch.from_numpy(places).to(device)]
        asked = network.asked(torch.from_numpy(padded(asks.queries, part, search_net.QUERY)).to(device))
        scores = network(
            asked,
            vectors[: past.size].view(*past.shape, -1),
            torch.from_numpy(past > 0).to(device),
            vectors[past.size :].view(*reviews.shape, -1),
            torch.from_numpy(reviews > 0).to(device),
        )
        right = torch.zeros_like(scores)
        right[:, 0] = 1
        real = items != items[:, :1]  # the right item drawn as a wrong one
        real[:, 0] = True
        losses = functional.binary_cross_entropy_with_logits(scores, right, reduction="none")
        return (losses * torch.from_numpy(real).to(device)).sum() / len(part)

    def _review_loss(
        self, network: Any, shelf: rtm_data.Shelf, noise: search_net.Noise, rows: int, generator: torch.Generator
    ) -> torch.Tensor:
        """Paragraph vectors with corruption, for as many train reviews as there are questions."""
        import torch

        device = torch.device(self.device)
        chosen = torch.randint(shelf.written, (rows,), generator=generator).numpy()
        words = padded(shelf.texts, chosen, self.review_words)
        length = torch.from_numpy((words > 0).sum(1))[:, None]
        luck = torch.rand((rows, self.words), generator=generator, dtype=torch.float64)
        place = words.shape[1] - 1 - (luck * length).long()
        reviews = torch.from_numpy(words)
        told = torch.where(length > 0, reviews.gather(1, place), 0)
        kept = torch.rand(reviews.shape, generator=generator) >= self.corruption
        wrong = noise.draw((rows, self.words, self.negatives), generator)
        loss: torch.Tensor = network.review_loss(*(x.to(device) for x in (reviews, kept, told, wrong)))
        return loss

    def _all_vectors(self, network: Any, texts: Lists) -> torch.Tensor:
        """Vectors `(texts + 1, d)` of all reviews by number, 4,096 at a time; number 0 has zeros."""
        import torch

        found = [torch.zeros(1, self.embedding, device=self.device)]
        for start in range(0, len(texts), 4_096):
            rows = np.arange(start, min(len(texts), start + 4_096))
            found.append(network.mean(torch.from_numpy(padded(texts, rows, self.review_words)).to(self.device)))
        return torch.cat(found)

    def predict(self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context) -> Iterator[ScoreBlock]:
        """Rerank each question's candidates; all other items follow in BM25's order."""
        import torch

        from unimp_baselines import rtm_data, rtm_reading

        learned, shelf = self._learned, self._shelf
        assert learned is not None and shelf is not None, "fit or load first"
        names = learned.names
        if self._vectors is None:
            with torch.no_grad():
                self._vectors = self._all_vectors(learned.network, shelf.texts)
        if self._filter is None or self._filter[0] is not view:
            popularity = np.bincount(shelf.items[: shelf.written], minlength=len(names.items) + 1)[1:]
            known = (
                names.items.rename("item_id")
                .to_frame()
                .join(view.items, on="item_id", how="left", maintain_order="left")
            )
            self._filter = (view, rtm_reading.Prefilter.of(known, popularity))
        places = np.array([view.index.get(item, -1) for item in names.items.to_list()], dtype=np.int64)
        ordered = examples.sort("query", "example_id")
        asks = Asks.of(ordered, names)
        past, told = rtm_data.past_reviews(ordered, names, shelf)
        with torch.no_grad():
            vectors = torch.cat([self._vectors, self._all_vectors(learned.network, told)[1:]])
        reader = self._reader(learned.network, shelf, vectors)
        asked, best, start = None, np.empty(0, dtype=np.int64), 0
        for some in blocks(ordered, view.items.height):
            scores = np.empty((some.height, len(names.items)), dtype=np.float32)
            for row, text in enumerate(asks.texts.slice(start, some.height).to_list()):
                if text != asked:  # neighbours in this order ask the same, and each query is looked up once
                    asked, best = text, self._filter[1].order(text)
                scores[row] = self._whole(reader, asks, start + row, past, best)
            yield ScoreBlock(some["example_id"].to_list(), spread(scores, places, view.items.height))
            start += some.height

    def _reader(self, network: Any, shelf: rtm_data.Shelf, vectors: torch.Tensor) -> rtm_reading.Reader:
        from unimp_baselines import rtm_reading

        return rtm_reading.Reader(network, shelf, vectors, (self.user_reviews, self.item_reviews), self.titles)

    def _whole(
        self, reader: rtm_reading.Reader, asks: Asks, row: int, past: Lists, best: Numbers
    ) -> NDArray[np.float32]:
        """Scores of all items: the network's for the first of `best`, and below them the others in that order."""
        import torch

        scores = np.empty(len(best), dtype=np.float32)
        with torch.no_grad():
            found = reader.scores(asks, row, past, best[: self.candidates])
        scores[best[: self.candidates]] = found
        rest = best[self.candidates :]
        scores[rest] = found.min() - 1 - np.arange(len(rest), dtype=np.float32) / max(1, len(rest))
        return scores

    def _files(self) -> tuple[str, ...]:
        from unimp_baselines import rtm_data

        return (*FILES, rtm_data.REVIEWS)

    def _write(self, folder: Path) -> None:
        super()._write(folder)
        assert self._shelf is not None
        self._shelf.write(folder)

    def load(self, folder: Path) -> None:
        """Take up what `save` wrote.

        Raises:
            ConfigError: PyTorch is not installed.
            IncompleteError: a file is not there or was changed.
        """
        super().load(folder)
        from unimp_baselines import rtm_data

        assert self._learned is not None
        self._keep(self._learned, rtm_data.Shelf.read(folder))
