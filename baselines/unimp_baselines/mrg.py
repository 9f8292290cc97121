"""MRG, multimodal review generation (Truong & Lauw, WWW 2019): a rating and a sentence of a user about an item.

Users u, items v and words x have vectors; a picture is a map of regions. One feature layer serves both answers:

    z        = tanh(W_1 [u ; v] + b_1)            s = BatchNorm(z)            V = BatchNorm(map), V' = V W_v
    rating   = mu + w_r . z + b_r
    h_0, c_0 = tanh(W_h [u ; v] + b_h), tanh(W_c [u ; v] + b_c)
    a_l      = softmax over regions l of w_a . tanh(V'_l + W_s h + b) + b_a,     c = sum a_l V_l
    beta     = sigmoid(w_x . x_t + w_h . h + b),   g_t = beta s + (1 - beta) c
    h, c     = LSTM([x_t ; g_t])
    o_t      = W_o tanh(W_ho h + W_g g_t + b + x_t) + b_o

Each batch is trained on twice, for the squared error of its ratings and for the cross-entropy of its words (unknown
ones do not count), each with `l2` on the weights that it moves. Written is the likeliest word, until the end or for
`sentence` words; never nothing, and never a word that fewer than `min_count` train sentences' words were.

Departures from the paper and its code: the map is made by a small convolution learned here from thumbnails of 64 x 64
pixels, 4 x 4 regions, instead of by VGG's last one, 14 x 14 (`pictures=ENCODER` takes one vector an item by
`unimp_bench.features`, a map of a single region, where attention has nothing to choose); the map is mapped to 2F
numbers, so F is free; an item has one picture, a review none; word vectors start at random, not from GloVe; a word
brings its case and the blank before it along; one Adam for both losses; the epoch is chosen by validation. Sizes are
smaller by default: the paper's are `factors=256`, `words=200`, `state=256`, `lr=3e-4`.
A user without train rows has no vector, so new users and held-out domains are not MRG's affair.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_baselines.answer_runner import HIGHEST, LOWEST, AnswerRunner, Learned, answered, ratings, shuffled
from unimp_baselines.common import require_torch
from unimp_baselines.recbole.feed import numbered
from unimp_baselines.search_common import Names
from unimp_bench.dataset import Catalogue
from unimp_bench.errors import ConfigError
from unimp_bench.features import features_of_fit, item_features
from unimp_bench.runners.protocol import Context, Space, TaskData

if TYPE_CHECKING:
    import torch

    from unimp_baselines import mrg_net
    from unimp_baselines.mrg_pictures import Pictures

_NUMBERS = 1 << 18  # that a row takes while it is answered, about: blocks of 64 rows
THUMBNAILS = ("grid", "grid@shuffled")


@dataclass(frozen=True)
class Pairs:
    """Rows of users and items by number `(rows,)`, and the item's place in the catalogue, -1 for an unknown one."""

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    places: NDArray[np.int64]

    @classmethod
    def of(cls, rows: pl.DataFrame, item: str, names: Names, view: Catalogue) -> Pairs:
        """From frames with `user_id` and a column of item ids."""
        places = numbered(rows[item], view.items["item_id"]) - 1
        return cls(numbered(rows["user_id"], names.users), numbered(rows[item], names.items), places)

    def batch(self, rows: NDArray[np.int64], pictures: Pictures, device: str) -> mrg_net.Batch:
        """Some of the rows with their pictures."""
        import torch

        from unimp_baselines import mrg_net

        parts = self.users[rows], self.items[rows], *pictures.of(self.places[rows])
        return mrg_net.Batch(*(torch.from_numpy(part).to(device) for part in parts))


