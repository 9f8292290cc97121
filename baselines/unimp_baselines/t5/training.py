"""Training of P5 and VIP5: every task in every epoch, warm-up and linear decay, stopped by validation.

An epoch holds, as P5 draws it, `windows` stretches of each user's rows, each rating and each sentence once, and each
selection `selections` times, in batches of one task (P5 mixes tasks within a batch; apart they need less padding). What
is random in a step follows from the numbers of its epoch and step: a resumed training goes on in the middle of an epoch
without a generator's state, and ends as if nothing had been.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unimp_baselines.t5.encoding import Reader
from unimp_baselines.t5.network import Personal
from unimp_baselines.t5.questions import Lessons, Question, Rows, Window
from unimp_bench.errors import ConfigError


@dataclass(frozen=True)
class Plan:
    """How to train."""

    epochs: int
    patience: int
    batch: int
    lr: float
    warm_up: float  # share of all steps
    weight_decay: float
    clip: float
    windows: int
    selections: int
    history: int
    ends: Window
    nameless: float
    seed: int
    max_seconds: float
    device: str
    checkpoint_seconds: float = 30.0


Lesson = tuple[str, int]  # task and row


def schedule(lessons: Lessons, plan: Plan, epoch: int) -> list[list[Lesson]]:
    """The batches of an epoch, each of one task, in random order."""
    rng = np.random.default_rng([plan.seed, epoch])
    counts = {task: len(rows) for task, rows in lessons.train.items()}
    times = {"selection": plan.selections, "recommendation": plan.windows}
    batches: list[list[Lesson]] = []
    for task, count in sorted({**counts, "recommendation": len(lessons.rows)}.items()):
        order = np.concatenate([rng.permutation(count) for _ in range(times.get(task, 1))]).tolist()
        batches += [[(task, k) for k in order[at : at + plan.batch]] for at in range(0, len(order), plan.batch)]
    return [batches[k] for k in rng.permutation(len(batches))]


def _question(lessons: Lessons, lesson: Lesson, plan: Plan, rng: np.random.Generator) -> Question:
    task, row = lesson
    if task == "recommendation":
        stretch: Rows = lessons.rows[row]
        return stretch.window(plan.history, plan.ends, rng)
    return lessons.train[task][row]


def train(
    model: Personal,
    reader: Reader,
    lessons: Lessons,
    plan: Plan,
    checkpoint: Path,
    told: Callable[[int, dict[str, float]], None],
) -> dict[str, Any]:
    """Train until the validation loss no longer falls; the model ends with its best weights.

    Args:
        model: a fresh network, its frozen parts frozen.
        reader: makes tokens of questions.
        lessons: what to train on and to stop by.
        plan: how to train.
        checkpoint: where to keep the state; found there, training goes on.
        told: told each epoch's number and losses.

    Returns:
        Epochs, best epoch, its validation loss (mean over tasks of an answer token's, in nats), steps, seconds.

    Raises:
        ConfigError: there is nothing to train on, or a loss is not finite.
    """
    steps = len(schedule(lessons, plan, 0))
    if steps == 0:
        raise ConfigError("p5: there is nothing to learn from; build the dataset with train rows")
    learned = [weight for weight in model.parameters() if weight.requires_grad]
    adam = torch.optim.AdamW(learned, lr=plan.lr, weight_decay=plan.weight_decay)
    state: dict[str, Any] = {
        "epoch": 0, "step": 0, "total": 0.0, "best": math.inf, "best_epoch": 0, "seconds": 0.0, "steps": 0,
        "weights": None, "end": False,
    }  # fmt: skip
    if checkpoint.is_file():
        kept = torch.load(checkpoint, map_location=plan.device, weights_only=True)
        model.load_state_dict(kept.pop("model"))
        adam.load_state_dict(kept.pop("adam"))
        state = kept
    written = time.monotonic()

    def keep() -> None:
        nonlocal written
        draft = checkpoint.with_name(f"{checkpoint.name}.draft")
        torch.save({**state, "model": model.state_dict(), "adam": adam.state_dict()}, draft)
        draft.replace(checkpoint)
        written = time.monotonic()

    while not state["end"]:
        batches = schedule(lessons, plan, state["epoch"])
        late = False
        while state["step"] < len(batches) and not late:
            started = time.monotonic()
            done = state["epoch"] * steps + state["step"]
            state["total"] += _step(model, adam, reader, lessons, batches[state["step"]], plan, done, steps)
            state["step"] += 1
            state["steps"] += 1
            state["seconds"] += time.monotonic() - started
            late = 0 < plan.max_seconds <= state["seconds"]
            if time.monotonic() - written >= plan.checkpoint_seconds:
                keep()
        started = time.monotonic()
        loss = _finite("the loss is", state["total"] / state["step"], state["epoch"] + 1)
        scores = valid_losses(model, reader, lessons, plan)
        mean = float(np.mean(list(scores.values()))) if scores else None
        _finite("validation gives a loss of", mean or 0.0, state["epoch"] + 1)
        state |= {"epoch": state["epoch"] + 1, "step": 0, "total": 0.0}
        if mean is None or mean < state["best"]:
            best = {name: value.detach().clone() for name, value in model.state_dict().items()}
            state |= {"best": math.inf if mean is None else mean, "best_epoch": state["epoch"], "weights": best}
        state["seconds"] += time.monotonic() - started
        state["end"] = late or state["epoch"] >= plan.epochs or state["epoch"] - state["best_epoch"] > plan.patience
        if state["end"] or time.monotonic() - written >= plan.checkpoint_seconds:
            keep()
        told(state["epoch"], {"loss": loss, **{f"valid_{task}_loss": value for task, value in scores.items()}})
    model.load_state_dict(state["weights"])
    facts = {name: state[name] for name in ("epoch", "best_epoch", "best", "steps", "seconds")}
    return facts | {"steps_an_epoch": steps, "best": facts["best"] if math.isfinite(facts["best"]) else None}


def _finite(what: str, value: float, epoch: int) -> float:
    """A value that is a number; ConfigError otherwise."""
    if not math.isfinite(value):
        raise ConfigError(f"p5: {what} {value} in epoch {epoch}; set a lower lr")
    return value


def _step(
    model: Personal,
    adam: torch.optim.Optimizer,
    reader: Reader,
    lessons: Lessons,
    some: list[Lesson],
    plan: Plan,
    done: int,
    steps: int,
) -> float:
    """One step; returns its loss."""
    rng = np.random.default_rng([plan.seed, 7, done])
    torch.manual_seed(int(rng.integers(1 << 62)))  # dropout
    read, right = [], []
    for lesson in some:
        tokens, answer = reader.lesson(_question(lessons, lesson, plan, rng), rng, plan.nameless)
        read.append(tokens)
        right.append(answer)
    every = plan.epochs * steps
    warm = max(1.0, plan.warm_up * every)
    rate = min((done + 1) / warm, (every - done) / max(1.0, every - warm))
    for group in adam.param_groups:
        group["lr"] = plan.lr * max(0.0, min(1.0, rate))
    model.train()
    loss = model.losses(reader.batch(read, right).to(plan.device)).mean()
    adam.zero_grad()
    loss.backward()
    learned = [weight for group in adam.param_groups for weight in group["params"]]
    torch.nn.utils.clip_grad_norm_(learned, plan.clip)
    adam.step()
    return float(loss.detach())


@torch.no_grad()
def valid_losses(model: Personal, reader: Reader, lessons: Lessons, plan: Plan) -> dict[str, float]:
    """Mean loss of an answer's token by task, over the validation questions as they are asked."""
    model.eval()
    found = {}
    for task, asked in sorted(lessons.valid.items()):
        rows = [q for q in asked if reader.answer(q)]
        losses = []
        for at in range(0, len(rows), plan.batch):
            some = rows[at : at + plan.batch]
            read = [reader.asked(q, unseen=False, named=plan.nameless < 1) for q in some]
            batch = reader.batch(read, [reader.answer(q) for q in some])
            losses.append(model.losses(batch.to(plan.device)).cpu())
        if losses:
            found[task] = float(torch.cat(losses).mean())
    return found


def sizes(model: Personal) -> dict[str, int]:
    """How many weights there are and how many of them were learned."""
    counts = [(weight.numel(), weight.requires_grad) for weight in model.parameters()]
    return {"weights": sum(n for n, _ in counts), "learned": sum(n for n, is_learned in counts if is_learned)}
