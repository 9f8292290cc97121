"""The stages of a system's training: what each learns from, and which weights.

    language            a body from nothing learns to read
    captions            pictures meet words
    searches            items are found by words of their own
    histories           what follows what, by ids alone
    multi_task          all tasks of the log together
    <task>              fine-tuning for one task, by strategy
    image_generation    codes from retrieved items (eq. 9)
    new_domain          a held-out domain's own users
    new_domain_pictures the codes of its pictures

`System.fit` calls them in this order, `System.adapt` the last two. Each goes on where it was stopped and leaves what it
learned in the system: in its model, or in `heads` where a task has weights of its own.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unimp import keeping
from unimp import parts as making
from unimp.batching import Plan, Rows
from unimp.errors import CheckpointError
from unimp.loading import continued
from unimp.recipe import passes
from unimp.shop import Shop
from unimp.sources import Captions, Histories, Pictures, Searches, Text, log_examples
from unimp.trainable import ROWS_NEW, part_of, parts_of
from unimp.training import Outcome, Progress, Recipe, train
from unimp.validation import Validation

if TYPE_CHECKING:
    from unimp.system import System

TUNED = ("recommendation", "search", "preference", "selection")  # tasks that are answered with new ids
TUNED_WHOLE = (*TUNED, "explanation")  # with text, too; pictures have a stage of their own
TUNING_EPOCHS, TUNING_RATE = 6, 0.1
_BARE = 50  # items of a bare history
_READING = ("body.", "embed.text.", "head.text.")
_CONTINUED = ("recommendation", "search", "selection", "preference", "explanation")  # reference order: section 7.1


def train_stage(system: System, stage: str, rows: Rows, recipe: Recipe, trained: frozenset[str], **more: Any) -> None:
    """Train one stage, with checkpoints in a folder of its own, and book what came of it."""

    def tell(p: Progress) -> None:
        words = f"epoch {p.epoch + 1}/{p.epochs}, loss {p.loss:.3f}, {p.tokens_per_second:,.0f} tokens/s, "
        system.report(stage, p.share, words + f"{p.seconds_left / 60:.1f} min left")

    def work() -> Outcome:
        return train(
            system.model,
            rows,
            dataclasses.replace(recipe, checkpointing=system.options.checkpointing, bf16=system.options.half),
            patches=system.parts.patches,
            has_picture=system.parts.has_picture,
            folder=system.folder / "stages" / stage,
            stage=stage,
            parts=trained,
            report=tell,
            record=system.record,
            shard=system.shard,
            **more,
        )

    system.outcomes[stage] = outcome = system.timed(stage, work)
    if outcome.dropped:
        system.notes.append(
            f"{stage}: {outcome.dropped:,} history items, the oldest of their rows, found no place in "
            f"{system.writer.style.longest} ids, over all epochs"
        )


def language(system: System, shop: Shop) -> None:
    """Teach a body from nothing to read; a published one can."""
    budget, made = system.options.budget, system.parts_folder / "language.safetensors"
    if not budget.scratch or system.options.text_weights is not None:
        return
    if not system.team.agree(made.is_file()):
        texts = making.language_texts(shop, system.parts.encoder)
        rows = Text(shop, system.writer, texts, budget.tokens, system.seed)
        recipe = Recipe(
            **system.options.passes(budget.language_epochs), lr=budget.language_lr, gamma=0.0, decay_body=True
        )
        # The folder of the stage lies beside what it makes, so that pre-training may be shared.
        keep, system.folder = system.folder, system.parts_folder
        train_stage(system, "language", rows, recipe, parts_of(system.model.config, "language") - ROWS_NEW)
        system.folder = keep
        learned = {k: v for k, v in system.model.state_dict().items() if k.startswith(_READING)}
        system.team.once(lambda: keeping.write_weights(made, learned))
    read = keeping.read_weights(made)
    wanted = {k: v.shape for k, v in system.model.state_dict().items() if k.startswith(_READING)}
    if wanted != {k: v.shape for k, v in read.items()}:
        raise CheckpointError(
            f"{made} was made for another preset; remove {system.parts_folder} or take another folder"
        )
    system.model.load_state_dict(read, strict=False)


def caption(system: System, shop: Shop) -> None:
    """Let pictures mean something to the body, by captions of the catalogue (context reconstruction)."""
    budget = system.options.budget
    if system.options.flamingo is not None:
        return
    context = "both" if system.parts.features is not None else "id"
    rows = Captions(
        shop,
        system.writer_of(dataclasses.replace(system.style, context=context)),
        Plan({}, budget.tokens),
        system.seed,
    )
    recipe = Recipe(**system.options.passes(budget.caption_epochs), lr=budget.lr, gamma=0.0, warmup=0.05)
    trained = parts_of(system.model.config, "caption") | parts_of(
        system.model.config, "multi_task", scratch=budget.scratch
    )
    train_stage(system, "captions", rows, recipe, trained)


def searches(system: System, shop: Shop) -> None:
    """Let content find items by queries and by words of their own, those that nobody bought among them.

    Content alone learns, so that the body meets no history first in searches that have none.
    """
    budget = system.options.budget
    asked = {"search", "image_generation"} & set(system.tasks)
    if not (budget.search_epochs and asked and system.model.content is not None):
        return
    recipe = Recipe(**system.options.passes(budget.search_epochs), lr=budget.lr, gamma=0.0, warmup=0.05)
    rows = Searches(shop, system.writer, budget.tokens, system.seed)
    train_stage(system, "searches", rows, recipe, parts_of(system.model.config, "search"))


def histories(system: System, shop: Shop) -> None:
    """Let a body from nothing meet users: the next id of a bare history, and what they will think of it.

    A published body brings what attention needs to find a weak signal among hundreds of ids. One of three layers does
    not: in full sequences the ratings it answers are all alike after half a million ids, in bare ones they follow the
    true ones (correlation 0.2) after the first 90,000.
    """
    budget = system.options.budget
    if not (budget.scratch and budget.history_epochs):
        return
    style = dataclasses.replace(system.style, context="id", history=0, earlier=_BARE)
    rows = Histories(shop, system.writer_of(style), Plan({}, budget.tokens), system.seed)
    recipe = Recipe(
        **system.options.passes(budget.history_epochs),
        lr=budget.history_lr,
        gamma=0.0,
        warmup=0.05,
        decay_body=True,
    )
    train_stage(system, "histories", rows, recipe, parts_of(system.model.config, "multi_task", scratch=True))


def plan_of(system: System, tasks: Sequence[str]) -> Plan:
    """What an epoch asks of these tasks."""
    budget = system.options.budget
    questions = {task: budget.questions[task] for task in tasks if task != "image_generation"}
    return Plan(questions, budget.tokens, users=budget.users, shortened=budget.shortened)


def recipe_of(system: System, **changes: Any) -> Recipe:
    """The recipe of stages that learn tasks, with changes."""
    options, budget = system.options, system.options.budget
    base = Recipe(
        **budget.stage(options),
        gamma=options.gamma,
        norm=options.norm,
        accumulate=budget.accumulate,
        warmup=0.03 if budget.scratch else 0.01,
        decay_body=budget.scratch,
    )
    return dataclasses.replace(base, **changes)


def multi_task(system: System, shop: Shop) -> None:
    """Learn all tasks of the log together, or one after the other (`strategy = continue`)."""
    learned = [task for task in system.tasks if task != "image_generation"]
    if not learned:
        return
    recipe = recipe_of(system, keep="last" if system.options.budget.scratch else "best")
    plan = plan_of(system, learned)
    more: dict[str, Any] = {}
    if system.options.strategy == "continue":
        more["plan_of_epoch"] = continued(plan, recipe.epochs, [t for t in _CONTINUED if t in learned])
    watch = Validation(system, shop, learned)
    train_stage(
        system,
        "multi_task",
        Rows(shop, system.writer, plan, system.seed),
        recipe,
        parts_of(system.model.config, "multi_task", scratch=system.options.budget.scratch),
        **watch.asked(),
        **more,
    )


def fine_tune(system: System, shop: Shop) -> None:
    """A head of its own for each task (`+efficient`), or a whole model (`+full`)."""
    how = system.options.strategy.partition("+")[2]
    if not how:
        return
    efficient, scratch = how == "efficient", system.options.budget.scratch
    trained = parts_of(system.model.config, "efficient" if efficient else "multi_task", scratch=scratch)
    start = _weights_of(system, trained)
    for task in (t for t in system.tasks if t in (TUNED if efficient else TUNED_WHOLE)):
        watch = Validation(system, shop, [task])
        if not watch.examples:
            continue  # nothing could tell whether its own weights are better
        budget = system.options.budget
        recipe = recipe_of(
            system,
            **system.options.passes(TUNING_EPOCHS),
            lr=budget.stage(system.options)["lr"] * TUNING_RATE,
            schedule="constant",
            patience=2,
            draws=1 if efficient else 0,
            cached_hidden=efficient,
        )
        before = system.team.agree(watch(system.model)[watch.select])
        train_stage(
            system,
            task,
            Rows(
                shop,
                system.writer,
                Plan({task: _tuned_questions(task)}, budget.tokens, users=budget.users, shortened=budget.shortened),
                system.seed,
            ),
            recipe,
            trained,
            **watch.asked(),
        )
        after = system.team.agree(watch(system.model)[watch.select])
        # Validation decides whether the task's own weights are taken at all.
        if (after > before) == watch.higher and after != before:
            system.heads[task] = _changed(system, start)
        system.model.load_state_dict(start, strict=False)


def _weights_of(system: System, parts: frozenset[str]) -> dict[str, Tensor]:
    """A copy of the weights of some parts: a large frozen body is not held twice."""
    return {name: p.detach().clone() for name, p in system.model.named_parameters() if part_of(name) in parts}


def _changed(system: System, start: dict[str, Tensor]) -> dict[str, Tensor]:
    """A copy of what is no longer as it was."""
    own = system.model.state_dict()
    return {name: own[name].clone() for name, before in start.items() if not torch.equal(own[name], before)}


def _tuned_questions(task: str) -> int:
    return {"selection": 1, "recommendation": 0, "explanation": 1}.get(task, 3)


def pictures(system: System, shop: Shop) -> None:
    """Learn picture codes from retrieved items, in weights of the task's own; go on from these where there are some."""
    if "image_generation" not in system.tasks or system.parts.codes is None:
        return
    codes = system.parts.codes
    budget = system.options.budget
    known = system.heads.get("image_generation")  # a held-out domain is learned after others
    count = system.options.effort * budget.image_epochs if known is None else _adapted(system)
    drawings = min(budget.image_drawings, max(1, round(count)))
    asked = log_examples(
        shop,
        "image_generation",
        budget.questions["image_generation"] * drawings,
        system.seed,
        lambda item: bool(codes[item, 0] >= 0),
    )
    if not asked:
        return
    never = [e.answer_items[0] for e in asked]
    stage = "image_generation" if known is None else "new_domain_pictures"
    found = system.timed(f"retrieval for {stage}", lambda: system.team.once(lambda: system.retrieve(asked, never)))
    trained = parts_of(system.model.config, "multi_task", scratch=budget.scratch)
    start = _weights_of(system, trained)
    rows = Pictures(shop, system.writer, asked, found, budget.tokens, system.seed, drawings)
    if known is None:
        steps = float(rows.lengths().sum()) / (budget.tokens * budget.accumulate)
        count = long_enough(count, steps, system.options.times(budget.image_steps))
    else:
        system.model.load_state_dict(known, strict=False)
    train_stage(system, stage, rows, recipe_of(system, **passes(count), gamma=0.0), trained)
    system.heads["image_generation"] = _changed(system, start)
    system.model.load_state_dict(start, strict=False)


def long_enough(count: float, steps: float, least: int) -> float:
    """So many passes of so many steps, or as many as make at least `least` steps; whole ones, if more than one."""
    needed = least / max(steps, 1.0)
    return max(count, needed if needed < 1 else math.ceil(needed))


def _adapted(system: System) -> float:
    """Passes over a held-out domain."""
    return system.options.effort * (system.options.adapt_epochs or system.options.budget.adapt_epochs)


def new_domain(system: System, shop: Shop, learned: Sequence[str]) -> None:
    """Go on with the users of a held-out domain, all weights or the rows of new ids alone."""
    budget = system.options.budget
    parts = parts_of(system.model.config, "multi_task", scratch=budget.scratch)
    watch = Validation(system, shop, learned)
    train_stage(
        system,
        "new_domain",
        Rows(shop, system.writer, plan_of(system, learned), system.seed),
        recipe_of(
            system,
            **passes(_adapted(system)),
            keep="last" if budget.scratch else "best",
        ),
        parts if system.options.new_domain == "finetune_all" else ROWS_NEW,
        **watch.asked(),
    )
