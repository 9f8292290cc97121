"""UniMP as a whole: made, trained in stages, saved, asked.

    making     what a model stands on (`parts.py`), then the stages of its training (`stages.py`)
    keeping    a folder that answers without the rest (`keeping.py`)
    asking     a decoder, with the weights that each task has of its own

Parts and stages leave what they made in the working folder; a killed training goes on where it was.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unimp import keeping, stages
from unimp import parts as making
from unimp.content import content_features, rows_from_content, semantic_codes
from unimp.decoding import Decoder
from unimp.errors import CheckpointError, TrainingError, UnimpError
from unimp.heads import Tuned
from unimp.item_text import UNKNOWN
from unimp.options import Options
from unimp.parts import Parts, Report
from unimp.published import load_model
from unimp.quiet import quiet
from unimp.retrieval import retrieved
from unimp.sequence import Style, Writer
from unimp.shop import TASKS, Example, Ints, Items, Shop
from unimp.training import Outcome, Record
from unimp.vocabulary import Vocabulary

_ITEM_TABLES = ("embed.new.weight", "head.new.weight")
FACTS = "unimp.json"
T = TypeVar("T")


def silent(stage: str, share: float, words: str) -> None:
    """Report nothing."""


@dataclass
class System:
    """A UniMP system for one catalogue.

    `heads` are output rows of new ids per task, where a task has its own; `seconds` what each stage took.
    """

    options: Options
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    seconds: dict[str, float] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    heads: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    item_ids: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()  # that were learned
    domains: frozenset[str] = frozenset()  # that somebody bought from in training; pictures come from no other
    notes: list[str] = field(default_factory=list)  # what a user should know of the data
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
        self.report, self.record, self.folder = report, record, folder
        wanted = [task for task in shop.tasks if not tasks or task in tasks]
        chosen = wanted if self.options.learn == "all" else self.options.learn.split(",")
        if unknown := sorted(set(chosen) - set(TASKS)):
            raise UnimpError(f"learn='{self.options.learn}': no task '{unknown[0]}'; known: {', '.join(TASKS)}")
        self.tasks = tuple(task for task in wanted if task in chosen)
        if not self.tasks:
            raise TrainingError("there is nothing to learn: no task has training examples")
        torch.manual_seed(self.seed)
        self.item_ids = shop.items.ids
        self.domains = domains_of(shop)
        self._stand(shop, Path(self.options.pretrained) if self.options.pretrained else folder / "parts")
        stages.language(self, shop)
        stages.caption(self, shop)
        stages.multi_task(self, shop)
        stages.fine_tune(self, shop)
        stages.pictures(self, shop)

    def timed(self, stage: str, work: Callable[[], T]) -> T:
        """Do a stage's work, book its seconds and tell of its end."""
        begun = time.monotonic()
        made = work()
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.monotonic() - begun, 1)
        self.report(stage, 1.0, f"{self.seconds[stage]:.0f} s")
        return made

    def pretrain(self, shop: Shop, folder: Path, report: Report = silent) -> None:
        """Make only the parts that every variant of a system shares, in `folder`."""
        self.report, self.record, self.folder = report, None, folder
        self.tasks, self.item_ids = shop.tasks, shop.items.ids
        torch.manual_seed(self.seed)
        self._stand(shop, folder)
        stages.language(self, shop)

    def _stand(self, shop: Shop, folder: Path) -> None:
        making.need_weights(self.options)
        folder.mkdir(parents=True, exist_ok=True)
        keeping.same_catalogue(folder, shop.items)
        options, seed, report = self.options, self.seed if not self.options.pretrained else 0, self.report
        self.parts_folder = folder
        encoder = self.timed("tokenizer", lambda: making.make_tokenizer(shop, options, folder / "tokenizer"))
        tower = features = tokens = codes = None
        if options.model_fusion != "none":
            tower = self.timed(
                "vision tower",
                lambda: making.make_tower(shop.items, encoder, options, seed, folder / "tower", report, self.device),
            )
        if tower is not None:
            features = self.timed(
                "patch tokens",
                lambda: making.make_features(shop.items, tower, folder / "features", report, self.device),
            )
        if "image_generation" in self.tasks:
            tokens, codes = self.timed(
                "image tokenizer",
                lambda: making.make_codes(shop.items, options, seed, folder / "images", report, self.device),
            )
        if tower is None and options.model_fusion != "none":
            self.notes.append("no pictures: the text path alone is trained, and every picture reads as absent")
        if nameless := sum(title == UNKNOWN for title in shop.items.titles):
            self.notes.append(f"{nameless} items without a title read '{UNKNOWN}'")
        self.parts = Parts(encoder, tower, features, tokens, codes, len(shop.items))
        semantic, codebook = None, 0
        if options.item_ids == "semantic":
            bodies = encoder.encode([f" {body}" for body in shop.items.bodies])
            bought = np.isin(np.arange(len(shop.items)), shop.log.item)
            semantic, codebook = semantic_codes(self.parts, bodies, bought, folder / "semantic", seed)
        levels = semantic.shape[1] if semantic is not None else 1
        config = making.config_of(shop, options, self.parts, levels, codebook)
        self.model = making.new_model(config, options, self.seed)
        self._furnish(shop.items, semantic)

    def _furnish(self, items: Items, semantic: Ints | None) -> None:
        """Everything that follows from parts and model: vocabulary, writers."""
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
            self.model.content.furnish(self.bodies, seen)
        self.titles = encoder.encode([f" {title}" for title in items.titles])
        options = self.options
        self.style = Style(
            history=options.history or options.budget.history,
            context=options.context_target,
            ratings=options.ratings,
            whys=options.whys,
            pictures=self.parts.features is not None,
            image_places=options.image_places,
            longest=int(getattr(self.model.config.text, "max_position_embeddings", 2048)),
        )
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
        self.report, self.record, self.folder = report, record, folder
        self.domains = domains_of(shop)
        held_out = np.array([domain in self.domains for domain in shop.items.domains])
        self.timed("rows from content", lambda: self._rows_from_content(~held_out))
        learned = [task for task in self.tasks if task in shop.tasks and task != "image_generation"]
        if self.options.new_domain == "zero_shot_content" or not learned:
            return
        kept, self.heads = self.heads, {}  # a new domain is answered by the model itself
        stages.new_domain(self, shop, learned)
        if "image_generation" in kept:
            self.heads["image_generation"] = kept["image_generation"]

    def _rows_from_content(self, known: NDArray[np.bool_]) -> None:
        if self.vocabulary.levels > 1 or self.model.content is not None:
            return  # new items have a name or content already
        features = content_features(self.parts, self.bodies)
        first = self.vocabulary.item_ids.start - self.vocabulary.text
        with torch.no_grad():
            tables: list[Tensor] = [self.model.embed.new.weight, self.model.head.new.weight]
            # A task's own rows of items would else come back when it is asked.
            tables += [w for own in self.heads.values() for name, w in own.items() if name in _ITEM_TABLES]
            for table in tables:
                rows = table[first : first + len(known)]
                made = rows_from_content(features, rows.cpu().float().numpy()[known], known)
                rows[torch.from_numpy(~known)] = torch.from_numpy(made[~known]).to(rows)

    # Asking

    def decoder(self) -> Decoder:
        """A decoder of the model as it is now."""
        return Decoder(self.model, self.writer, self.parts.patches, self.parts.has_picture, searched=self.shown)

    @property
    def shown(self) -> NDArray[np.bool_]:
        """Items `(items,)` of the domains that were learned: what a search may find."""
        return np.array([domain in self.domains for domain in self.item_domains])

    def retrieve(self, examples: Sequence[Example], never: Sequence[int] | None = None) -> Ints:
        """Items `(n, 2)` that the search task finds, pictures only; never one of the history or `never[n]`.

        -1 stands where nothing is left.
        """
        shown = self.shown
        if self.parts.codes is not None and (shown & (self.parts.codes[:, 0] >= 0)).any():
            shown &= self.parts.codes[:, 0] >= 0
        with self.tuned("search"):
            return retrieved(self.decoder(), examples, shown, self.parts.codes, never)

    def tuned(self, task: str) -> Tuned:
        """Inside, the model has the weights that were fine-tuned for a task, where there are any."""
        return Tuned(self.model, self.heads.get(task, {}))

    # Keeping

    def save(self, folder: Path) -> None:
        """Write everything that answering needs.

        Raises:
            CheckpointError: the disk is full or not writable.
        """
        with keeping.writing(folder):
            self._write(folder)

    def _write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with quiet():
            self.model.save_pretrained(folder / "model")
        for task, changed in self.heads.items():
            keeping.write_weights(folder / f"{task}.safetensors", changed)
        keeping.save_parts(self.parts, self.parts_folder, folder)
        if self.semantic is not None:
            keeping.write_weights(folder / "semantic.safetensors", {"codes": torch.from_numpy(self.semantic)})
        facts = {
            "options": dataclasses.asdict(self.options),
            "seed": self.seed,
            "tasks": list(self.tasks),
            "seconds": self.seconds,
            "domains": sorted(self.domains),
            "items": len(self.item_ids),
            "catalogue": keeping.catalogue_hash(self.item_ids),
            "heads": sorted(self.heads),
            "parameters": keeping.sizes(self.model, self.parts),
        }
        (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path, items: Items, work: Path, report: Report = silent) -> System:
        """A saved system, to answer for a catalogue: the one it was trained on, or another view of it.

        Args:
            folder: what `save` wrote.
            items: whose words and pictures are read; the same items in the same order.
            work: folder for patch tokens of pictures that were not seen before.
            report: told of progress.

        Raises:
            CheckpointError: the folder is not whole, or of another catalogue.
        """
        facts = keeping.read_facts(folder / FACTS)
        if facts["catalogue"] != keeping.catalogue_hash(items.ids):
            raise CheckpointError(
                f"{folder} was trained on another catalogue ({facts['items']} items, here {len(items)}); fit it again"
            )
        options = Options(**facts["options"])
        system = cls(options, seed=facts["seed"], seconds=facts["seconds"])
        system.item_ids, system.tasks = items.ids, tuple(facts["tasks"])
        system.domains = frozenset(facts["domains"])
        system.parts_folder = folder
        system.report = report
        system.model = load_model(folder / "model", items=len(items))
        nn.Module.to(system.model, system.device)  # the library's own wrapper has lost its type
        system.parts = keeping.load_parts(folder, items, options, work, report, system.device)
        semantic = None
        if (folder / "semantic.safetensors").is_file():
            semantic = keeping.read_weights(folder / "semantic.safetensors")["codes"].numpy()
        system._furnish(items, semantic)
        system.heads = {task: keeping.read_weights(folder / f"{task}.safetensors") for task in facts["heads"]}
        return system


def domains_of(shop: Shop) -> frozenset[str]:
    """Domains that somebody bought from."""
    return frozenset(shop.items.domains[item] for item in np.unique(shop.log.item))
