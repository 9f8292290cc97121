"""Training: epochs of batches, one update per step, checkpoints, validation, the best weights at the end.

The loss of a step is summed over all its batches, on all processes, and divided once by what all of them teach, so
neither accumulation nor the number of processes changes it.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, DistributedType, broadcast_object_list, gather_object
from numpy.typing import NDArray
from torch import Tensor, nn

from unimp import checkpoint, trainable
from unimp.batch import Batch
from unimp.batching import Plan, Rows
from unimp.errors import CheckpointError, TrainingError
from unimp.loading import Load, Loader, Patches, in_background, own, steps_of
from unimp.logs import Log, gate_opening
from unimp.modeling import Unimp
from unimp.recipe import Outcome, Progress, Recipe, Record
from unimp.sequence import KINDS
from unimp.stepping import LossStep

__all__ = ["Outcome", "Progress", "Recipe", "Record", "train"]


@dataclass
class _State:
    """What goes into a checkpoint beside tensors: the place in the data, and what the epoch has come to."""

    epoch: int = 0
    step: int = 0
    steps: int = 0
    best: float | None = None
    best_epoch: int | None = None
    tokens: int = 0
    padded: int = 0
    seconds: float = 0.0
    sums: list[float] = field(default_factory=lambda: [0.0] * len(KINDS))
    counts: list[float] = field(default_factory=lambda: [0.0] * len(KINDS))
    loss: float = 0.0
    epoch_tokens: int = 0
    epoch_padded: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def train(
    model: Unimp,
    rows: Rows,
    recipe: Recipe,
    *,
    patches: Patches,
    has_picture: NDArray[np.bool_],
    folder: Path,
    stage: str,
    parts: frozenset[str],
    validate: Callable[[Unimp], dict[str, float]] | None = None,
    select: str = "",
    higher: bool = True,
    plan_of_epoch: Callable[[int], Plan] | None = None,
    report: Callable[[Progress], None] | None = None,
    record: Record | None = None,
    accelerator: Accelerator | None = None,
) -> Outcome:
    """Train parts of a model in place; a run that was stopped goes on where its last checkpoint in `folder` stands.

    Args:
        model: in memory; moved to the accelerator's device.
        rows: what is read; their seed is the run's.
        recipe: how.
        patches: patch tokens `(pictures, patches, width)` of item indices `(pictures,)`; called from a thread.
        has_picture: `(items,)`.
        folder: of this run alone: checkpoints, best weights, TensorBoard log.
        stage: its name, for progress and records.
        parts: what is trained (`trainable.parts_of`).
        validate: metrics of the model as it is; called on every process after each epoch, the first one's count.
        select: the metric that chooses the best epoch, whose weights are left in the model; needed with `validate`.
        higher: whether more of it is better.
        plan_of_epoch: another plan for each epoch.
        report: told of every step.
        record: given figures every `log_steps` steps and after each epoch.
        accelerator: processes and device; by default those of the launch.

    Raises:
        TrainingError: the loss is not a number, the disk is full, there is nothing to learn from.
        CheckpointError: the checkpoint is damaged or another run's.
    """
    trainable.choose(model, parts)
    if recipe.cached_hidden and not all(name.startswith("head.") for name in trainable.trained(model)):
        raise TrainingError("cached_hidden trains output rows alone; choose stage efficient or turn it off")
    if accelerator is None:
        # A batch without pictures leaves resampler and blocks out; DDP must not wait for their gradients.
        accelerator = Accelerator(kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)])
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        raise TrainingError(
            f"{accelerator.distributed_type.value} is not supported; launch plain data parallelism"
        )
    run = _Run(model, rows, recipe, patches, has_picture, folder, stage, accelerator)
    run.plan_of_epoch, run.report, run.record = plan_of_epoch, report, record
    run.validate, run.select, run.higher = validate, select, higher
    try:
        return run.go()
    finally:
        run.log.close()


class _Run:
    """One call of `train`."""

    validate: Callable[[Unimp], dict[str, float]] | None
    plan_of_epoch: Callable[[int], Plan] | None
    report: Callable[[Progress], None] | None
    record: Record | None
    select: str
    higher: bool

    def __init__(
        self,
        model: Unimp,
        rows: Rows,
        recipe: Recipe,
        patches: Patches,
        has_picture: NDArray[np.bool_],
        folder: Path,
        stage: str,
        accelerator: Accelerator,
    ) -> None:
        self.model, self.rows, self.recipe, self.stage, self.folder = model, rows, recipe, stage, folder
        self.patches, self.has_picture, self.accelerator = patches, has_picture, accelerator
        self.rank, self.world = accelerator.process_index, accelerator.num_processes
        self.state = _State()
        self.hidden: dict[tuple[int, int], Tensor] = {}
        self.known: dict[tuple[int, int], Load] = {}
        device = accelerator.device
        model.to(device)
        if recipe.checkpointing:
            model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        else:
            model.activation_checkpointing_disable()  # type: ignore[no-untyped-call]
        self.names = {id(p): name for name, p in trainable.trained(model).items()}
        groups = trainable.groups(model, recipe.weight_decay, decay_body=recipe.decay_body)
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.lr, fused=True)
        self.step_module: nn.Module = accelerator.prepare(LossStep(model, recipe))
        self.identity = {
            "stage": stage,
            "recipe": recipe.identity,
            "seed": rows.seed,
            "rows": len(rows),
            "processes": self.world,
            "trained": {n: list(p.shape) for n, p in trainable.trained(model).items()},
            "frozen": trainable.frozen_fingerprint(model),
        }
        self.log = Log(folder / "tensorboard" if accelerator.is_main_process else None)

    # The run

    def go(self) -> Outcome:
        with self.accelerator.main_process_first():
            found = checkpoint.load(self.folder)
        if found is not None:
            self._take_up(*found)
        state, recipe = self.state, self.recipe
        self.begun = self.saved = time.monotonic()
        while state.epoch < recipe.epochs and not self._patience_over():
            self._epoch()
        if state.best_epoch is not None:
            self._put(checkpoint.load_best(self.folder))
        self.model.train(False)
        seconds = state.seconds + time.monotonic() - self.begun
        return Outcome(
            state.steps, state.best_epoch, state.best, state.tokens, state.padded, seconds, list(state.history)
        )

    def _patience_over(self) -> bool:
        since = self.state.epoch - 1 - (self.state.best_epoch or 0)
        return 0 < self.recipe.patience <= since and self.state.best_epoch is not None

    def _rows_of(self, epoch: int) -> Rows:
        if self.plan_of_epoch is None:
            return self.rows
        return Rows(self.rows.shop, self.rows.writer, self.plan_of_epoch(epoch), self.rows.seed)

    def _epoch(self) -> None:
        state, recipe = self.state, self.recipe
        rows = self._rows_of(state.epoch)
        draw = state.epoch % recipe.draws if recipe.draws else state.epoch
        steps = steps_of(rows, state.epoch, draw, self.world, recipe.accumulate)
        if not steps:
            raise TrainingError(f"stage {self.stage} has no rows to learn from; check the training examples")
        loader = Loader(rows, draw, self.has_picture, self.patches, always=self.world > 1)
        wanted = (own(step, self.rank, self.world) for step in steps[state.step :])

        def made() -> Iterator[list[Load]]:
            for step in wanted:
                yield [
                    replace(self.known[draw, key], idle=idle)
                    if (draw, key) in self.known
                    else loader.load(key, numbers, idle)
                    for key, numbers, idle in step
                ]

        self.model.train()
        with closing(in_background(made(), recipe.ahead)) as ready:
            for loads in ready:
                self._update(loads, draw, len(steps))
        self._close_epoch()

    def _update(self, loads: list[Load], draw: int, steps: int) -> None:
        """One optimizer step."""
        state, recipe, device = self.state, self.recipe, self.accelerator.device
        begin = time.monotonic()
        share = (state.epoch + (state.step + 0.5) / steps) / recipe.epochs
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.rate(share)
        counted = torch.tensor(
            [
                sum(one.targets.amount(recipe.norm) for one in loads if not one.idle),
                sum(one.ids for one in loads if not one.idle),
                sum(one.padded for one in loads if not one.idle),
            ],
            dtype=torch.float64,
        )
        amount, ids, padded = self._summed(counted).tolist()
        divisor = torch.tensor(max(amount, 1e-8), dtype=torch.float32, device=device)
        total = torch.zeros((), device=device)
        by_kind = torch.zeros((2, len(KINDS)), device=device)
        for k, load in enumerate(loads):
            last = k == len(loads) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.step_module):
                targets = load.targets.to(device)
                loss, each = self.step_module(*self._input(load, draw), targets, divisor)
                # Processes average their gradients; the sum over all of them is wanted.
                self.accelerator.backward(loss * (0.0 if load.idle else float(self.world)))
            if not load.idle:
                total += loss.detach()
                by_kind[0].index_add_(0, targets.kinds, each)
                by_kind[1].index_add_(0, targets.kinds, torch.ones_like(each))
        norm = self._clipped()
        figures = self._summed(torch.cat([total.reshape(1), by_kind.flatten()]).double().cpu()).tolist()
        if not math.isfinite(figures[0]) or not math.isfinite(norm):
            self._stop(loads, figures[0], norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._count(figures, int(ids), int(padded))
        self._tell(figures[0], norm, share, int(ids), time.monotonic() - begin, steps)
        self._maybe_save(steps)

    def _input(self, load: Load, draw: int) -> tuple[Batch | None, Tensor | None, Tensor | None]:
        device = self.accelerator.device
        if self.recipe.cached_hidden and (draw, load.key) in self.hidden:
            return None, None, self.hidden[draw, load.key].to(device)
        assert load.batch is not None
        batch = load.batch.to(device)
        patches = load.patches.to(device) if load.patches is not None else None
        if not self.recipe.cached_hidden:
            return batch, patches, None
        with torch.no_grad(), self.accelerator.unwrap_model(self.step_module).precision(device):
            before = self.model.read(batch, patches).flatten(0, 1)[load.targets.places.to(device) - 1]
        self.hidden[draw, load.key] = before.cpu()
        self.known[draw, load.key] = replace(load, batch=None, patches=None)
        return None, None, before

    def _clipped(self) -> float:
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        most = self.recipe.clip or math.inf
        return float(self.accelerator.clip_grad_norm_(parameters, most))

    def _summed(self, one: Tensor) -> Tensor:
        """Sum over processes."""
        if self.world == 1:
            return one
        everyone: Tensor = self.accelerator.reduce(one.to(self.accelerator.device), "sum")
        return everyone.cpu()

    def _stop(self, loads: list[Load], loss: float, norm: float) -> None:
        numbers = [number for load in loads for number in load.numbers]
        named = ", ".join(str(n) for n in numbers[:20]) + (
            f" and {len(numbers) - 20} more" if len(numbers) > 20 else ""
        )
        what = f"loss {loss}" if not math.isfinite(loss) else f"gradient norm {norm}"
        raise TrainingError(
            f"{what} in stage {self.stage}, epoch {self.state.epoch}, step {self.state.step}, rows {named}; "
            f"the last good checkpoint is kept in '{self.folder}': try a lower learning rate"
        )

    # Books

    def _count(self, figures: list[float], ids: int, padded: int) -> None:
        state, kinds = self.state, len(KINDS)
        state.step, state.steps = state.step + 1, state.steps + 1
        state.tokens, state.padded = state.tokens + ids, state.padded + padded
        state.epoch_tokens, state.epoch_padded = state.epoch_tokens + ids, state.epoch_padded + padded
        state.loss += figures[0]
        state.sums = [a + b for a, b in zip(state.sums, figures[1 : 1 + kinds], strict=True)]
        state.counts = [a + b for a, b in zip(state.counts, figures[1 + kinds :], strict=True)]

    def _tell(self, loss: float, norm: float, share: float, ids: int, seconds: float, steps: int) -> None:
        state, recipe = self.state, self.recipe
        elapsed = time.monotonic() - self.begun
        done = (state.epoch + state.step / steps) / recipe.epochs
        if not hasattr(self, "_first"):
            self._first = (max(done - 1 / steps / recipe.epochs, 0.0), state.tokens - ids)
        speed = (state.tokens - self._first[1]) / max(elapsed, 1e-9)
        left = elapsed * (1 - done) / max(done - self._first[0], 1e-9)
        if state.steps % recipe.log_steps == 0:
            values = {"loss": loss, "lr": recipe.rate(share), "grad_norm": norm, "tokens_per_second": speed}
            if (opening := gate_opening(self.model)) is not None:
                values["gate"] = opening
            self._record(values)
        if self.report is not None and self.accelerator.is_main_process:
            progress = Progress(self.stage, state.epoch, recipe.epochs, state.steps, done, loss, speed, left)
            self.report(progress)

    def _record(self, values: dict[str, float]) -> None:
        if self.accelerator.is_main_process:
            self.log.write(self.state.steps, {f"{self.stage}/{name}": value for name, value in values.items()})
            if self.record is not None:
                self.record(self.stage, self.state.steps, **values)

    def _close_epoch(self) -> None:
        state = self.state
        values = {"epoch": float(state.epoch), "loss": state.loss / max(state.step, 1)}
        values |= {
            f"loss_{kind}": total / count
            for kind, total, count in zip(KINDS, state.sums, state.counts, strict=True)
            if count
        }
        values |= {"tokens": float(state.epoch_tokens), "padded_tokens": float(state.epoch_padded)}
        if self.validate is not None:
            values |= self._validated()
        state.history.append(values)
        self._record({name: value for name, value in values.items() if name != "epoch"})
        state.epoch, state.step, state.loss, state.epoch_tokens, state.epoch_padded = state.epoch + 1, 0, 0.0, 0, 0
        state.sums, state.counts = [0.0] * len(KINDS), [0.0] * len(KINDS)
        self._save()

    def _validated(self) -> dict[str, float]:
        assert self.validate is not None
        state = self.state
        self.model.train(False)
        with torch.no_grad():
            told: list[Any] = [self.validate(self.model)]
        if self.world > 1:
            broadcast_object_list(told)
        metrics: dict[str, float] = {name: float(value) for name, value in told[0].items()}
        if self.select not in metrics:
            known = ", ".join(sorted(metrics)) or "none"
            raise TrainingError(f"validation gives no '{self.select}' to select by; it gives {known}")
        score = metrics[self.select]
        better = state.best is None or (score > state.best if self.higher else score < state.best)
        if better and math.isfinite(score):
            state.best, state.best_epoch = score, state.epoch
            if self.accelerator.is_main_process:
                checkpoint.save_best(self.folder, dict(trainable.trained(self.model)))
            self.accelerator.wait_for_everyone()
        return metrics

    # Checkpoints

    def _maybe_save(self, steps: int) -> None:
        recipe, state = self.recipe, self.state
        due = bool(recipe.checkpoint_steps) and state.steps % recipe.checkpoint_steps == 0
        if recipe.checkpoint_seconds:
            late = time.monotonic() - self.saved > recipe.checkpoint_seconds
            due = due or bool(self._summed(torch.tensor(float(late))) > 0)
        if due and state.step < steps:  # the end of an epoch saves by itself
            self._save()

    def _save(self) -> None:
        tensors = {f"model.{name}": p for name, p in trainable.trained(self.model).items()}
        for parameter, kept in self.optimizer.state.items():
            for what, value in kept.items():
                tensors[f"optimizer.{what}.{self.names[id(parameter)]}"] = value
        mine = [torch.get_rng_state()]
        if torch.cuda.is_available():
            mine.append(torch.cuda.get_rng_state(self.accelerator.device))
        every = gather_object([mine]) if self.world > 1 else [mine]
        tensors |= {f"random.{rank}.{k}": t for rank, states in enumerate(every) for k, t in enumerate(states)}
        if self.accelerator.is_main_process:
            held = asdict(self.state) | {"seconds": self.state.seconds + time.monotonic() - self.begun}
            state = {"run": self.identity, "state": held}
            checkpoint.save(self.folder, self.state.epoch, self.state.step, tensors, state)
        self.accelerator.wait_for_everyone()
        self.saved = time.monotonic()

    def _take_up(self, tensors: dict[str, Tensor], held: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        wanted = json.loads(json.dumps(self.identity))
        if differing := sorted(key for key in wanted if held.get("run", {}).get(key) != wanted[key]):
            named = ", ".join(differing)
            raise CheckpointError(f"checkpoint in '{self.folder}' is another run's: it differs in {named}; remove it")
        self.state = _State(**held["state"])
        self._put({name[6:]: t for name, t in tensors.items() if name.startswith("model.")})
        for parameter in (p for group in self.optimizer.param_groups for p in group["params"]):
            name = self.names[id(parameter)]
            kept = {w: tensors[f"optimizer.{w}.{name}"] for w in _MOMENTS if f"optimizer.{w}.{name}" in tensors}
            if kept:
                self.optimizer.state[parameter] = {w: t.to(parameter.device) for w, t in kept.items()}
        torch.set_rng_state(tensors[f"random.{self.rank}.0"])
        if torch.cuda.is_available() and f"random.{self.rank}.1" in tensors:
            torch.cuda.set_rng_state(tensors[f"random.{self.rank}.1"], self.accelerator.device)

    @torch.no_grad()
    def _put(self, weights: dict[str, Tensor]) -> None:
        for name, parameter in trainable.trained(self.model).items():
            if name not in weights or weights[name].shape != parameter.shape:
                raise CheckpointError(f"'{self.folder}' has no weights for {name} of shape {tuple(parameter.shape)}")
            parameter.copy_(weights[name])


_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
