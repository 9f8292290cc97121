"""UniMP as a whole: made, trained in stages, saved, asked.

    tokenizer, tower, patch tokens, picture codes, language     what `parts.py` makes, once
    captions                                                    pictures meet words
    multi_task                                                  all tasks of the log together
    image_generation                                            codes from retrieved items (eq. 9)
    <task>                                                      fine-tuning for one task, by strategy

Stages leave what they made in the working folder; a killed training goes on where it was.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unimp import parts as making
from unimp.batching import Plan, Rows
from unimp.content import rows_from_content
from unimp.decoding import Decoder
from unimp.errors import CheckpointError, TrainingError
from unimp.loading import continued
from unimp.modeling import Unimp
from unimp.options import Options
from unimp.parts import Parts, Report
from unimp.published import load_model
from unimp.sequence import Style, Writer
from unimp.shop import Example, Ints, Items, Shop
from unimp.sources import Captions, Pictures, Text, log_examples
from unimp.trainable import ROWS_NEW, parts_of
from unimp.training import Outcome, Progress, Recipe, Record, train
from unimp.validation import Validation
from unimp.vocabulary import Vocabulary

RETRIEVED = 2  # items that a picture is made from (eq. 9)
VALIDATED = 400  # examples of a task that an epoch is judged by
TUNED = ("recommendation", "search", "preference", "selection")  # tasks whose answers are one id at a time
FACTS = "unimp.json"


def quiet(stage: str, share: float, words: str) -> None:
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
    threshold: float | None = None  # of selection; None: as generated
    item_ids: tuple[str, ...] = ()
    domains: frozenset[str] = frozenset()  # that somebody bought from in training; pictures come from no other
    report: Report = quiet
    record: Record | None = None

    # Making

    def fit(
        self,
        shop: Shop,
        folder: Path,
        *,
        report: Report = quiet,
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
        self.tasks = tuple(t for t in shop.tasks if not tasks or t in tasks)
        if not self.tasks:
            raise TrainingError("there is nothing to learn: no task has training examples")
        torch.manual_seed(self.seed)
        self.item_ids = shop.items.ids
        self.domains = domains_of(shop)
        self._stand(shop, Path(self.options.pretrained) if self.options.pretrained else folder / "parts")
        self._language(shop)
        self._caption(shop)
        self._multi_task(shop)
        self._fine_tune(shop)
        self._pictures(shop)

    def _timed(self, stage: str, work: Callable[[], Any]) -> Any:
        begun = time.monotonic()
        made = work()
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.monotonic() - begun, 1)
        self.report(stage, 1.0, f"{self.seconds[stage]:.0f} s")
        return made

    def pretrain(self, shop: Shop, folder: Path, report: Report = quiet) -> None:
        """Make only the parts that every variant of a system shares, in `folder`."""
        self.report, self.record, self.folder = report, None, folder
        self.tasks, self.item_ids = shop.tasks, shop.items.ids
        torch.manual_seed(self.seed)
        self._stand(shop, folder)
        self._language(shop)

    def _stand(self, shop: Shop, folder: Path) -> None:
        making.need_weights(self.options)
        folder.mkdir(parents=True, exist_ok=True)
        _same_catalogue(folder, shop.items)
        options, seed, report = self.options, self.seed if not self.options.pretrained else 0, self.report
        self.parts_folder = folder
        encoder = self._timed("tokenizer", lambda: making.make_tokenizer(shop, options, folder / "tokenizer"))
        tower = features = tokens = codes = None
        if options.model_fusion != "none":
            tower = self._timed(
                "vision tower",
                lambda: making.make_tower(shop.items, encoder, options, seed, folder / "tower", report, self.device),
            )
        if tower is not None:
            features = self._timed(
                "patch tokens",
                lambda: making.make_features(shop.items, tower, folder / "features", report, self.device),
            )
        if "image_generation" in self.tasks:
            tokens, codes = self._timed(
                "image tokenizer", lambda: making.make_codes(shop.items, options, seed, folder / "images", report)
            )
        self.parts = Parts(encoder, tower, features, tokens, codes, len(shop.items))
        semantic, codebook = None, 0
        if options.item_ids == "semantic":
            bodies = encoder.encode([f" {body}" for body in shop.items.bodies])
            bought = np.isin(np.arange(len(shop.items)), shop.log.item)
            semantic, codebook = making.semantic_codes(self.parts, bodies, bought, folder / "semantic", seed)
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
                seen = self.parts.features[torch.arange(len(items))].mean(1)
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
        self.writer = self._writer(self.style)

    def _writer(self, style: Style) -> Writer:
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

    # Stages

    def _train(self, stage: str, rows: Rows, recipe: Recipe, trained: frozenset[str], **more: Any) -> None:
        def tell(p: Progress) -> None:
            words = f"epoch {p.epoch + 1}/{p.epochs}, loss {p.loss:.3f}, {p.tokens_per_second:,.0f} tokens/s, "
            self.report(stage, p.share, words + f"{p.seconds_left / 60:.1f} min left")

        def work() -> Outcome:
            return train(
                self.model,
                rows,
                recipe,
                patches=self.parts.patches,
                has_picture=self.parts.has_picture,
                folder=self.folder / "stages" / stage,
                stage=stage,
                parts=trained,
                report=tell,
                record=self.record,
                **more,
            )

        self.outcomes[stage] = self._timed(stage, work)

    def _language(self, shop: Shop) -> None:
        """Teach a body from nothing to read; a published one can."""
        budget, made = self.options.budget, self.parts_folder / "language.safetensors"
        if not budget.scratch or self.options.text_weights is not None:
            return
        if not made.is_file():
            texts = making.language_texts(shop, self.parts.encoder)
            rows = Text(shop, self.writer, texts, budget.tokens, self.seed)
            recipe = Recipe(
                epochs=self.options.times(budget.language_epochs), lr=budget.language_lr, gamma=0.0, decay_body=True
            )
            # The folder of the stage lies beside what it makes, so that pre-training may be shared.
            keep, self.folder = self.folder, self.parts_folder
            self._train("language", rows, recipe, parts_of(self.model.config, "language") - ROWS_NEW)
            self.folder = keep
            _write(made, {k: v for k, v in self.model.state_dict().items() if k.startswith(_READING)})
        read = load_file(made)
        missing = [k for k in self.model.state_dict() if k.startswith(_READING) and k not in read]
        if missing or any(self.model.state_dict()[k].shape != v.shape for k, v in read.items()):
            raise CheckpointError(
                f"{made} was made for another preset; remove {self.parts_folder} or take another folder"
            )
        self.model.load_state_dict(read, strict=False)

    def _caption(self, shop: Shop) -> None:
        """Let pictures mean something to the body, by captions of the catalogue (context reconstruction)."""
        budget = self.options.budget
        if self.options.flamingo is not None:
            return
        context = "both" if self.parts.features is not None else "id"
        rows = Captions(
            shop,
            self._writer(dataclasses.replace(self.style, context=context)),
            Plan({}, budget.tokens),
            self.seed,
        )
        recipe = Recipe(epochs=self.options.times(budget.caption_epochs), lr=budget.lr, gamma=0.0, warmup=0.05)
        trained = parts_of(self.model.config, "caption") | parts_of(
            self.model.config, "multi_task", scratch=budget.scratch
        )
        self._train("captions", rows, recipe, trained)

    def _plan(self, tasks: Sequence[str]) -> Plan:
        budget = self.options.budget
        questions = {task: budget.questions[task] for task in tasks if task != "image_generation"}
        return Plan(questions, budget.tokens)

    def _recipe(self, **changes: Any) -> Recipe:
        options, budget = self.options, self.options.budget
        base = Recipe(
            **budget.stage(options),
            gamma=options.gamma,
            norm=options.norm,
            accumulate=budget.accumulate,
            warmup=0.03 if budget.scratch else 0.01,
            decay_body=budget.scratch,
        )
        return dataclasses.replace(base, **changes)

    def _multi_task(self, shop: Shop) -> None:
        learned = [task for task in self.tasks if task != "image_generation"]
        if not learned:
            return
        recipe = self._recipe()
        plan = self._plan(learned)
        more: dict[str, Any] = {}
        if self.options.strategy == "continue":
            more["plan_of_epoch"] = continued(plan, recipe.epochs, [t for t in _CONTINUED if t in learned])
        watch = Validation(self, shop, learned)
        self._train(
            "multi_task",
            Rows(shop, self.writer, plan, self.seed),
            recipe,
            parts_of(self.model.config, "multi_task", scratch=self.options.budget.scratch),
            validate=watch,
            select=watch.select,
            higher=watch.higher,
            **more,
        )

    def _fine_tune(self, shop: Shop) -> None:
        """A head of its own for each task (`+efficient`), or a whole model (`+full`)."""
        how = self.options.strategy.partition("+")[2]
        if not how:
            return
        start = {k: v.clone() for k, v in self.model.state_dict().items()}
        for task in (t for t in self.tasks if t in TUNED):
            watch = Validation(self, shop, [task])
            efficient = how == "efficient"
            budget = self.options.budget
            recipe = self._recipe(
                epochs=self.options.times(TUNING_EPOCHS),
                lr=budget.stage(self.options)["lr"] * TUNING_RATE,
                schedule="constant",
                patience=2,
                draws=1 if efficient else 0,
                cached_hidden=efficient,
            )
            trained = (
                frozenset({"rows_out_new"})
                if efficient
                else parts_of(self.model.config, "multi_task", scratch=budget.scratch)
            )
            before = watch(self.model)[watch.select]
            self._train(
                task,
                Rows(shop, self.writer, Plan({task: self._tuned_questions(task)}, budget.tokens), self.seed),
                recipe,
                trained,
                validate=watch,
                select=watch.select,
                higher=watch.higher,
            )
            after = watch(self.model)[watch.select]
            # Validation decides whether the task's own weights are taken at all.
            if (after > before) == watch.higher and after != before:
                changed = {k: v.clone() for k, v in self.model.state_dict().items() if not torch.equal(v, start[k])}
                self.heads[task] = changed
            self.model.load_state_dict(start)

    def _tuned_questions(self, task: str) -> int:
        return 1 if task == "selection" else 0

    def _pictures(self, shop: Shop) -> None:
        """Learn picture codes from retrieved items, in weights of the task's own."""
        if "image_generation" not in self.tasks or self.parts.codes is None:
            return
        codes = self.parts.codes
        budget = self.options.budget
        asked = log_examples(
            shop,
            "image_generation",
            budget.questions["image_generation"],
            self.seed,
            lambda item: bool(codes[item, 0] >= 0),
        )
        if not asked:
            return
        found = self._timed("retrieval", lambda: self.retrieve(asked, [e.answer_items[0] for e in asked]))
        start = {k: v.clone() for k, v in self.model.state_dict().items()}
        self._train(
            "image_generation",
            Pictures(shop, self.writer, asked, found, budget.tokens, self.seed),
            self._recipe(epochs=self.options.times(budget.image_epochs), gamma=0.0),
            parts_of(self.model.config, "multi_task", scratch=budget.scratch),
        )
        self.heads["image_generation"] = {
            k: v.clone() for k, v in self.model.state_dict().items() if not torch.equal(v, start[k])
        }
        self.model.load_state_dict(start)

    # A held-out domain

    def adapt(self, shop: Shop, folder: Path, *, report: Report = quiet, record: Record | None = None) -> None:
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
        self.tasks = shop.tasks
        self.domains = domains_of(shop)
        held_out = np.array([domain in self.domains for domain in shop.items.domains])
        self._timed("rows from content", lambda: self._rows_from_content(~held_out))
        learned = [task for task in self.tasks if task != "image_generation"]
        if self.options.new_domain == "zero_shot_content" or not learned:
            return
        budget = self.options.budget
        parts = parts_of(self.model.config, "multi_task", scratch=budget.scratch)
        watch = Validation(self, shop, learned)
        kept, self.heads = self.heads, {}  # a new domain is answered by the model itself
        self._train(
            "new_domain",
            Rows(shop, self.writer, self._plan(learned), self.seed),
            self._recipe(epochs=self.options.times(self.options.adapt_epochs or budget.adapt_epochs)),
            parts if self.options.new_domain == "finetune_all" else ROWS_NEW,
            validate=watch,
            select=watch.select,
            higher=watch.higher,
        )
        if "image_generation" in kept:
            self.heads["image_generation"] = kept["image_generation"]

    def _rows_from_content(self, known: NDArray[np.bool_]) -> None:
        if self.vocabulary.levels > 1 or self.model.content is not None:
            return  # new items have a name or content already
        features = making.content_features(self.parts, self.bodies)
        first = self.vocabulary.item_ids.start - self.vocabulary.text
        with torch.no_grad():
            for table in (self.model.embed.new.weight, self.model.head.new.weight):
                rows = table[first : first + len(known)]
                made = rows_from_content(features, rows.cpu().float().numpy()[known], known)
                rows[torch.from_numpy(~known)] = torch.from_numpy(made[~known]).to(rows)

    # Asking

    def decoder(self) -> Decoder:
        """A decoder of the model as it is now."""
        return Decoder(self.model, self.writer, self.parts.patches, self.parts.has_picture)

    def retrieve(self, examples: Sequence[Example], never: Sequence[int] | None = None) -> Ints:
        """Items `(n, 2)` that the search task finds, pictures only; never one of the history or `never[n]`."""
        with self.tuned("search"):
            scores = self.decoder().rank("search", examples)
        shown = np.array([domain in self.domains for domain in self.item_domains])
        if self.parts.codes is not None and (shown & (self.parts.codes[:, 0] >= 0)).any():
            shown &= self.parts.codes[:, 0] >= 0
        scores[:, ~shown] = -np.inf
        for row, example in enumerate(examples):
            scores[row, example.history] = -np.inf
            if never is not None:
                scores[row, never[row]] = -np.inf
        return np.argsort(-scores, axis=1, kind="stable")[:, :RETRIEVED]

    def tuned(self, task: str) -> _Tuned:
        """Inside, the model has the weights that were fine-tuned for a task, where there are any."""
        return _Tuned(self.model, self.heads.get(task, {}))

    # Keeping

    def save(self, folder: Path) -> None:
        """Write everything that answering needs."""
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(folder / "model")
        for task, changed in self.heads.items():
            _write(folder / f"{task}.safetensors", changed)
        making.save_parts(self.parts, self.parts_folder, folder)
        if self.semantic is not None:
            _write(folder / "semantic.safetensors", {"codes": torch.from_numpy(self.semantic)})
        facts = {
            "options": dataclasses.asdict(self.options),
            "seed": self.seed,
            "seconds": self.seconds,
            "domains": sorted(self.domains),
            "items": len(self.item_ids),
            "catalogue": making.catalogue_hash(self.item_ids),
            "threshold": self.threshold,
            "heads": sorted(self.heads),
            "parameters": making.sizes(self.model, self.parts),
        }
        (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path, items: Items, work: Path, report: Report = quiet) -> System:
        """A saved system, to answer for a catalogue: the one it was trained on, or another view of it.

        Args:
            folder: what `save` wrote.
            items: whose words and pictures are read; the same items in the same order.
            work: folder for patch tokens of pictures that were not seen before.
            report: told of progress.

        Raises:
            CheckpointError: the folder is not whole, or of another catalogue.
        """
        facts = making.read_facts(folder / FACTS)
        if facts["catalogue"] != making.catalogue_hash(items.ids):
            raise CheckpointError(
                f"{folder} was trained on another catalogue ({facts['items']} items, here {len(items)}); fit it again"
            )
        options = Options(**facts["options"])
        system = cls(options, seed=facts["seed"], seconds=facts["seconds"], threshold=facts["threshold"])
        system.item_ids = items.ids
        system.domains = frozenset(facts["domains"])
        system.parts_folder = folder
        system.report = report
        system.model = load_model(folder / "model", items=len(items))
        nn.Module.to(system.model, system.device)  # the library's own wrapper has lost its type
        system.parts = making.load_parts(folder, items, options, work, report, system.device)
        semantic = None
        if (folder / "semantic.safetensors").is_file():
            semantic = load_file(folder / "semantic.safetensors")["codes"].numpy()
        system._furnish(items, semantic)
        system.heads = {task: making.read_weights(folder / f"{task}.safetensors") for task in facts["heads"]}
        return system


