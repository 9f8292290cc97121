"""One of several processes of a training run, started by torch's launcher: folder, pictures, and what it saw."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from safetensors.torch import save_file

from tests.unimp import learning_shop, training_runs
from unimp import loading
from unimp.recipe import Recipe

RECIPE = Recipe(epochs=2, lr=1e-3, log_steps=1)  # Adam makes rounding visible at larger rates


def main(folder: Path) -> None:
    """Train; the first process writes weights and history, each one its rows."""
    accelerator = Accelerator(cpu=True, kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)])
    seen: list[list[int]] = []
    plain = loading.Loader.load

    def load(self: loading.Loader, key: int, numbers: list[int], idle: bool = False) -> loading.Load:
        if not idle:
            seen.append([self.draw, *numbers])
        return plain(self, key, numbers, idle)

    loading.Loader.load = load  # type: ignore[method-assign]
    some = np.zeros(learning_shop.ITEMS, dtype=bool)
    some[1] = True  # most batches show no picture at all
    model, outcome = training_runs.run(
        folder / "run",
        RECIPE,
        accelerator=accelerator,
        rows=learning_shop.rows(tokens=150),
        has_picture=some,
        validate=lambda _: {"rank": float(accelerator.process_index)},
        select="rank",
        higher=False,
    )
    rank = accelerator.process_index
    (folder / f"rows-{rank}.json").write_text(json.dumps({"seen": seen, "history": outcome.history}))
    save_file({name: one.contiguous() for name, one in model.state_dict().items()}, str(folder / f"weights-{rank}"))
    accelerator.end_training()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
