"""UniMP as a whole: made, trained in stages, saved, asked.

    making     what a model stands on (`parts.py`), then the stages of its training (`stages.py`)
    keeping    a folder that answers without the rest (`keeping.py`)
    asking     a decoder, with the weights that each task has of its own

Parts and stages leave what they made in the working folder; a killed training goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unimp import keeping, precision, requests, settling, stages, standing
from unimp.content import content_features, fill_rows, reset_rows
from unimp.decisions import Decisions
from unimp.decoding import Decoder
from unimp.errors import CheckpointError, TrainingError, UnimpError
from unimp.heads import Tuned
from unimp.item_rows import popularity
from unimp.modeling import Unimp
from unimp.neighbours import Floats, Neighbours
from unimp.options import Options
from unimp.parts import Report
from unimp.processes import Processes
from unimp.published import load_model
from unimp.ranking import RANKED
from unimp.retrieval import retrieved
from unimp.sequence import Style, Writer
from unimp.shop import TASKS, Example, Ints, Items, Shop
from unimp.threads import at_most
from unimp.training import Outcome, Record
from unimp.vocabulary import Vocabulary

_ITEM_TABLES = ("embed.new.weight", "head.new.weight")
T = TypeVar("T")


def silent(stage: str, share: float, words: str) -> None:
    """Report nothing."""


@dataclass
class System:
    """A UniMP system for one catalogue.

    `heads` are output rows of new ids per task, where a task has its own; `seconds` what each stage took. In a launch
    of several processes (`team`) each has a system and calls the same methods in the same order; only the first writes
    and reports. With `shard` they share out the weights while a stage is trained (FSDP2).
    """

    options: Options
    seed: int = 0
    team: Processes = field(default_factory=Processes.here)
    shard: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    heads: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    item_ids: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()  # that were learned
    domains: frozenset[str] = frozenset()  # that somebody bought from in training; pictures come from no other
    notes: list[str] = field(default_factory=list)  # what a user should know of the data
    decisions: Decisions = field(default_factory=Decisions)
    neighbours: Neighbours | None = None  # that rankings may count; their weights are among the decisions
    report: Report = silent
    record: Record | None = None

    # Making

    def fit(
        self,
        shop: Shop,
        folder: Path,
        *,
        report: Report = silent,
        record: Record | None = None,
        tasks: Sequence[str] = (),
    ) -> None:
        """Make all parts and train, on everything that the shop has answers for.

        Args:
            shop: what may be learned from.
            folder: of this training; what is there already is not made again.
            report: told of progress.
            record: given the learning curve.
            tasks: what to learn, all that the shop has by default.

        Raises:
            TrainingError, CheckpointError, UnimpError: in one line, what to do.
        """
        self._tell(report, record, folder)
        self.tasks = self._chosen(shop, tasks)
        torch.manual_seed(self.seed)
        self._begin(shop)
        self.item_ids = shop.items.ids
        self.domains = domains_of(shop)
        self._tell_precision()
        with at_most(self.options.budget.threads):
            self._stand(shop, Path(self.options.pretrained) if self.options.pretrained else folder / "parts")
            stages.language(self, shop)
            self._begin_biases(shop, np.ones(len(shop.items), dtype=bool))
            stages.caption(self, shop)
            stages.searches(self, shop)
            stages.histories(self, shop)
            stages.multi_task(self, shop)
            stages.fine_tune(self, shop)
            settling.settle(self, shop)
            stages.pictures(self, shop)

    def _tell_precision(self) -> None:
        if self.device.type == "cpu" and precision.halves(self.device, self.options.half):
            self.notes.append(
                "this CPU has matrix units: products of training are bfloat16; bf16=never keeps them float32"
            )

    def _chosen(self, shop: Shop, tasks: Sequence[str] = ()) -> tuple[str, ...]:
        """What is learned: tasks of the shop, of those given if any are, that `learn` names."""
        wanted = [task for task in shop.tasks if not tasks or task in tasks]
        chosen = wanted if self.options.learn == "all" else self.options.learn.split(",")
        if unknown := sorted({*chosen, *tasks} - set(TASKS)):
            raise UnimpError(f"no task '{unknown[0]}'; known: {', '.join(TASKS)}")
        if not (named := tuple(task for task in wanted if task in chosen)):
            raise TrainingError("there is nothing to learn: no task has training examples")
        return named

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self.team.device

    def _tell(self, report: Report, record: Record | None, folder: Path) -> None:
        """Begin something in a folder; only the first process speaks of it."""
        self.report, self.record, self.folder = (report if self.team.main else silent), record, folder

    def _begin(self, shop: Shop, *, adapting: bool = False) -> None:
        """Refuse a folder that not all processes see or that was begun for something else."""
        self.team.see(self.folder)
        request = requests.training(self.options, self.seed, self.tasks, shop, adapting=adapting)
        self.team.once(lambda: requests.same_training(self.folder, request))

    def timed(self, stage: str, work: Callable[[], T]) -> T:
        """Do a stage's work, book its seconds and tell of its end."""
        begun = time.monotonic()
        made = work()
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.monotonic() - begun, 1)
        self.report(stage, 1.0, f"{self.seconds[stage]:.0f} s")
        return made

    def pretrain(self, shop: Shop, folder: Path, report: Report = silent) -> None:
        """Make only the parts that every variant of a system shares, in `folder`; picture codes if any is to draw."""
        self._tell(report, None, folder)
        self.tasks, self.item_ids = self._chosen(shop), shop.items.ids
        torch.manual_seed(self.seed)
        with at_most(self.options.budget.threads):
            self._stand(shop, folder)
            stages.language(self, shop)

    def _stand(self, shop: Shop, folder: Path) -> None:
        self.parts_folder = folder
        self.model, self.parts, semantic = standing.stand(self, shop, folder)
        self._furnish(shop.items, semantic, learned_from=True)

    def _furnish(
        self, items: Items, semantic: Ints | None, *, learned_from: bool = False, places: int | None = None
    ) -> None:
        """Everything that follows from parts and model: vocabulary, writers; statistics where a catalogue is new."""
        self.semantic = semantic
        self.item_domains = items.domains
        self.vocabulary = Vocabulary.of(self.model.config, semantic)
        encoder = self.parts.encoder
        self.bodies = encoder.encode([f" {body}" for body in items.bodies])
        if self.model.content is not None:
            seen = None
            if self.model.content.vision:
                assert self.parts.features is not None
                seen = self.parts.features.means()
            words = encoder.encode([f" {body.lower()}" for body in items.bodies])  # as queries are asked
            if learned_from:
                self.model.content.learn(words, seen)
            self.model.content.furnish(words, seen)
        self.titles = encoder.encode([f" {title}" for title in items.titles])
        shown = self.parts.features is not None
        self.style = standing.style_of(self.options, self.model.config, pictures=shown, places=places)
        self.writer = self.writer_of(self.style)

    def writer_of(self, style: Style) -> Writer:
        """A writer of this catalogue in another style."""
        encoder = self.parts.encoder
        return Writer(
            self.vocabulary,
            self.bodies,
            self.titles,
            lambda text: encoder.encode([text])[0],
            style,
            weights={"recommendation": self.options.recommendation_weight},
            codes=self.parts.codes,
        )

    def _begin_biases(self, shop: Shop, which: NDArray[np.bool_]) -> None:
        """Let items `(items,)` begin as popular as the log says, and what is their own count as much as it can know."""
        if self.model.content is not None:
            self.model.content.trust(shop.log.item, which)
        if (bias := self.model.head.new.bias) is not None:
            own = torch.from_numpy(which).to(bias.device)
            with torch.no_grad():
                bias[-len(own) :][own] = popularity(shop.log.item, len(own)).to(bias)[own]

    # A held-out domain

    def adapt(self, shop: Shop, folder: Path, *, report: Report = silent, record: Record | None = None) -> None:
        """Learn a held-out domain, in the mode of `options.new_domain`.

        New items first get rows predicted from their words and pictures (a ridge regression onto the rows of known
        items). `zero_shot_content` stops there; the others go on with the domain's own training users.

        Args:
            shop: the whole catalogue, and the log of the held-out domains alone.
            folder: of this training.
            report: told of progress.
            record: given the learning curve.
        """
        self._tell(report, record, folder)
        self._begin(shop, adapting=True)
        self.domains = domains_of(shop)
        held_out = np.array([domain in self.domains for domain in shop.items.domains])
        self.timed("rows from content", lambda: self._rows_from_content(~held_out))
        learned = [task for task in self.tasks if task in shop.tasks and task != "image_generation"]
        if self.options.new_domain == "zero_shot_content" or not learned:
            return
        kept, self.heads = self.heads, {}  # a new domain is answered by the model itself
        self._begin_biases(shop, held_out)
        with at_most(self.options.budget.threads):
            stages.new_domain(self, shop, learned)
            settling.settle(self, shop)  # other weights, other customers
            if "image_generation" in kept:
                self.heads["image_generation"] = kept["image_generation"]
                if self.options.new_domain == "finetune_all":
                    stages.pictures(self, shop)

    def _rows_from_content(self, known: NDArray[np.bool_]) -> None:
        if self.vocabulary.levels > 1:
            return  # new items have a name already
        tables: list[Tensor] = [self.model.embed.new.weight, self.model.head.new.weight]
        # A task's own rows of items would else come back when it is asked.
        tables += [w for own in self.heads.values() for name, w in own.items() if name in _ITEM_TABLES]
        if self.model.content is not None:
            # Content says what they are; what stands beside it begins as that of the others.
            reset_rows(tables, self.vocabulary, known)
            return
        fill_rows(tables, self.vocabulary, content_features(self.parts, self.bodies), known)

    # Asking

    def decoder(self, model: Unimp | None = None) -> Decoder:
        """A decoder of the model as it is now, or of another one of this catalogue."""
        parts = self.parts
        return Decoder(model or self.model, self.writer, parts.patches, parts.has_picture, searched=self.shown)

    def rank(self, task: str, examples: Sequence[Example], decoder: Decoder) -> Floats:
        """Scores `(n, items)` of recommendation or search: the model's, and neighbours' where they were settled on."""
        scores = decoder.rank(task, examples, k=RANKED)
        if weight := self.decisions.neighbours.get(task, 0.0):
            near = self.near_scores(examples)
            near *= weight
            scores += near
        return scores

    @property
    def counts_neighbours(self) -> bool:
        """Whether neighbours change any ranking."""
        return any(self.decisions.neighbours.values())

    def near_scores(self, examples: Sequence[Example]) -> Floats:
        """Scores `(n, items)` of neighbours of what the model reads of each history."""
        assert self.neighbours is not None
        return self.neighbours.scores([e.history for e in examples], self.style.history + self.style.earlier)

    @property
    def shown(self) -> NDArray[np.bool_]:
        """Items `(items,)` of the domains that were learned: what a search may find."""
        return np.array([domain in self.domains for domain in self.item_domains])

    def retrieve(
        self, examples: Sequence[Example], never: Sequence[int] | None = None, decoder: Decoder | None = None
    ) -> Ints:
        """Items `(n, 2)` that the search task finds, pictures only; never one of the history or `never[n]`.

        -1 stands where nothing is left. `decoder` counts what found no place, where somebody wants to know.
        """
        shown = self.shown
        if self.parts.codes is not None and (shown & (self.parts.codes[:, 0] >= 0)).any():
            shown &= self.parts.codes[:, 0] >= 0
        with self.tuned("search"):
            return retrieved(decoder or self.decoder(), examples, shown, self.parts.codes, never)

    def tuned(self, task: str) -> Tuned:
        """Inside, the model has the weights that were fine-tuned for a task, where there are any."""
        return Tuned(self.model, self.heads.get(task, {}))

    # Keeping

    def save(self, folder: Path) -> None:
        """Write everything that answering needs, and beside it the TensorBoard logs of the training.

        Raises:
            CheckpointError: the disk is full or not writable.
        """
        self.team.once(lambda: keeping.save(self, folder))

    @classmethod
    def load(cls, folder: Path, items: Items, work: Path, report: Report = silent) -> System:
        """A saved system, to answer for a catalogue: the one it was trained on, or another view of it.

        Args:
            folder: what `save` wrote.
            items: whose words and pictures are read; the same items in the same order.
            work: folder for patch tokens of pictures that were not seen before.
            report: told of progress.

        Raises:
            CheckpointError: the folder lacks a part, is not whole, or is of another catalogue.
        """
        facts = keeping.read_facts(folder / keeping.FACTS)
        if facts["catalogue"] != keeping.catalogue_hash(items.ids):
            raise CheckpointError(
                f"{folder} was trained on another catalogue ({facts['items']} items, here {len(items)}); fit it again"
            )
        options = keeping.options_of(facts, folder)
        system = cls(options, seed=facts["seed"], seconds=facts["seconds"])
        system.item_ids, system.tasks = items.ids, tuple(facts["tasks"])
        system.domains = frozenset(facts["domains"])
        system.folder = system.parts_folder = folder
        system.report = report
        reads = keeping.vocabulary_of(folder)
        model = load_model(folder / "model", items=len(items), text_ids=reads, dtype=torch.float32)
        system.model = precision.halved(model, options, system.device)
        nn.Module.to(system.model, system.device)  # the library's own wrapper has lost its type
        kept = keeping.present(folder, facts, model.config)
        system.parts = keeping.load_parts(folder, kept, items, options, work, report, system.device)
        semantic = None
        if keeping.SEMANTIC in kept:
            semantic = keeping.read_weights(folder / keeping.SEMANTIC)["codes"].numpy()
        system._furnish(items, semantic, places=keeping.places_of(facts, model.config))
        system.decisions = Decisions.of(facts["decisions"])
        system.neighbours = keeping.load_neighbours(folder, len(items)) if system.counts_neighbours else None
        system.heads = {task: keeping.read_weights(folder / f"{task}.safetensors") for task in facts["heads"]}
        return system


def domains_of(shop: Shop) -> frozenset[str]:
    """Domains that somebody bought from."""
    return frozenset(shop.items.domains[item] for item in np.unique(shop.log.item))
