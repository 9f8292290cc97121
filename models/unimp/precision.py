"""Half precision where the device gains by it: which products are bfloat16, and which weights need be no more.

On a GPU products of a forward pass are bfloat16 under autocast, in training and in answers; norms, softmax of losses
and the head's logits while answering stay float32. On a CPU with Intel's matrix units (AMX) those of training may be,
where a product of matrices takes a seventh of the time; attention and answers stay float32. What an optimizer sees is
float32. A frozen body's matrices are kept as bfloat16 on a GPU: autocast would round them to that before each product,
so the results are the same, for half the memory.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch

from unimp.errors import TrainingError
from unimp.modeling import Unimp
from unimp.options import Options
from unimp.trainable import part_of, trained

DEVICES = ["cuda"]  # whose products are faster in half precision


def has_matrix_units() -> bool:
    """Whether this CPU multiplies matrices of bfloat16 in units of their own."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def halves(device: torch.device, where: str) -> bool:
    """Whether products of training are bfloat16 on a device, `where` being one of `recipe.HALVES`."""
    if device.type in DEVICES:
        return where != "never"
    return where == "amx" and device.type == "cpu" and has_matrix_units()


def products(device: torch.device, where: str = "gpu") -> Any:
    """Inside, products are bfloat16, where it is wanted and the device gains by it."""
    if halves(device, where):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def halved(model: Unimp, options: Options, device: torch.device) -> Unimp:
    """The model with a frozen body's matrices in bfloat16, where the device computes with these alone.

    A body without published weights is trained and stays as it is.
    """
    if device.type in DEVICES and not options.budget.scratch:
        with torch.no_grad():
            for parameter in model.body.parameters():
                if parameter.dim() > 1:
                    parameter.data = parameter.data.to(torch.bfloat16)
    return model


def need_whole(model: Unimp) -> None:
    """Refuse to train weights of half precision: small updates would be rounded away.

    Raises:
        TrainingError: naming the first such weight.
    """
    for name, parameter in trained(model).items():
        if parameter.dtype != torch.float32:
            raise TrainingError(
                f"{name} is {parameter.dtype} and part of what is trained ({part_of(name)}); load it in float32"
            )
