"""The part of a runner that MRG and SANCL share: fields of the training, the frame around it, states on disk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from unimp_baselines.common import device, opened_state, require_torch, sealed_state
from unimp_baselines.search_common import Names
from unimp_bench.errors import ConfigError
from unimp_bench.runners.protocol import Context

if TYPE_CHECKING:
    import torch

    from unimp_baselines import learning

    Errors = Callable[[], Mapping[str, float]]
    Start = Callable[[], tuple[torch.nn.Module, learning.Epoch, Errors]]

LOWEST, HIGHEST = 1.0, 5.0
FILES = ("weights.safetensors", "names.parquet")


@dataclass(frozen=True)
class Learned:
    """A trained network, what its numbers stand for, numbers of a picture's features, what is told of the training."""

    network: Any
    names: Names
    width: int
    facts: dict[str, Any]


@dataclass
class AnswerRunner(ABC):
    """Fields of both systems, and what is done around their training."""

    lr: float = 1e-3
    l2: float = 1e-4  # times half the squared weights, added to the loss
    batch: int = 64  # rows; at least that many, where there are
    epochs: int = 20
    patience: int = 4  # epochs without a lower validation loss
    max_seconds: float = 0.0  # of training; no epoch begins that would end later; 0: no limit
    gpu: bool = True  # use one where there is one

    version: ClassVar[int] = 1
    reads_truth: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("torch",)
    examples_a_part: ClassVar[int] = 8_192
    system: ClassVar[str] = ""  # its name in messages

    _learned: Learned | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse parameters without meaning."""
        if self.batch < 2 or self.epochs < 1 or self.patience < 0 or self.lr <= 0 or self.l2 < 0:
            raise ConfigError(
                f"{self.system}: {self}; wanted batch of at least 2, epochs of at least 1, patience of at least 0, "
                "lr above 0, l2 of at least 0"
            )

    @property
    def device(self) -> str:
        """Where it computes."""
        return device(self.system, self.gpu)

    def _trained(self, context: Context, cohort: str, start: Start) -> tuple[Any, dict[str, Any]]:
        """Train what `start` gives, under the run's seed; the network with its best weights, and facts.

        The third thing that `start` gives tells the validation errors by name, or none where there is no validation;
        training stops by their sum.
        """
        import torch

        from unimp_baselines import learning

        seed = int(context.rng(self.system).integers(1 << 31))
        limit = context.limit(self.max_seconds)
        plan = learning.Plan(self.system, self.epochs, self.patience, self.lr, seed, limit, weight_decay=self.l2)
        context.progress.start(f"{self.system}: {cohort}", self.epochs, "epochs")
        found: dict[str, float] = {}

        def step(epoch: int, loss: float, score: float | None) -> None:
            context.progress.advance()
            context.record("fit", epoch, loss=loss, **{f"valid_{name}": value for name, value in found.items()})

        with torch.random.fork_rng():  # the caller's generator goes on as if nothing had been drawn
            torch.manual_seed(seed)
            network, epoch, errors = start()
            network.to(self.device)

            def score() -> float | None:
                with torch.no_grad():
                    found.update(errors())
                return 1 / (1 + sum(found.values())) if found else None  # `train` wants more to be better

            facts = learning.train(network, epoch, score, plan, context.scratch / f"{cohort}.checkpoint", step)
        context.progress.finish()
        context.progress.say(
            f"{self.system}: {facts['epoch']} epochs in {facts['seconds']:.0f} s, best after {facts['best_epoch']} "
            f"with a validation loss of {1 / facts['best'] - 1:.4f}"
            if facts["best"] > 0
            else f"{self.system}: {facts['epoch']} epochs in {facts['seconds']:.0f} s; there was no validation"
        )
        return network, facts

    @abstractmethod
    def _network(self, names: Names, width: int) -> torch.nn.Module:
        """A fresh network; a picture has `width` features."""

    def save(self, folder: Path) -> None:
        """Write weights, names, and `state.json` with the files' sums."""
        from safetensors.torch import save_file

        learned = self._learned
        assert learned is not None, "fit first"
        tensors = {name: value.cpu().contiguous() for name, value in learned.network.state_dict().items()}
        save_file(tensors, folder / FILES[0])
        learned.names.write(folder)
        sealed_state(folder, FILES, width=learned.width, facts=learned.facts)

    def load(self, folder: Path) -> None:
        """Take up what `save` wrote.

        Raises:
            ConfigError: PyTorch is not installed.
            IncompleteError: a file is not there or was changed.
        """
        require_torch(self.system)
        from safetensors.torch import load_file

        state = opened_state(folder, FILES)
        names = Names.read(folder)
        network = self._network(names, state["width"])
        network.load_state_dict(load_file(folder / FILES[0]))
        self._learned = Learned(network.to(self.device).eval(), names, state["width"], state["facts"])


def shuffled(rows: int, size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Row numbers in random order, in batches of about `size` and, where there are so many rows, of no fewer.

    A batch of one row, which a remainder could be, has no statistics for batch normalisation.
    """
    import torch

    yield from torch.randperm(rows, generator=generator).tensor_split(max(1, rows // size))


def answered(examples: pl.DataFrame, rows: Any, column: str, values: Any) -> pl.DataFrame:
    """A frame of `schemas.PREDICTIONS` for some rows of the examples."""
    kind = pl.Float32 if column == "rating" else pl.String
    ids = examples["example_id"].gather(rows)
    return pl.DataFrame({"example_id": ids, column: pl.Series(values, dtype=kind)})


def ratings(rows: pl.DataFrame) -> Any:
    """Ratings `(rows,)` as float32, NaN where there is none."""
    return rows["rating"].cast(pl.Float32).fill_null(float("nan")).to_numpy().astype(np.float32)
