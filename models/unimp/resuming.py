"""A training run out of memory into its checkpoints and back: weights, moments, random states, place in the data."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from unimp import checkpoint, trainable
from unimp.books import State
from unimp.errors import CheckpointError
from unimp.modeling import Unimp

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class Keeper:
    """Keeps one run.

    Args:
        folder: of this run alone.
        model: whose trained parameters are kept.
        optimizer: whose moments are.
        accelerator: processes and device; the first one writes, all of them must call.
        identity: what makes this run another than others; a checkpoint that differs in it is refused.
    """

    def __init__(
        self,
        folder: Path,
        model: Unimp,
        optimizer: torch.optim.Optimizer,
        accelerator: Accelerator,
        identity: dict[str, Any],
    ) -> None:
        self.folder, self.model, self.optimizer = folder, model, optimizer
        self.accelerator, self.identity = accelerator, identity
        self.names = {id(parameter): name for name, parameter in trainable.trained(model).items()}

    def save(self, state: State, seconds: float) -> None:
        """Write a checkpoint; `seconds` is what the run took up to now.

        Raises:
            TrainingError: the disk is full or not writable.
        """
        tensors = {f"model.{name}": p for name, p in trainable.trained(self.model).items()}
        for parameter, kept in self.optimizer.state.items():
            for what, value in kept.items():
                tensors[f"optimizer.{what}.{self.names[id(parameter)]}"] = value
        mine = [torch.get_rng_state()]
        if torch.cuda.is_available():
            mine.append(torch.cuda.get_rng_state(self.accelerator.device))
        every = gather_object([mine]) if self.accelerator.num_processes > 1 else [mine]
        tensors |= {f"random.{rank}.{k}": t for rank, states in enumerate(every) for k, t in enumerate(states)}
        if self.accelerator.is_main_process:
            held = {"run": self.identity, "state": asdict(state) | {"seconds": seconds}}
            checkpoint.save(self.folder, state.epoch, state.step, tensors, held)
        self.accelerator.wait_for_everyone()

    def load(self) -> State | None:
        """Put model, optimizer and random states back where the last checkpoint stands; None where there is none.

        Raises:
            CheckpointError: it is damaged or another run's.
        """
        with self.accelerator.main_process_first():
            found = checkpoint.load(self.folder)
        if found is None:
            return None
        tensors, held = found
        wanted = json.loads(json.dumps(self.identity))
        if differing := sorted(key for key in wanted if held.get("run", {}).get(key) != wanted[key]):
            named = ", ".join(differing)
            raise CheckpointError(f"checkpoint in '{self.folder}' is another run's: it differs in {named}; remove it")
        self._put({name[6:]: t for name, t in tensors.items() if name.startswith("model.")})
        for parameter in (p for group in self.optimizer.param_groups for p in group["params"]):
            name = self.names[id(parameter)]
            kept = {w: tensors[f"optimizer.{w}.{name}"] for w in _MOMENTS if f"optimizer.{w}.{name}" in tensors}
            if kept:
                self.optimizer.state[parameter] = {w: t.to(parameter.device) for w, t in kept.items()}
        rank = self.accelerator.process_index
        torch.set_rng_state(tensors[f"random.{rank}.0"])
        if torch.cuda.is_available() and f"random.{rank}.1" in tensors:
            torch.cuda.set_rng_state(tensors[f"random.{rank}.1"], self.accelerator.device)
        return State(**held["state"])

    def save_best(self) -> None:
        """Keep the weights as they are now as the best ones; errors as in `checkpoint.save_best`."""
        if self.accelerator.is_main_process:
            checkpoint.save_best(self.folder, dict(trainable.trained(self.model)))
        self.accelerator.wait_for_everyone()

    def load_best(self) -> None:
        """Put the best weights into the model.

        Raises:
            CheckpointError: they are missing, cut short or another model's.
        """
        self._put(checkpoint.load_best(self.folder))

    @torch.no_grad()
    def _put(self, weights: dict[str, Tensor]) -> None:
        for name, parameter in trainable.trained(self.model).items():
            if name not in weights or weights[name].shape != parameter.shape:
                raise CheckpointError(f"'{self.folder}' has no weights for {name} of shape {tuple(parameter.shape)}")
            parameter.copy_(weights[name])
