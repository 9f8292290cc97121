"""What a run leaves for people to look at: a TensorBoard log, where tensorboard is installed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from unimp.modeling import Unimp
from unimp.sharding import full


class Log:
    """Scalars over steps; writes nothing where tensorboard is missing or `folder` is None."""

    def __init__(self, folder: Path | None) -> None:
        self._writer: Any = None
        if folder is not None and find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write values of a step."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is still held back."""
        if self._writer is not None:
            self._writer.close()


def gate_opening(model: Unimp) -> float | None:
    """Mean |tanh(gate)| of all blocks: near 0 means that pictures never came in; None without blocks."""
    gates = [
        full(p.detach()) for name, p in model.named_parameters() if name.startswith("blocks.") and ".gate_" in name
    ]
    return float(torch.cat(gates).float().tanh().abs().mean()) if gates else None
