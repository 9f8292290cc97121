"""How a model is spread over the processes of a launch: a whole copy on each, or a share of every weight.

Shares are FSDP2's (`fully_shard`; Zhao et al. 2023): weights, gradients and moments of a layer are divided among the
processes and put together when the layer is computed. It swaps the class of every module that it takes, so it is given
a twin of the model that lives for one stage. The model itself waits in main memory and is given what was learned.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from unimp import trainable
from unimp.modeling import Unimp
from unimp.recipe import Recipe
from unimp.stepping import LossStep


class Copies:
    """A whole copy on every process: one alone, or DDP.

    `model` is what is trained, `step` its loss.
    """

    def __init__(self, model: Unimp, recipe: Recipe, accelerator: Accelerator) -> None:
        nn.Module.to(model, accelerator.device)  # the library's own wrapper has lost its type
        self.accelerator, self.model = accelerator, model
        self.step: nn.Module = accelerator.prepare(LossStep(model, recipe))

    def adding(self, last: bool) -> AbstractContextManager[None]:
        """Inside, a backward pass adds to gradients; processes meet at the last one."""
        meet: AbstractContextManager[None] = nullcontext() if last else self.accelerator.no_sync(self.step)
        return meet

    def reading(self) -> AbstractContextManager[None]:
        """Inside, the model can be asked on each process by itself, without gradients."""
        return nullcontext()

    def clip(self, parameters: Sequence[nn.Parameter], most: float) -> float:
        """Scale gradients to a norm of at most so much; what it was."""
        return float(full(nn.utils.clip_grad_norm_(parameters, most or math.inf)))

    def close(self) -> None:
        """Nothing is left to give back: the model itself was trained."""


class Shares(Copies):
    """A share of every weight on each process, in a twin of the model."""

    def __init__(self, model: Unimp, recipe: Recipe, accelerator: Accelerator) -> None:
        self.accelerator, self.whole = accelerator, model
        nn.Module.to(model, "cpu")
        self.model = _twin(model)
        mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
        for module in (*self.model.layers, *self.model.blocks.values()):
            fully_shard(module, mesh=mesh)
        self.step = LossStep(self.model, recipe)
        fully_shard(self.step, mesh=mesh)

    @property
    def _root(self) -> FSDPModule:
        return cast(FSDPModule, self.step)

    @contextmanager
    def adding(self, last: bool) -> Iterator[None]:
        """Inside, a backward pass adds to gradients; processes meet at the last one."""
        self._root.set_requires_gradient_sync(last)
        yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Inside, every process holds the whole model: what it is asked may then differ from process to process."""
        sharded = [module for module in self.step.modules() if isinstance(module, FSDPModule)]
        self._root.set_reshard_after_forward(False)
        for module in sharded:
            module.unshard()
        try:
            yield
        finally:
            for module in sharded:
                module.reshard()
            self._root.set_reshard_after_forward(True)
            self._root.set_reshard_after_forward(False, recurse=False)  # its own weights are needed again at once

    @torch.no_grad()
    def close(self) -> None:
        """Give the model what its twin learned."""
        own = dict(self.whole.named_parameters())
        for name, parameter in trainable.trained(self.model).items():
            own[name].copy_(full(parameter))
        nn.Module.to(self.whole, self.accelerator.device)


def _twin(model: Unimp) -> Unimp:
    """A copy of the modules over the same weights; no weight is held twice."""
    same: dict[int, object] = {id(p): nn.Parameter(p.detach(), p.requires_grad) for p in model.parameters()}
    return copy.deepcopy(model, same)


def full(tensor: Tensor) -> Tensor:
    """A tensor put together from its shares; all processes must ask. Others are returned as they are."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def share(tensor: Tensor) -> Tensor:
    """What of a tensor lies on this process: its share, or all of it where it is not divided."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, other: Tensor) -> Tensor:
    """A whole tensor, known to every process, on the device of another and divided as that one is."""
    here = tensor.to(other.device)
    if not isinstance(other, DTensor):
        return here
    return distribute_tensor(here, other.device_mesh, other.placements, src_data_rank=None)
