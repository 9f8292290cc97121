"""What RTM reads: BM25's candidates of a query, train questions with wrong items, candidates' latest reviews."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from unimp_baselines.bm25 import BM25, Index, documents
from unimp_baselines.recbole.feed import Lists, Numbers
from unimp_baselines.rtm_data import Shelf, latest, past_in
from unimp_baselines.rtm_net import RTM
from unimp_baselines.search_common import Asks, Corpus, padded
from unimp_baselines.search_net import QUERY, Noise


@dataclass(frozen=True)
class Prefilter:
    """BM25 over a catalogue's items, by number from 0, and how often each was bought."""

    index: Index
    popularity: Numbers

    @classmethod
    def of(cls, items: pl.DataFrame, popularity: Numbers) -> Prefilter:
        """Over some items, with BM25's own parameters."""
        plain = BM25()
        return cls(Index.of(documents(items), plain.k1, plain.b, plain.epsilon), popularity)

    def order(self, query: str) -> Numbers:
        """All items from the best to the worst."""
        return np.lexsort((-self.popularity, -self.index.scores([query])[0]))


@dataclass(frozen=True)
class Lessons:
    """Train questions with their histories' reviews, reviews by item, and the candidates of each query."""

    asks: Asks
    past: Lists
    shelf: Shelf
    by_item: Lists
    noise: Noise
    close: Numbers  # (queries, candidates) item numbers
    query: Numbers  # (rows,) rows of `close`
    hard: float

    @classmethod
    def of(cls, corpus: Corpus, shelf: Shelf, filtered: Prefilter, near: int, hard: float, titles: bool) -> Lessons:
        """The train questions; without those whose item has no review but the asker's own, if titles are none.

        Args:
            corpus: what is learned from.
            shelf: its reviews.
            filtered: BM25 over the same items.
            near: how many candidates of a query wrong items are drawn from.
            hard: share of the wrong items that are drawn there.
            titles: whether titles count as reviews.
        """
        by_item, asks = shelf.by_item(), corpus.asked
        if not titles:
            others = np.diff(by_item.starts)[asks.targets] - (shelf.found(asks.users, asks.targets) > 0)
            asks = asks.some(np.flatnonzero(others > 0))
        texts = asks.texts.unique(maintain_order=True)
        most = min(near, shelf.count)
        close = np.array([filtered.order(text)[:most] + 1 for text in texts.to_list()]).reshape(len(texts), most)
        query = asks.texts.replace_strict(texts, np.arange(len(texts)), return_dtype=pl.Int64).to_numpy()
        noise = Noise(corpus.item_counts)
        return cls(asks, past_in(shelf, asks), shelf, by_item, noise, close, query, hard)

    def wrong(self, part: Numbers, count: int, generator: torch.Generator) -> Numbers:
        """Wrong items `(rows, count)`: some of the query's candidates, the rest by count^0.75."""
        hard = round(self.hard * count)
        column = torch.randint(self.close.shape[1], (len(part), hard), generator=generator).numpy()
        near = self.close[self.query[part, None], column]
        return np.concatenate([near, self.noise.draw((len(part), count - hard), generator).numpy()], 1)


class Reader:
    """Reads the latest reviews of a question's candidates; one question at a time, so that none depends on others."""

    def __init__(self, network: RTM, shelf: Shelf, vectors: torch.Tensor, most: tuple[int, int], titles: bool) -> None:
        """From a trained network and the vectors `(reviews + 1, d)` of all reviews by number.

        `most` is how many reviews of a user and of an item are read; with `titles`, an item's title comes first.
        """
        self.network, self.shelf, self.vectors, self.most, self.titles = network, shelf, vectors, most, titles
        self.by_item = shelf.by_item()

    def scores(self, asks: Asks, row: int, past: Lists, items: Numbers) -> NDArray[np.float32]:
        """Scores `(items,)` of some item numbers from 0."""
        one, device = np.array([row]), self.vectors.device
        reviews = latest(self.by_item, items + 1, self.most[1])
        if self.titles:
            reviews = np.concatenate([self.shelf.written + items[:, None] + 1, reviews], 1)
        users = torch.from_numpy(latest(past, one, self.most[0])).to(device)
        asked = self.network.asked(torch.from_numpy(padded(asks.queries, one, QUERY)).to(device))
        found = []
        for some in torch.split(torch.from_numpy(reviews).to(device), 250):
            scores = self.network(asked, self.vectors[users], users > 0, self.vectors[some][None], some[None] > 0)
            found.append(scores[0])
        result: NDArray[np.float32] = torch.cat(found).cpu().numpy()
        return result


def gain(scores: NDArray[np.float32], items: Numbers, seen: Numbers, target: int) -> float:
    """NDCG@5 of a target among candidates, ties against it; 0 where it is not one of them."""
    place = np.flatnonzero(items == target)
    if len(place) == 0:
        return 0.0
    others = ~np.isin(items, seen) & (items != target)
    rank = int((scores[others] >= scores[place[0]]).sum())
    return float(1 / np.log2(rank + 2)) if rank < 5 else 0.0
