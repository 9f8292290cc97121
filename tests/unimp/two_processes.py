"""One of several processes of a training run, started by torch's launcher: folder, pictures, and what it saw.

`python -m tests.unimp.two_processes FOLDER copies|shares [killed]`; `killed` stops the run after some steps first.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from tests.unimp import learning_shop, training_runs
from unimp import loading, trainable
from unimp.modeling import Unimp
from unimp.processes import Processes
from unimp.recipe import Recipe

RECIPE = Recipe(epochs=2, lr=1e-3, log_steps=1)  # Adam makes rounding visible at larger rates
HEAD = frozenset({"rows_out_new"})


def main(folder: Path, how: str, killed: bool) -> None:
    """Train; the first process writes weights and history, each one its rows."""
    team = Processes.here()
    seen: list[list[int]] = []
    plain = loading.Loader.load

    def load(self: loading.Loader, key: int, numbers: list[int], idle: bool = False) -> loading.Load:
        if not idle:
            seen.append([self.draw, *numbers])
        return plain(self, key, numbers, idle)

    loading.Loader.load = load  # type: ignore[method-assign]
    some = np.zeros(learning_shop.ITEMS, dtype=bool)
    some[1] = True  # most batches show no picture at all

    def validate(model: Unimp) -> dict[str, float]:
        # Shares are put together here, each process on its own: the second asks twice.
        for _ in range(1 + team.rank):
            model.hidden(
                torch.tensor([[3, 4, 5]]),
                latents=model.latents(learning_shop.patches([1])),
                slots=torch.tensor([[-1, 0, 0]]),
                which=torch.tensor([[-1, 0, -1]]),
            )
        whole = float(model.head.new.weight.double().abs().sum())
        return {"rank": float(team.rank), "whole": whole}

    kwargs = {
        "rows": learning_shop.rows(tokens=150),
        "has_picture": some,
        "validate": validate,
        "select": "rank",
        "higher": False,
        "shard": how == "shares",
    }
    recipe = replace(RECIPE, checkpoint_steps=2)
    # Where the first process ends in the middle of a run, the launcher ends the second.
    report = training_runs.killed_after(5) if killed else None
    folder.mkdir(exist_ok=True)
    model, outcome = training_runs.run(folder / "run", recipe, report=report, **kwargs)
    after = {"seen": seen, "history": outcome.history, "device": str(model.device)}
    (folder / f"rows-{team.rank}.json").write_text(json.dumps(after))
    weights = {name: one.contiguous() for name, one in model.state_dict().items()}
    save_file(weights, str(folder / f"weights-{team.rank}"))
    if how == "shares":  # hidden states are not kept there, and only the head is shared out for learning
        again = replace(RECIPE, epochs=3, draws=1, cached_hidden=True)
        more = {"parts": HEAD, "stage": "efficient", "rows": kwargs["rows"], "has_picture": some}
        model, _ = training_runs.run(folder / "head", again, model, shard=True, **more)
        assert not trainable.trained(model).keys() - {"head.new.weight"}
        if team.main:
            model.save_pretrained(folder / "saved")
    team.part()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], "killed" in sys.argv)
