"""A training run out of memory into its checkpoints and back: weights, moments, random states, place in the data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unimp import checkpoint, trainable
from unimp.books import State
from unimp.errors import CheckpointError
from unimp.modeling import Unimp
from unimp.processes import Processes
from unimp.sharding import full, like

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class Keeper:
    """Keeps one run.

    Args:
        folder: of this run alone.
        model: whose trained parameters are kept.
        optimizer: whose moments are.
        team: the processes; the first one writes, all of them must call.
        identity: what makes this run another than others; a checkpoint that differs in it is refused.
    """

    def __init__(
        self,
        folder: Path,
        model: Unimp,
        optimizer: torch.optim.Optimizer,
        team: Processes,
        identity: dict[str, Any],
    ) -> None:
        self.folder, self.model, self.optimizer = folder, model, optimizer
        self.team, self.identity = team, identity
        self.names = {id(parameter): name for name, parameter in trainable.trained(model).items()}

    def save(self, state: State, seconds: float) -> None:
        """Write a checkpoint; `seconds` is what the run took up to now.

        Raises:
            TrainingError: the disk is full or not writable.
        """
        tensors = self._kept({f"model.{name}": p for name, p in trainable.trained(self.model).items()})
        for parameter, moments in self.optimizer.state.items():
            name = self.names[id(parameter)]
            tensors |= self._kept({f"optimizer.{what}.{name}": value for what, value in moments.items()})
        mine = [torch.get_rng_state()]
        if self.team.device.type == "cuda":
            mine.append(torch.cuda.get_rng_state(self.team.device))
        every = self.team.gathered(mine)
        tensors |= {f"random.{rank}.{k}": t for rank, states in enumerate(every) for k, t in enumerate(states)}
        held = {"run": self.identity, "state": asdict(state) | {"seconds": seconds}}
        self.team.once(lambda: checkpoint.save(self.folder, state.epoch, state.step, tensors, held))

    def load(self) -> State | None:
        """Put model, optimizer and random states back where the last checkpoint stands; None where there is none.

        Raises:
            CheckpointError: it is damaged or another run's.
        """
        found = self.team.in_turn(lambda: checkpoint.load(self.folder))
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
                self.optimizer.state[parameter] = {
                    what: like(t, parameter) if t.dim() else t.to(parameter.device) for what, t in kept.items()
                }
        torch.set_rng_state(tensors[f"random.{self.team.rank}.0"])
        if (name := f"random.{self.team.rank}.1") in tensors and self.team.device.type == "cuda":
            torch.cuda.set_rng_state(tensors[name], self.team.device)
        return State(**held["state"])

    def save_best(self) -> None:
        """Keep the weights as they are now as the best ones; errors as in `checkpoint.save_best`."""
        best = self._kept(trainable.trained(self.model))
        self.team.once(lambda: checkpoint.save_best(self.folder, best))

    def load_best(self) -> None:
        """Put the best weights into the model.

        Raises:
            CheckpointError: they are missing, cut short or another model's.
        """
        self._put(self.team.in_turn(lambda: checkpoint.load_best(self.folder)))

    def _kept(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors, in main memory, on the process that writes; one after the other, on all processes."""
        whole: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            one = full(tensor.detach())
            if self.team.main:
                whole[name] = one.cpu()
        return whole

    @torch.no_grad()
    def _put(self, weights: dict[str, Tensor]) -> None:
        for name, parameter in trainable.trained(self.model).items():
            if name not in weights or weights[name].shape != parameter.shape:
                raise CheckpointError(f"'{self.folder}' has no weights for {name} of shape {tuple(parameter.shape)}")
            parameter.copy_(like(weights[name], parameter))
