"""P5 (Geng et al. 2022) and VIP5 (Geng et al. 2023): four tasks as text to text in one T5.

**P5.** Questions are text (`prompts`), answers are text, one loss: the mean cross-entropy of the answer's tokens (P5,
equation 1). Whole-word embeddings tell the encoder which pieces are one word; the same code numbers them when training
and when asking. The history of a sequential question is a window whose end is one of a user's last three train rows and
whose start one of the first three (`questions.Rows`).

**VIP5** is P5 and two things more. Each mention of an item with a picture is followed by `pictures` visual tokens, a
Linear-Tanh-Linear map of one feature vector of the whole picture, with an embedding that tells them from text (section
3.1). Adapters, x + W_up gelu(W_down x), follow every attention and feed-forward part (section 3.3). With published
weights the T5 is frozen but for its normalisations, and adapters, visual map, whole words and added tokens are learned.
**Without `weights` nothing is frozen**: a frozen network that never learned anything would say nothing; the adapters
are then just some layers more.

Answers: items by a beam over the tree of ids, so that every answer is an item (`decoding.item_scores`; exact for atomic
ids); a rating as one of five tokens, 5 among them, either their mean (`stars=mean`, which RMSE asks for) or the
likeliest one (`stars=mode`, as P5); selections by listing labels in order, each at most once; sentences greedily.

Departures from the papers, and why:

- Ids are drawn numbers or atomic. P5's numbers give held-out items away; `item_ids=sequential` shows it (`numbering`).
- One split for all tasks, the toolkit's: P5's random split of reviews shows the test interactions of one task in the
  training of another.
- No wording holds a feature word of the right explanation, and no user is called by the name in their reviews.
- Ratings are whole stars; P5 draws decimals around them and then leaves 5.0 out of RMSE.
- Questions about ratings and explanations show the history's ratings: new users have nothing else. Users that are not
  known, those of held-out domains and a share `nameless` of training questions are not named.
- Sentences are decoded greedily and cut at `sentence` tokens; batches hold one task each.
- Wordings are ours, four to train on and one that is never trained on (`wording=unseen`).
- A T5 made here (1.3 million weights by default) has a byte-level BPE vocabulary of titles and train sentences.

`features=FILE` gives VIP5 item features from anybody's encoder: `.npy` of shape (items, numbers) in order of
`item_index`, or Parquet with columns `item_id` and `features`. VIP5 has CLIP's; the built-in descriptor stands in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl

from unimp_baselines.common import EVERY_COHORT, device, past_items, require
from unimp_bench.dataset import Catalogue
from unimp_bench.errors import ConfigError
from unimp_bench.runners.protocol import Context, ScoreBlock, Space, TaskData


@dataclass
class P5:
    """T5 that recommends, rates, explains and selects; see the module for what it does and what it does otherwise."""

    weights: str | None = None  # folder or hub name of a T5; without it a small one is made
    item_ids: Literal["atomic", "shuffled", "sequential"] = "shuffled"
    width: int = 128  # of the small T5
    layers: int = 2
    heads: int = 4
    dropout: float = 0.1
    vocabulary: int = 2_000  # text tokens of the small T5, at most
    lr: float | None = (
        None  # none: 1e-3 (the papers') for given weights, 3e-3 for the small T5, which begins at nothing
    )
    warm_up: float = 0.05
    weight_decay: float = 0.01
    clip: float = 1.0
    batch: int = 32
    epochs: int = 10
    patience: int = 2  # epochs without a lower validation loss
    history: int = 20  # items
    windows: int = 5  # stretches of each user's rows in an epoch
    ends: Literal["last3", "any"] = "last3"
    selections: int = 5  # times that each selection is shown in an epoch
    nameless: float = 0.2  # share of training questions without the user's name
    sentence: int = 64  # tokens
    beam: int = 20
    stars: Literal["mean", "mode"] = "mean"
    wording: Literal["seen", "unseen"] = "seen"
    valid_questions: int = 500  # of each task
    max_seconds: float = 0.0  # of training, checked after each step; 0: no limit
    gpu: bool = True  # use one where there is one

    tasks: ClassVar[frozenset[str]] = frozenset({"recommendation", "preference", "explanation", "selection"})
    cohorts: ClassVar[frozenset[str]] = EVERY_COHORT
    version: ClassVar[int] = 1
    reads_truth: ClassVar[bool] = False
    joint: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("torch", "transformers", "tokenizers")
    search: ClassVar[Space] = {"lr": (1e-3, 2e-3, 3e-3), "dropout": (0.0, 0.1), "history": (10, 20), "windows": (3, 5)}

    _learned: Any = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse parameters without meaning."""
        least = ("width", "layers", "heads", "batch", "epochs", "history", "windows", "selections", "beam")
        wrong = [name for name in (*least, "valid_questions") if getattr(self, name) < 1]
        wrong += [name for name in ("nameless", "warm_up") if not 0 <= getattr(self, name) <= 1]
        wrong += [name for name in ("lr", "clip") if (value := getattr(self, name)) is not None and value <= 0]
        wrong += ["dropout"] * (not 0 <= self.dropout < 1) + ["patience"] * (self.patience < 0)
        wrong += ["vocabulary (at least 300)"] * (self.vocabulary < 300) + ["sentence (at least 2)"] * (
            self.sentence < 2
        )
        if wrong or self.width % self.heads:
            named = ", ".join(wrong) or "width (a multiple of heads)"
            raise ConfigError(f"{self._name}: {self} cannot be; change {named}")

    @property
    def _name(self) -> str:
        return type(self).__name__.lower()

    @property
    def device(self) -> str:
        """Where it computes."""
        return device(self._name, self.gpu)

    def fit(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Learn all tasks that are given, with validation to stop by.

        Raises:
            ConfigError: there is nothing to learn from, weights or features cannot be read, or the loss is not finite.
        """
        self._learn(data, context, "in_domain")

    def adapt(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Go on with the rows of held-out domains, whose users are never named."""
        self._learn(data, context, "new_domain")

    def _learn(self, data: Mapping[str, TaskData], context: Context, cohort: str) -> None:
        self._needs()
        import torch

        from unimp_baselines.t5 import numbering, questions, starting, training
        from unimp_baselines.t5.learned import Learned

        rng = context.rng(self._name, cohort)
        seed = int(rng.integers(1 << 31))
        new = cohort == "new_domain"
        with torch.random.fork_rng():  # the caller's generator goes on as if nothing had been drawn
            torch.manual_seed(seed)
            learned = self._learned if new else starting.fresh(self._start(), data, context.seed)
            assert learned is not None, "fit or load first"
            if new and self.item_ids == "sequential":
                learned = starting.renumbered(learned, data)
            if self.weights is not None and (sight := self._sight()) is not None and sight.adapter:
                learned.network.freeze()
            network = learned.network.to(self.device)
            lessons = questions.Lessons.of(data, self.history, self.valid_questions, rng)
            view = next(iter(data.values())).catalogue
            reader = self._reader(learned, view)
            plan = self._plan(seed, 1.0 if new else self.nameless, context.limit(self.max_seconds))
            context.progress.start(f"{self._name}: {cohort}", self.epochs, "epochs")

            def told(epoch: int, losses: dict[str, float]) -> None:
                context.progress.advance()
                context.record(cohort if new else "fit", epoch, **losses)

            checkpoint = context.scratch / f"{cohort}.checkpoint"
            facts: dict[str, Any] = training.train(network, reader, lessons, plan, checkpoint, told)
        context.progress.finish()
        facts |= training.sizes(network)
        never_named = plan.nameless >= 1
        learned = Learned(network, learned.vocabulary, learned.mean, learned.spread, never_named, facts)
        if "recommendation" in data:
            asked = data["recommendation"].valid.collect().sort("example_id")
            some = asked[np.sort(rng.permutation(asked.height)[: self.valid_questions])]
            facts["valid_ndcg10"] = self._ndcg10(learned, reader, some, view)
            places = {item: k for k, item in enumerate(learned.vocabulary.items)}
            pasts = zip(past_items(asked).to_list(), asked["item_ids"].list.first().to_list(), strict=True)
            facts["valid_ndcg10_by_number"] = numbering.ndcg10_by_number(places, pasts)
            found = {k: facts[k] for k in ("valid_ndcg10", "valid_ndcg10_by_number") if facts[k] is not None}
            context.record("best", facts["best_epoch"], **found)
        best = "none" if facts["best"] is None else f"{facts['best']:.4f}"
        context.progress.say(
            f"{self._name}: {facts['epoch']} epochs in {facts['seconds']:.0f} s, best after {facts['best_epoch']} "
            f"(validation loss {best}); {facts['learned']:,} of {facts['weights']:,} weights learned"
        )
        self._learned = learned

    def _needs(self) -> None:
        require(self._name, "pip install 'unimp-bench[unimp]'", *self.packages)

    def _plan(self, seed: int, nameless: float, max_seconds: float) -> Any:
        from unimp_baselines.t5.training import Plan

        return Plan(
            epochs=self.epochs,
            patience=self.patience,
            batch=self.batch,
            lr=self.lr or (3e-3 if self.weights is None else 1e-3),
            warm_up=self.warm_up,
            weight_decay=self.weight_decay,
            clip=self.clip,
            windows=self.windows,
            selections=self.selections,
            history=self.history,
            ends=self.ends,
            nameless=nameless,
            seed=seed,
            max_seconds=max_seconds,
            device=self.device,
        )

    def _sight(self) -> Any:
        """How pictures are seen; None: not at all."""
        return None

    def _start(self) -> Any:
        from unimp_baselines.t5.starting import Start

        return Start(
            weights=self.weights,
            item_ids=self.item_ids,
            width=self.width,
            layers=self.layers,
            heads=self.heads,
            dropout=self.dropout,
            vocabulary=self.vocabulary,
            sight=self._sight(),
        )

    def _reader(self, learned: Any, view: Catalogue) -> Any:
        """What makes tokens of questions under a view; puts the view's pictures into the network."""
        import torch

        from unimp_baselines.t5 import pictures, starting
        from unimp_baselines.t5.encoding import Reader

        sight = self._sight()
        pictured: list[str] = []
        if sight is not None:
            pictured, table = pictures.features(view, sight.features)
            if table.shape[1] != len(learned.mean):
                raise ConfigError(
                    f"vip5: {table.shape[1]} features of a picture, learned from {len(learned.mean)}; "
                    "give the encoder's file that it was fitted with"
                )
            rows = torch.from_numpy((table - learned.mean) / learned.spread)
            learned.network.features = rows.to(self.device)
        config = learned.network.t5.config
        return Reader(
            learned.vocabulary,
            starting.titles(view),
            {item: k for k, item in enumerate(pictured)},
            config.eos_token_id,
            config.pad_token_id,
            0 if sight is None else sight.pictures,
            self.sentence,
        )

    def predict(
        self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context
    ) -> Iterator[pl.DataFrame | ScoreBlock]:
        """Answers in batches of examples."""
        from unimp_baselines.t5 import answering

        learned = self._learned
        assert learned is not None, "fit or load first"
        yield from answering.answers(
            task,
            examples,
            view,
            learned,
            self._reader(learned, view),
            answering.Manner(
                self.history, self.beam, self.stars == "mean", self.wording == "unseen", self.sentence, self.device
            ),
        )

    def _ndcg10(self, learned: Any, reader: Any, asked: pl.DataFrame, view: Catalogue) -> float | None:
        """Mean NDCG@10 of validation questions, seen items masked; None where there are none."""
        from unimp_baselines.t5 import answering

        manner = answering.Manner(self.history, self.beam, True, False, self.sentence, self.device)
        return answering.ndcg10(asked, view, learned, reader, manner)

    def save(self, folder: Path) -> None:
        """Write weights, ids, tokenizer and `state.json` with the files' sums."""
        assert self._learned is not None, "fit first"
        self._learned.save(folder)

    def load(self, folder: Path) -> None:
        """Take up what `save` wrote.

        Raises:
            ConfigError: a package is missing.
            IncompleteError: a file is not there or was changed.
        """
        self._needs()
        from unimp_baselines.t5.learned import Learned

        self._learned = Learned.load(folder, self.device)


@dataclass
class VIP5(P5):
    """P5 with visual tokens after every mention of an item, and adapters; see the module."""

    features: Path | None = None  # of the items' pictures; without it the built-in descriptor's
    pictures: int = 2  # visual tokens of an item
    adapter: int = 8  # the width is divided by it; 0: no adapters, and nothing is frozen
    warm_up: float = 0.1
    clip: float = 5.0

    needs: ClassVar[frozenset[str]] = frozenset({"pictures"})

    def __post_init__(self) -> None:
        """Refuse parameters without meaning."""
        super().__post_init__()
        if self.pictures < 1 or self.adapter < 0:
            raise ConfigError(f"vip5: pictures={self.pictures}, adapter={self.adapter}; at least 1 and 0")

    def _sight(self) -> Any:
        from unimp_baselines.t5.starting import Sight

        return Sight(self.features, self.pictures, self.adapter)
