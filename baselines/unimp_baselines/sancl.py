"""SANCL, selective attention and contrast (Han, Chen, Hu, Yan, Liu & Jin, Findings of NAACL 2022), adapted to ratings.

SANCL ranks reviews of a product by how helpful they are; UniMP's paper has it predict ratings and does not say how.
Here the product is the item asked about, the review is the user's profile: the last ratings with titles and
explanations, and the pictures of the last items with their ratings. P are states of the item, R of the profile:

    states   = mean over kernels 1, 3, 5 of relu(convolution(word vectors))
    m        = 1 for a profile's words that the item's text has too, else 0.5                 (the probe mask)
    R'       = softmax(Q K^T) * (m m^T) R + R                                                 (selective attention)
    R''      = softmax_P(relu(P W + b) R'^T)^T P + R'                                         (product-aware attention)
    pictures = a transformer over mapped features + ratings, then product-aware attention alike
    text and pictures of both sides, pooled (words by m), fall into two common spaces each: cm and rp
    rating   = mu + MLP of the eight vectors
    L        = squared error + alpha mean of four InfoNCE terms by cosine, positives rated `liked` or better:
               cm(text) with cm(picture) of either side, rp(item) with rp(profile) of words and of pictures

Departures from the paper and its code, beside the task: the loss (it has an adaptive hinge over reviews of a product);
word vectors and convolutions are learned here (the released code draws BERT's weights at random and freezes the
convolutions); an item's vector by a named encoder is its one picture, where it has 32 regions; words match by being
equal, without coreference; the item's pictures have the place in the score where the released code takes its text
twice, and the contrasts between text and pictures see both, where it gives them pictures alone; the negatives of a
contrast are the batch's; a constant lr, the epoch by validation. Sizes are smaller by default: the paper's are
`width=128`, `layers=3`, `profile_words=128`, `lr=1e-4`.
A profile is all that is known of a user, so new users are served; held-out domains are learned by `adapt`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from unimp_baselines.answer_runner import HIGHEST, LOWEST, AnswerRunner, Learned, answered, ratings, shuffled
from unimp_baselines.common import EVERY_COHORT, require_torch
from unimp_baselines.recbole.feed import numbered
from unimp_baselines.sancl_profiles import WORDS, Profiles, Shelf, vocabulary
from unimp_baselines.search_common import Names
from unimp_bench.dataset import Catalogue
from unimp_bench.errors import ConfigError
from unimp_bench.features import ItemFeatures, features_of_fit, item_features
from unimp_bench.runners.protocol import Context, Space, TaskData

if TYPE_CHECKING:
    import torch

    from unimp_baselines import sancl_net

_NUMBERS = 1 << 17  # that a row takes while it is answered, about: blocks of 128 rows


@dataclass
class SANCL(AnswerRunner):
    """Ratings from an item and a profile."""

    epochs: int = 30
    patience: int = 5  # epochs without a lower validation loss
    width: int = 32  # d
    layers: int = 1  # of the transformer over pictures
    heads: int = 4
    dropout: float = 0.2
    alpha: float = 0.1  # weight of the contrasts
    liked: float = 4.0  # the least rating of a positive
    item_words: int = 32  # tokens of an item
    profile_words: int = 64  # tokens of a profile, its last
    history: int = 20  # entries of a profile whose pictures and ratings count
    min_count: int = 5  # rarer words are unknown
    pictures: str = "unimp_tower"  # an encoder of `unimp_bench.features`

    tasks: ClassVar[frozenset[str]] = frozenset({"preference"})
    cohorts: ClassVar[frozenset[str]] = EVERY_COHORT
    needs: ClassVar[frozenset[str]] = frozenset({"pictures"})
    system: ClassVar[str] = "sancl"
    search: ClassVar[Space] = {
        "lr": (3e-4, 1e-3),
        "width": (32, 64, 128),
        "dropout": (0.1, 0.2, 0.4),
        "alpha": (0.0, 0.1),
    }

    _shelf: tuple[Catalogue, Shelf] | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse parameters without meaning."""
        super().__post_init__()
        least = ("width", "layers", "heads", "item_words", "profile_words", "history", "min_count")
        wrong = any(getattr(self, name) < 1 for name in least) or self.width % self.heads
        if wrong or self.alpha < 0 or not 0 <= self.dropout < 1:
            raise ConfigError(
                f"sancl: {self}; wanted {', '.join(least)} of at least 1, width a multiple of heads, alpha of at least "
                "0, dropout from 0 to below 1"
            )

    def fit(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Train on train rows with what their users did before, stop by validation.

        Raises:
            ConfigError: there is nothing to learn from, no picture to look at, or the loss is not finite.
        """
        self._learn(data["preference"], context, "in_domain")

    def adapt(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Train on the rows of held-out domains, from the first weights; words that were unknown start anew."""
        self._learn(data["preference"], context, "new_domain")

    def _learn(self, data: TaskData, context: Context, cohort: str) -> None:
        require_torch("sancl")
        from unimp_baselines.search_training import inherit

        columns = ["user_id", "item_id", "rating", "explanation"]
        rows = data.interactions.sort("user_id", "position").select(columns).collect()
        given = ratings(rows)
        if np.isnan(given).all():
            raise ConfigError(
                f"sancl: no train row of {cohort} has a rating to learn from; build the dataset with some"
            )
        nothing = pl.Series([], dtype=pl.String)
        names = Names(nothing, nothing, vocabulary(data.catalogue.items, rows, self.min_count))
        earlier = self._learned
        if earlier is None or cohort == "in_domain":
            features = item_features(data.catalogue, self.pictures, context)
        else:
            features = self._seen(data.catalogue, earlier, context)
        shelf = Shelf.of(data.catalogue, names.words, features.values)

        def start() -> Any:
            network = self._network(names, features.width).to(self.device)
            if earlier is not None and cohort == "new_domain":
                inherit(network, earlier.network, _shared(names, earlier.names))
            else:
                _scaled(network, features)
            network.mean.fill_(float(np.nanmean(given)))
            return network, *self._training(
                network, Profiles.before(rows, shelf, names.words), given, data, shelf, names
            )

        network, facts = self._trained(context, cohort, start)
        facts["features"] = features.digest
        self._learned, self._shelf = Learned(network, names, features.width, facts), None

    def _seen(self, view: Catalogue, learned: Learned, context: Context) -> ItemFeatures:
        """Features of a view by the encoder that was learned with."""
        return features_of_fit(view, self.pictures, learned.facts.get("features"), context)

    def _training(
        self,
        network: sancl_net.SANCL,
        profiles: Profiles,
        given: NDArray[np.float32],
        data: TaskData,
        shelf: Shelf,
        names: Names,
    ) -> tuple[Any, Any]:
        """What `_trained` asks for: the losses of an epoch, and the validation errors."""
        import torch

        rated = np.flatnonzero(~np.isnan(given))
        asked = data.valid.select("user_id", "history", "target_item_id", "rating").collect()
        valid, truth = Profiles.shown(asked, shelf, names.words), ratings(asked)

        def epoch(generator: torch.Generator, number: int) -> Iterator[tuple[torch.Tensor, int]]:
            for part in shuffled(len(rated), self.batch, generator):
                some = rated[part.numpy()]
                target = torch.from_numpy(given[some]).to(self.device)
                batch = profiles.batch(some, shelf, self._sizes(), self.device)
                yield network.loss(batch, target, self.liked, self.alpha), len(some)

        def errors() -> dict[str, float]:
            total = 0.0
            for some, said in self._ratings(network, valid, shelf):
                total += float(((said.numpy() - truth[some]) ** 2).sum())
            return {"squared_error": total / len(valid)} if len(valid) else {}

        return epoch, errors

    def _sizes(self) -> tuple[int, int, int]:
        return self.item_words, self.profile_words, self.history

    def _ratings(
        self, network: sancl_net.SANCL, profiles: Profiles, shelf: Shelf
    ) -> Iterator[tuple[NDArray[np.int64], torch.Tensor]]:
        """Row numbers with their ratings on the scale, in blocks of one size."""
        from unimp_baselines.search_training import in_blocks

        def answer(rows: NDArray[np.int64]) -> torch.Tensor:
            batch = profiles.batch(rows, shelf, self._sizes(), self.device)
            return network.ratings(batch).clamp(LOWEST, HIGHEST).cpu()

        return in_blocks(answer, len(profiles), _NUMBERS)

    def _network(self, names: Names, width: int) -> sancl_net.SANCL:
        from unimp_baselines import sancl_net

        shape = sancl_net.Shape(len(names.words), width, self.width, self.layers, self.heads, self.dropout)
        return sancl_net.SANCL(shape)

    def predict(self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context) -> Iterator[pl.DataFrame]:
        """A rating for each example."""
        learned = self._learned
        assert learned is not None, "fit or load first"
        if self._shelf is None or self._shelf[0] is not view:
            features = self._seen(view, learned, context)
            self._shelf = view, Shelf.of(view, learned.names.words, features.values)
        shelf = self._shelf[1]
        profiles = Profiles.shown(examples, shelf, learned.names.words)
        for rows, said in self._ratings(learned.network, profiles, shelf):
            yield answered(examples, rows, "rating", said.numpy())


def _scaled(network: sancl_net.SANCL, features: ItemFeatures) -> None:
    """Let a network see features around 0 and of size 1, whatever the encoder's are."""
    import torch

    shown = features.values[features.present]
    centre = shown.mean(0)
    size = float(np.sqrt(((shown - centre) ** 2).mean()))
    network.centre.copy_(torch.from_numpy(centre))
    network.scale.fill_(size if size > 1e-6 else 1.0)


def _shared(new: Names, earlier: Names) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens of two vocabularies that stand for the same things."""
    import torch

    numbers = numbered(new.words, earlier.words)
    rows = np.flatnonzero(numbers)
    first = np.arange(WORDS)
    both = np.concatenate([first, rows + WORDS]), np.concatenate([first, numbers[rows] + WORDS - 1])
    return torch.from_numpy(both[0]), torch.from_numpy(both[1])
