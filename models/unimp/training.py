"""Training: epochs of batches, one update per step, checkpoints, validation, the best weights at the end.

The loss of a step is summed over all its batches, on all processes, and divided once by what all of them teach, so
neither accumulation nor the number of processes changes it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, DistributedType
from numpy.typing import NDArray

from unimp import memory, precision, trainable
from unimp.batching import Plan, Rows
from unimp.books import State, Teller, broken, spoilt
from unimp.errors import TrainingError
from unimp.loading import Load, Loader, Patches, in_background, own, steps_of
from unimp.logs import Log
from unimp.modeling import Unimp
from unimp.processes import Processes
from unimp.recipe import Outcome, Progress, Recipe, Record
from unimp.resuming import Keeper
from unimp.sequence import KINDS
from unimp.sharding import Copies, Shares, share
from unimp.stepping import Hidden

__all__ = ["Outcome", "Progress", "Recipe", "Record", "train"]


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
    shard: bool = False,
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
        shard: several processes share out every weight (FSDP2) instead of each holding a copy.

    Raises:
        TrainingError: the loss is not a number, the disk is full, there is nothing to learn from.
        CheckpointError: the checkpoint is damaged or another run's.
    """
    trainable.choose(model, parts)
    if recipe.cached_hidden and not all(name.startswith("head.") for name in trainable.trained(model)):
        raise TrainingError("cached_hidden trains output rows alone; choose stage efficient or turn it off")
    precision.need_whole(model)
    team = Processes.here()
    if accelerator is None:
        # A batch may leave weights out; DDP must not wait for their gradients.
        unused = DistributedDataParallelKwargs(find_unused_parameters=True)
        accelerator = Accelerator(cpu=team.device.type == "cpu", kwargs_handlers=[unused])
    if accelerator.distributed_type in (DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise TrainingError(f"{accelerator.distributed_type.value} is not supported; launch DDP or FSDP2")
    shard = team.count > 1 and (shard or accelerator.distributed_type == DistributedType.FSDP)
    run = _Run(model, rows, recipe, patches, has_picture, folder, stage, accelerator, team, shard)
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
        team: Processes,
        shard: bool,
    ) -> None:
        self.rows, self.recipe, self.stage, self.folder, self.team = rows, recipe, stage, folder, team
        self.patches, self.has_picture, self.world = patches, has_picture, team.count
        self.state = State()
        if recipe.checkpointing:
            model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        else:
            model.activation_checkpointing_disable()  # type: ignore[no-untyped-call]
        identity = {
            "stage": stage,
            "recipe": recipe.identity,
            "seed": rows.seed,
            "rows": len(rows),
            "processes": self.world,
            "trained": {n: list(p.shape) for n, p in trainable.trained(model).items()},
            "frozen": trainable.frozen_fingerprint(model),
        }
        self.spread = Shares(model, recipe, accelerator) if shard else Copies(model, recipe, accelerator)
        self.model = self.spread.model
        # Which hidden states are known differs between processes, but shares are put together by all.
        self.hidden = Hidden(self.model, team.device, recipe.bf16, keeps=recipe.cached_hidden and not shard)
        # To Adam a gradient of zero is not the same as none; and processes must do the same operations.
        self.looks = any(trainable.part_of(name) in ("resampler", "cross") for name in trainable.trained(self.model))
        groups = trainable.groups(self.model, recipe.weight_decay, decay_body=recipe.decay_body)
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.lr, fused=True)
        self.keeper = Keeper(folder, self.model, self.optimizer, team, identity)
        self.log = Log(folder / "tensorboard" if team.main else None)

    # The run

    def go(self) -> Outcome:
        self.state = state = self.keeper.load() or self.state
        recipe, first = self.recipe, self.team.main
        self.teller = Teller(
            self.model, recipe, self.stage, self.log, self.report if first else None, self.record if first else None
        )
        self.saved = self.teller.begun
        while state.epoch < recipe.epochs and not self._patience_over():
            self._epoch()
        if state.best_epoch is not None:
            self.keeper.load_best()
        self.model.train(False)
        self.spread.close()
        read = state.tokens, state.padded, state.dropped
        return Outcome(state.steps, state.best_epoch, state.best, *read, self._seconds(), list(state.history))

    def _seconds(self) -> float:
        """What the run took, with what it took before it was stopped."""
        return self.state.seconds + time.monotonic() - self.teller.begun

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
        steps = steps[: math.ceil(len(steps) * recipe.part)]
        if not steps:
            raise TrainingError(f"stage {self.stage} has no rows to learn from; check the training examples")
        loader = Loader(rows, draw, self.has_picture, self.patches, always=self.looks)
        wanted = (own(step, self.team.rank, self.world) for step in steps[state.step :])

        def made() -> Iterator[list[Load]]:
            for step in wanted:
                yield [
                    self.hidden.load(draw, key, idle) or loader.load(key, numbers, idle) for key, numbers, idle in step
                ]

        # Where hidden states come again nothing is dropped: kept, one drawing would stay; shares must learn alike.
        self.model.train(not recipe.cached_hidden)
        with closing(in_background(made(), recipe.ahead)) as ready:
            for loads in ready:
                self._update(loads, draw, len(steps))
        self._close_epoch()

    def _update(self, loads: list[Load], draw: int, steps: int) -> None:
        """One optimizer step."""
        state, recipe, device = self.state, self.recipe, self.team.device
        share = (state.epoch + (state.step + 0.5) / steps) / recipe.epochs
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.rate(share)
        counted = torch.tensor(
            [
                sum(one.targets.amount(recipe.norm) for one in loads if not one.idle),
                sum(one.ids for one in loads if not one.idle),
                sum(one.padded for one in loads if not one.idle),
                sum(one.dropped for one in loads if not one.idle),
            ],
            dtype=torch.float64,
        )
        amount, ids, padded, dropped = self.team.summed(counted).tolist()
        divisor = torch.tensor(max(amount, 1e-8), dtype=torch.float32, device=device)
        total = torch.zeros((), device=device)
        by_kind = torch.zeros((2, len(KINDS)), device=device)
        for k, load in enumerate(loads):
            with self.spread.adding(last=k == len(loads) - 1):
                targets = load.targets.to(device)
                loss, each = self.spread.step(*self.hidden.input(load, draw), targets, divisor)
                # Processes average their gradients; the sum over all of them is wanted.
                (loss * (0.0 if load.idle else float(self.world))).backward()
            if not load.idle:
                total += loss.detach()
                by_kind[0].index_add_(0, targets.kinds, each)
                by_kind[1].index_add_(0, targets.kinds, torch.ones_like(each))
        norm = self.spread.clip([p for group in self.optimizer.param_groups for p in group["params"]], recipe.clip)
        figures = self.team.summed(torch.cat([total.reshape(1), by_kind.flatten()]).double().cpu()).tolist()
        if not math.isfinite(figures[0]) or not math.isfinite(norm):
            everyone = self.team.gathered([n for one in loads if not one.idle for n in one.numbers])
            raise broken(self.stage, self.folder, state, [n for own in everyone for n in own], figures[0], norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        state.count(figures[0], figures[1:], int(ids), int(padded), int(dropped))
        self.teller.step(state, figures[0], norm, share, int(ids), steps)
        if state.steps % memory.EVERY == 0:
            memory.give_back()
        self._maybe_save(steps)

    # The end of an epoch

    def _close_epoch(self) -> None:
        state = self.state
        self._need_numbers()
        values = state.figures()
        if self.validate is not None:
            values |= self._validated()
        state.history.append(values)
        self.teller.record(state.steps, {name: value for name, value in values.items() if name != "epoch"})
        state.next_epoch()
        self._save()

    def _validated(self) -> dict[str, float]:
        assert self.validate is not None
        state = self.state
        self.model.train(False)
        with torch.no_grad(), self.spread.reading():
            told = self.team.agree(self.validate(self.model))
        metrics = {name: float(value) for name, value in told.items()}
        if self.select not in metrics:
            known = ", ".join(sorted(metrics)) or "none"
            raise TrainingError(f"validation gives no '{self.select}' to select by; it gives {known}")
        score = metrics[self.select]
        better = state.best is None or (score > state.best if self.higher else score < state.best)
        better = better or self.recipe.keep == "last"
        if better and math.isfinite(score):
            state.best, state.best_epoch = score, state.epoch
            self.keeper.save_best()
        return metrics

    def _maybe_save(self, steps: int) -> None:
        recipe, state = self.recipe, self.state
        due = bool(recipe.checkpoint_steps) and state.steps % recipe.checkpoint_steps == 0
        if recipe.checkpoint_seconds:
            late = time.monotonic() - self.saved > recipe.checkpoint_seconds
            due = due or bool(self.team.summed(torch.tensor(float(late))) > 0)
        if due and state.step < steps:  # the end of an epoch saves by itself
            self._need_numbers()
            self._save()

    def _need_numbers(self) -> None:
        """Keep an update that spoilt the weights, which no later loss may tell of, from being written or chosen."""
        own = (p.detach() for group in self.optimizer.param_groups for p in group["params"])
        sound = all(bool(share(one).isfinite().all()) for one in own)
        if self.team.summed(torch.tensor(float(not sound))) > 0:
            raise spoilt(self.stage, self.folder, self.state)

    def _save(self) -> None:
        self.keeper.save(self.state, self._seconds())
        self.saved = time.monotonic()