class _Tuned:
    """Swaps some weights in and out."""

    def __init__(self, model: Unimp, changed: Mapping[str, Tensor]) -> None:
        self.model, self.changed = model, changed

    def __enter__(self) -> None:
        own = self.model.state_dict()
        self.kept = {name: own[name].clone() for name in self.changed}
        self._put(self.changed)

    def __exit__(self, *_: object) -> None:
        self._put(self.kept)

    def _put(self, weights: Mapping[str, Tensor]) -> None:
        own = self.model.state_dict()
        with torch.no_grad():
            for name, value in weights.items():
                own[name].copy_(value)


TUNING_EPOCHS, TUNING_RATE = 6, 0.1
_READING = ("body.", "embed.text.", "head.text.")
_CONTINUED = ("recommendation", "search", "selection", "preference", "explanation")  # reference order: section 7.1


def domains_of(shop: Shop) -> frozenset[str]:
    """Domains that somebody bought from."""
    return frozenset(shop.items.domains[item] for item in np.unique(shop.log.item))


def _same_catalogue(folder: Path, items: Items) -> None:
    """Parts belong to one catalogue; a folder of another one is refused."""
    note, own = folder / "catalogue", making.catalogue_hash(items.ids)
    if note.is_file() and note.read_text().strip() != own:
        raise CheckpointError(f"{folder} holds parts of another catalogue; take another folder")
    note.write_text(own + "\n")


def _write(file: Path, tensors: Mapping[str, Tensor]) -> None:
    draft = file.with_suffix(".part")
    save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, draft)
    draft.replace(file)
