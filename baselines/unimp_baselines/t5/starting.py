"""What training starts from: numbers of items and users, a vocabulary, and a network around a T5, new or published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from unimp_baselines.t5 import network, numbering, pictures, vocabulary, weights
from unimp_baselines.t5.learned import Learned
from unimp_baselines.t5.prompts import NOBODY, WORDINGS
from unimp_bench.dataset import Catalogue
from unimp_bench.errors import ConfigError
from unimp_bench.runners.protocol import TaskData
from unimp_bench.tasks.item_texts import cut, disarmed

ItemIds = Literal["atomic", "shuffled", "sequential"]
_LEAST_LABELS = 32


@dataclass(frozen=True)
class Sight:
    """How pictures are seen: features from a file or by the descriptor, visual tokens of an item, adapters' divisor."""

    features: Path | None
    pictures: int
    adapter: int


@dataclass(frozen=True)
class Start:
    """What a user chose of a network."""

    weights: str | None
    item_ids: ItemIds
    width: int
    layers: int
    heads: int
    dropout: float
    vocabulary: int
    sight: Sight | None  # None: P5


def fresh(start: Start, data: Mapping[str, TaskData], seed: int) -> Learned:
    """A network that has learned nothing of the shop, with its vocabulary.

    Raises:
        ConfigError: weights or features cannot be read, or there are no pictures to see.
    """
    given = next(iter(data.values()))
    view, sight = given.catalogue, start.sight
    if sight is not None and not view.items["image_id"].count():
        raise ConfigError("vip5: the dataset has no pictures; build it with pictures, or run p5")
    items = numbering.drawn(view.items["item_id"], seed)
    if start.item_ids == "sequential":
        items = numbering.by_appearance(numbering.walks(given.interactions, _answers(data)), items)
    users = numbering.drawn(given.interactions.select("user_id").unique().collect()["user_id"], seed)
    if start.weights is None:
        texts = [*titles(view).values(), *_sentences(data), *(text for family in WORDINGS.values() for text in family)]
        tokenizer = vocabulary.trained([*texts, NOBODY], start.vocabulary)
        t5 = weights.small(tokenizer.get_vocab_size(), start.width, start.layers, start.heads, start.dropout)
    else:
        t5, tokenizer = weights.published(start.weights)
    rows = t5.shared.weight.shape[0]
    labels = max(_LEAST_LABELS, _most_choices(data))
    known = vocabulary.Vocabulary(tokenizer, rows, tuple(items), tuple(users), labels, start.item_ids == "atomic")
    if sight is None:
        nothing = np.zeros(0, dtype=np.float32)
        return Learned(network.Personal(t5, network.Extras(known.added)), known, nothing, nothing, False, {})
    mean, spread = pictures.scales(pictures.features(view, sight.features)[1])
    extras = network.Extras(known.added, len(mean), sight.pictures, sight.adapter)
    return Learned(network.Personal(t5, extras), known, mean, spread, False, {})


def renumbered(learned: Learned, data: Mapping[str, TaskData]) -> Learned:
    """With a held-out domain's items numbered as its users' rows come upon them; all other numbers stay."""
    given = next(iter(data.values()))
    members = set(given.catalogue.items.filter(pl.Series(given.catalogue.members("new_domain")))["item_id"])
    old = [item for item in learned.vocabulary.items if item not in members]
    rest = [item for item in learned.vocabulary.items if item in members]
    met = numbering.by_appearance(numbering.walks(given.interactions, _answers(data)), rest)
    return replace(learned, vocabulary=replace(learned.vocabulary, items=(*old, *met)))


def titles(view: Catalogue) -> dict[str, str]:
    """Titles of items, their first 20 words, disarmed; items without one are left out."""
    named = view.items.select("item_id", cut(disarmed(pl.col("title")), 20).alias("title")).drop_nulls()
    return dict(named.iter_rows())


def _sentences(data: Mapping[str, TaskData]) -> list[str]:
    """Train explanations, each once, in the order of the alphabet."""
    if "explanation" not in data:
        return []
    texts = data["explanation"].train.select("text").drop_nulls().unique().collect()["text"]
    return texts.sort().to_list()


def _answers(data: Mapping[str, TaskData]) -> pl.LazyFrame:
    """Validation examples with the items that they ask for."""
    return (data["recommendation"] if "recommendation" in data else next(iter(data.values()))).valid


def _most_choices(data: Mapping[str, TaskData]) -> int:
    if "selection" not in data:
        return 0
    frames = (data["selection"].train, data["selection"].valid)
    most = [frame.select(pl.col("candidates").list.len().max()).collect().item() for frame in frames]
    return max((int(n) for n in most if n is not None), default=0)