@dataclass
class MRG(AnswerRunner):
    """Ratings and sentences by one network."""

    factors: int = 64  # F, of a user and of an item
    words: int = 100  # numbers of a word's vector
    state: int = 128  # numbers of the LSTM's state
    dropout: float = 0.2
    sentence: int = 20  # words at most
    min_count: int = 2  # rarer words are unknown, and never written
    pictures: str = "grid"  # or "grid@shuffled", or an encoder of `unimp_bench.features`

    tasks: ClassVar[frozenset[str]] = frozenset({"explanation", "preference"})
    cohorts: ClassVar[frozenset[str]] = frozenset({"in_domain"})
    joint: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"pictures"})
    version: ClassVar[int] = 2
    search: ClassVar[Space] = {"lr": (3e-4, 1e-3), "l2": (1e-4, 1e-3), "factors": (32, 64, 128), "dropout": (0.1, 0.2)}
    system: ClassVar[str] = "mrg"

    _looked: tuple[Catalogue, Any] | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse parameters without meaning."""
        super().__post_init__()
        least = ("factors", "words", "state", "sentence", "min_count")
        if any(getattr(self, name) < 1 for name in least) or not 0 <= self.dropout < 1:
            raise ConfigError(f"mrg: {self}; wanted {', '.join(least)} of at least 1, dropout from 0 to below 1")

    def fit(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Train on the rows of users with a rating or an explanation, stop by validation.

        Raises:
            ConfigError: there is nothing to learn from, no picture to look at, or the loss is not finite.
        """
        require_torch("mrg")
        from unimp_baselines import mrg_words

        view = next(iter(data.values())).catalogue
        rows = _rows(data)
        names = Names(
            rows["user_id"].unique().sort(),
            rows["item_id"].unique().sort(),
            mrg_words.vocabulary(rows["explanation"], self.min_count),
        )
        pictures = self._pictures(view, context)
        if len(pictures.values) == 0:
            raise ConfigError("mrg: the dataset has no pictures; build it with pictures, or run p5")

        def start() -> Any:
            network = self._network(names, pictures.width).to(self.device)
            return network, *self._training(network, rows, data, names, pictures)

        network, facts = self._trained(context, "in_domain", start)
        facts["features"] = pictures.digest
        self._learned = Learned(network, names, pictures.width, facts)

    def _training(
        self, network: Any, rows: pl.DataFrame, data: Mapping[str, TaskData], names: Names, pictures: Pictures
    ) -> tuple[Any, Any]:
        """What `_trained` asks for: the losses of an epoch, and the validation errors."""
        import torch

        from unimp_baselines.mrg_words import lessons, word_lists

        view = next(iter(data.values())).catalogue
        pairs, given = Pairs.of(rows, "item_id", names, view), ratings(rows)
        texts = word_lists(rows["explanation"], names.words)
        rated, told = ~np.isnan(given), np.diff(texts.starts) > 0
        if rated.any():
            network.mean.fill_(float(given[rated].mean()))

        def epoch(generator: torch.Generator, number: int) -> Iterator[tuple[torch.Tensor, int]]:
            for part in shuffled(rows.height, self.batch, generator):
                some = part.numpy()
                if (stars := some[rated[some]]).size:
                    target = torch.from_numpy(given[stars]).to(self.device)
                    yield network.rating_loss(pairs.batch(stars, pictures, self.device), target), len(stars)
                if (said := some[told[some]]).size > 1:  # one row has no statistics for batch normalisation
                    read, written = lessons(texts, said, self.sentence, network.start)
                    batch = pairs.batch(said, pictures, self.device)
                    count = int((written >= 0).sum())
                    loss = network.text_loss(batch, read.to(self.device), written.to(self.device))
                    yield loss / max(1, count), len(said)

        return epoch, self._errors(network, data, names, pictures)

    def _errors(self, network: Any, data: Mapping[str, TaskData], names: Names, pictures: Pictures) -> Any:
        """A function that tells the mean squared error of validation ratings and the cross-entropy of a word."""
        from unimp_baselines.mrg_words import lessons, word_lists

        asked = {task: _valid(given) for task, given in data.items()}
        pairs = {
            task: Pairs.of(part, "target_item_id", names, data[task].catalogue)
            for task, part in asked.items()
            if part.height
        }
        known = {task: word_lists(part["text"], names.words) for task, part in asked.items()}

        def errors() -> dict[str, float]:
            found: dict[str, float] = {}
            for task, own in pairs.items():
                total, count = 0.0, 0
                for some in np.array_split(np.arange(len(own.users)), -(-len(own.users) // 256)):
                    batch = own.batch(some, pictures, self.device)
                    if task == "preference":
                        truth = ratings(asked[task][some])
                        total += float(((network.ratings(batch).cpu().numpy() - truth) ** 2).sum())
                        count += len(some)
                    else:
                        read, written = lessons(known[task], some, self.sentence, network.start)
                        total += float(network.text_loss(batch, read.to(self.device), written.to(self.device)))
                        count += int((written >= 0).sum())
                found["squared_error" if task == "preference" else "word_loss"] = total / max(1, count)
            return found

        return errors

    def _network(self, names: Names, width: int) -> mrg_net.MRG:
        from unimp_baselines import mrg_net

        sizes = len(names.users), len(names.items), len(names.words)
        shape = mrg_net.Shape(*sizes, self.factors, self.words, self.state, self.dropout, width)
        return mrg_net.MRG(shape)

    def _pictures(self, view: Catalogue, context: Context, learned: Learned | None = None) -> Pictures:
        """Pictures of a catalogue, made once for all parts of a run, for what was learned if there is something."""
        from unimp_baselines.mrg_pictures import Pictures, thumbnails

        if self._looked is None or self._looked[0] is not view:
            if self.pictures in THUMBNAILS:
                shuffle = context.seed if self.pictures == THUMBNAILS[1] else None
                found = thumbnails(view, context.progress, shuffle)
            else:
                if learned is None:
                    features = item_features(view, self.pictures, context)
                else:
                    digest = learned.facts.get("features")
                    features = features_of_fit(view, self.pictures, digest, context)
                rows = np.where(features.present, np.arange(len(features.values)), -1)
                found = Pictures(features.values, rows, features.digest)
            self._looked = view, found
        return self._looked[1]

    def predict(self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context) -> Iterator[pl.DataFrame]:
        """A rating or a sentence for each example, in blocks of one size."""
        from unimp_baselines.mrg_words import texts_of
        from unimp_baselines.search_training import in_blocks

        learned = self._learned
        assert learned is not None, "fit or load first"
        pictures = self._pictures(view, context, learned)
        network: mrg_net.MRG = learned.network
        pairs = Pairs.of(examples, "target_item_id", learned.names, view)
        words = learned.names.words.to_list()

        def answer(rows: NDArray[np.int64]) -> torch.Tensor:
            batch = pairs.batch(rows, pictures, self.device)
            if task == "preference":
                return network.ratings(batch).clamp(LOWEST, HIGHEST)
            return network.sentences(batch, self.sentence)

        for rows, said in in_blocks(answer, examples.height, _NUMBERS):
            if task == "preference":
                yield answered(examples, rows, "rating", said.cpu().numpy())
            else:
                yield answered(examples, rows, "text", texts_of(said.tolist(), words))


def _rows(data: Mapping[str, TaskData]) -> pl.DataFrame:
    """Train rows with a rating or an explanation, in order.

    Raises:
        ConfigError: what a task asks for is in none of them.
    """
    columns = ["user_id", "item_id", "rating", "explanation"]
    given = next(iter(data.values())).interactions.sort("user_id", "position").select(columns)
    rows = given.filter(pl.col("rating").is_not_null() | pl.col("explanation").is_not_null()).collect()
    for task, column in (("preference", "rating"), ("explanation", "explanation")):
        if task in data and rows[column].null_count() == rows.height:
            raise ConfigError(
                f"mrg: no train row has an entry in {column}, which {task} is learned from; build a dataset with some"
            )
    return rows


def _valid(data: TaskData) -> pl.DataFrame:
    """Validation questions with their answers."""
    return data.valid.select("user_id", "target_item_id", "rating", "text").collect()
