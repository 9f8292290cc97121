"""TIGER: generative retrieval over semantic ids (Rajput et al., NeurIPS 2023).

An autoencoder with residual quantisation turns an item's text into a few codes (`tiger_quantiser`), one more code tells
alike items apart (`tiger_naming`), and an encoder-decoder reads the codes of a history and writes those of the next
item (`tiger_net`). A ranking is a beam along the tree of all ids: no answer is an item that does not exist, and items
that the beam lost fall behind it in the order of their prefixes, so a ranking is as long as the catalogue. Choices
among candidates are by their exact probability, with a threshold tuned on validation.

An item of a held-out domain is named with the codebooks as they are. With `transfer=zero_shot` the network stays as it
is too (section 4.3's cold start, for a whole domain); with `transfer=finetune` it goes on learning from that domain's
rows. Users hash to one of 2,000 tokens; those of whom training saw nothing are read as nobody, which a share
of the training targets teaches.

Departures from the paper: another text encoder than Sentence-T5 by default; Adam at a constant rate instead of
Adagrad and Adafactor with a schedule; a smaller network by default; a codebook that is chosen by the catalogue's size;
dead codes are moved; the softmax is over one level's codes; the beam is bound to ids that exist; nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import polars as pl

from unimp_baselines.common import EVERY_COHORT, device, require_torch
from unimp_baselines.recbole import choosing
from unimp_baselines.recbole.feed import Feed
from unimp_baselines.telling import Step, told
from unimp_baselines.tiger_naming import Named, codebook_size, distinct
from unimp_bench.dataset import Catalogue
from unimp_bench.errors import ConfigError
from unimp_bench.runners.protocol import Context, ScoreBlock, Space, TaskData

if TYPE_CHECKING:
    import torch

    from unimp_baselines.t5.decoding import Tree
    from unimp_baselines.tiger_net import Shape, Tiger
    from unimp_baselines.tiger_quantiser import Quantiser

_SIZES = ("levels", "latent", "width", "layers", "heads", "inner", "users", "history")
_AMOUNTS = ("quantiser_steps", "quantiser_batch", "batch", "epochs", "valid_users")


@dataclass
class TIGER:
    """Generative retrieval over residual-quantised semantic ids of item texts."""

    text: str = "tfidf_svd"  # encoder of the items' text
    levels: int = 3  # codes of an item, without the one that tells alike items apart
    codebook: int = 0  # codes of a level; 0: 64, or 256 from 4,096 items on, and a quarter of the items at most
    latent: int = 32
    quantiser_steps: int = 2_000
    quantiser_batch: int = 1_024  # items
    width: int = 64  # the paper's 128
    layers: int = 2  # of the encoder, and of the decoder; the paper's 4
    heads: int = 4
    inner: int = 256  # the paper's 1,024
    dropout: float = 0.1
    users: int = 2_000  # tokens that users hash to
    nobody: float = 0.1  # share of training targets whose user is not told
    lr: float = 1e-3
    batch: int = 256  # targets
    targets: int = 0  # of each user in an epoch, drawn anew; 0: all
    epochs: int = 100
    patience: int = 8  # epochs without a better validation NDCG@10
    valid_users: int = 500  # validation examples looked at, at most
    history: int = 20  # items
    beam: int = 128  # prefixes kept of each level; 0: every item is scored exactly
    transfer: Literal["finetune", "zero_shot"] = "finetune"  # what `adapt` does for a held-out domain
    max_seconds: float = 0.0  # of training; no epoch begins that would end later; 0: no limit
    gpu: bool = True  # use one where there is one

    tasks: ClassVar[frozenset[str]] = frozenset({"recommendation", "selection"})
    cohorts: ClassVar[frozenset[str]] = EVERY_COHORT
    version: ClassVar[int] = 1
    reads_truth: ClassVar[bool] = False
    joint: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("torch",)
    needs: ClassVar[frozenset[str]] = frozenset({"text"})
    examples_a_part: ClassVar[int] = 8_192
    search: ClassVar[Space] = {"lr": (5e-4, 1e-3, 2e-3), "width": (64, 128), "layers": (1, 2, 4), "dropout": (0.1, 0.3)}

    _learned: Any = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse parameters without meaning."""
        wrong = [name for name in (*_SIZES, *_AMOUNTS) if getattr(self, name) < 1]
        wrong += [name for name in ("targets", "patience", "beam") if getattr(self, name) < 0]
        wrong += [name for name in ("dropout", "nobody") if not 0 <= getattr(self, name) < 1]
        if self.codebook < 0 or self.codebook == 1:
            wrong.append("codebook")
        if self.lr <= 0:
            wrong.append("lr")
        if self.width % max(1, self.heads):
            wrong.append("heads")
        if wrong:
            raise ConfigError(
                f"tiger: {', '.join(f'{name}={getattr(self, name)}' for name in wrong)}; wanted counts of at least 1 "
                "(targets, patience, beam: 0; codebook: 0 or at least 2), lr above 0, dropout and nobody from 0 to "
                "below 1, width a multiple of heads"
            )

    @property
    def device(self) -> str:
        """Where it computes."""
        return device("tiger", self.gpu)

    @property
    def _shape(self) -> Shape:
        """Sizes of the network but for those of the codes, which the quantiser decides."""
        from unimp_baselines.tiger_net import Shape

        return Shape((), self.users, self.width, self.layers, self.heads, self.inner, self.dropout, self.history)

    def fit(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Learn codebooks and network, stop by validation, tune the threshold of selection on validation.

        Raises:
            ConfigError: there is nothing to learn from, no item has text, or the loss is not finite.
        """
        self._learn(data, context, "in_domain")

    def adapt(self, data: Mapping[str, TaskData], context: Context) -> None:
        """Name the items of held-out domains with the codebooks as they are; go on learning unless `zero_shot`."""
        self._learn(data, context, "new_domain")

    def _learn(self, data: Mapping[str, TaskData], context: Context, cohort: str) -> None:
        require_torch("tiger")
        import torch

        from unimp_baselines import tiger_learned
        from unimp_baselines.t5.decoding import Tree
        from unimp_bench.features import features_of_fit, item_features

        given = data["recommendation"] if "recommendation" in data else data["selection"]
        feed, before = Feed.of(given, cohort), self._learned
        if before is None:
            found = item_features(given.catalogue, self.text, context)
        else:
            found = features_of_fit(given.catalogue, self.text, before.facts.get("features"), context)
        members = given.catalogue.members(cohort)
        present = torch.from_numpy(found.present[members])
        if not present.any():
            raise ConfigError(f"tiger: no item of {cohort} has text for {self.text}; build the dataset with titles")
        features = torch.from_numpy(found.values[members])
        with torch.random.fork_rng():  # the caller's generator goes on as if nothing had been drawn
            if before is None:
                quantiser, facts = self._quantised(features[present], context)
            else:
                quantiser, facts = before.quantiser, before.facts
            codes, order = quantiser.codes(features)
            named = Named(feed.items, distinct(codes.numpy(), order.numpy(), quantiser.form.codebook))
            alike = float((named.codes[:, -1] > 0).mean())
            context.progress.say(f"tiger: {100 * alike:.1f} % of {len(feed.items)} items have the codes of another")
            seed = int(context.rng("tiger", cohort).integers(1 << 31))
            torch.manual_seed(seed)
            network, tree = tiger_learned.network(quantiser, named, self._shape, self.device), Tree(named.codes)
            known: str | None = None
            if before is not None:
                network.load_state_dict(before.network.state_dict())
            if before is None or self.transfer == "finetune":
                spent = facts["quantiser_seconds"] if before is None else 0.0
                trained = self._trained(network, feed, tree, context, cohort, seed, spent)
                facts, known = {**facts, **trained}, cohort
        facts = {**facts, f"alike_{cohort}": alike, "features": found.digest}
        threshold = before.threshold if before is not None else None
        self._learned = tiger_learned.Learned(quantiser, named, tree, network.eval(), known, threshold, facts)
        if "selection" in data:
            asked = data["selection"].valid.collect()
            if asked.height and known is not None:  # zero-shot keeps the threshold, too
                chances = self._learned.chances(asked)
                threshold = choosing.best_threshold(chances, choosing.rights(asked, ~np.isnan(chances)))
                self._learned = replace(self._learned, threshold=threshold)

    def _quantised(self, features: torch.Tensor, context: Context) -> tuple[Quantiser, dict[str, Any]]:
        """The quantiser, learned from the features of items that have some, and what it came to."""
        from unimp_baselines.tiger_quantiser import Form, Work, learn

        codebook = codebook_size(self.codebook, len(features))
        form = Form(features.shape[1], self.latent, self.levels, codebook)
        seed = int(context.rng("tiger", "quantiser").integers(1 << 31))
        checkpoint = context.scratch / "quantiser.checkpoint"
        work = Work(self.quantiser_steps, self.quantiser_batch, seed, context.limit(self.max_seconds) / 4)
        context.progress.start("tiger: semantic ids", work.steps, "steps")
        quantiser, facts = learn(features, form, work, checkpoint, self.device, context.progress.advance)
        context.progress.finish()
        used = ", ".join(f"{100 * share:.0f} %" for share in facts["codes_used"])
        context.progress.say(f"tiger: {form.levels} levels of {codebook} codes, in use {used}")
        return quantiser, facts

    def _trained(
        self, network: Tiger, feed: Feed, tree: Tree, context: Context, cohort: str, seed: int, spent: float
    ) -> dict[str, Any]:
        """Train the network on a cohort's rows, `spent` seconds being gone already; what it came to."""
        import torch

        from unimp_baselines import tiger_training
        from unimp_baselines.learning import Plan
        from unimp_baselines.tiger_decoding import Asked
        from unimp_baselines.tiger_learned import rows_of, tokens

        rows = context.rng("tiger", cohort, "valid").permutation(len(feed.valid_targets))
        looked = np.sort(rows[: self.valid_users])
        users, past = tokens(feed.users, self.users), rows_of(feed.valid_histories)
        owners = np.pad(users, (1, 0))[feed.valid_users[looked]]
        valid = Asked(torch.from_numpy(owners), [past[k] for k in looked])
        targets = torch.from_numpy(feed.valid_targets[looked])
        lessons = tiger_training.Lessons(torch.from_numpy(users), rows_of(feed.sequences), valid, targets)
        # As wide as ten answers need beside all that was seen.
        manner = tiger_training.Manner(self.batch, self.targets, self.nobody, 10 + self.history)
        limit = context.limit(self.max_seconds)
        left = max(1e-3, limit - spent) if limit else 0.0
        plan = Plan("tiger", self.epochs, self.patience, self.lr, seed, left)
        checkpoint = context.scratch / f"{cohort}.checkpoint"

        def train(step: Step) -> dict[str, Any]:
            return tiger_training.train(network, lessons, tree, manner, plan, checkpoint, step)

        return told(context, "tiger", cohort, self.epochs, "NDCG@10", train)

    def predict(
        self, task: str, examples: pl.DataFrame, view: Catalogue, context: Context
    ) -> Iterator[pl.DataFrame | ScoreBlock]:
        """Score all items for each history, in blocks; or choose among candidates by the threshold."""
        from unimp_baselines import tiger_decoding

        learned = self._learned
        assert learned is not None, "fit or load first"
        if task == "selection":
            if examples.height:
                yield choosing.answers(examples, learned.chances(examples), learned.threshold)
            return
        index = np.array([view.index.get(item, -1) for item in learned.named.items.to_list()])
        for rows, scores in tiger_decoding.rankings(learned.network, learned.asked(examples), learned.tree, self.beam):
            whole = np.full((len(rows), view.items.height), -np.inf, dtype=np.float32)
            whole[:, index[index >= 0]] = scores.cpu().numpy()[:, index >= 0]
            yield ScoreBlock(examples["example_id"].gather(rows).to_list(), whole)

    def save(self, folder: Path) -> None:
        """Write weights, codebooks, names of items, and `state.json` with the files' sums."""
        assert self._learned is not None, "fit first"
        self._learned.write(folder)

    def load(self, folder: Path) -> None:
        """Take up what `save` wrote.

        Raises:
            ConfigError: PyTorch is not installed.
            IncompleteError: a file is not there or was changed.
        """
        require_torch("tiger")
        from unimp_baselines.tiger_learned import Learned

        self._learned = Learned.read(folder, self._shape, self.device)
