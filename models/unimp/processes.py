"""The processes of a launch (`torchrun`, `accelerate launch`): who writes, who waits, on which device.

One process alone pays for nothing here. With several, the first makes what is made once; the others find it on a disk
that all of them see. What the first cannot do ends all of them with the same words.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object, reduce
from torch import Tensor

from unimp.errors import UnimpError

T = TypeVar("T")
# The others wait while the first trains a tower or a codec. A process that is lost is noticed by the launcher, not by
# the clock.
PATIENCE = timedelta(days=2)


@dataclass(frozen=True)
class Processes:
    """A process among its like: number `rank` of `count`, with a device of its own."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def here(cls) -> Processes:
        """The launch that this process is of; joins it, where nothing has yet."""
        # Without a GPU, accelerate takes a launch for one process unless it is told that CPUs are meant.
        state = PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
        return cls(state.process_index, state.num_processes, state.device)

    @property
    def main(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def agree(self, value: T) -> T:
        """The first process's value, on all of them."""
        if self.count == 1:
            return value
        told: list[T] = [value]
        broadcast_object_list(told)
        return told[0]

    def gathered(self, value: T) -> list[T]:
        """Every process's value, in the order of their numbers, on all of them."""
        found: list[T] = gather_object([value]) if self.count > 1 else [value]
        return found

    def summed(self, one: Tensor) -> Tensor:
        """The sum over processes, in main memory."""
        if self.count == 1:
            return one.cpu()
        total: Tensor = reduce(one.to(self.device), "sum")
        return total.cpu()

    def once(self, work: Callable[[], T]) -> T:
        """Done by the first process alone; its result on all of them.

        Raises:
            UnimpError: what the first process could not do, on all of them; `shared` then says so.
        """
        if self.count == 1:
            return work()
        made: T | None = None
        problem: UnimpError | None = None
        if self.main:
            try:
                made = work()
            except UnimpError as raised:
                problem = raised
        made, problem = self.agree((made, problem))
        if problem is not None:
            problem.shared = True
            raise problem
        return made  # type: ignore[return-value]

    def in_turn(self, work: Callable[[], T]) -> T:
        """Done by the first process, then by the others, who find on disk what it left there.

        Raises:
            UnimpError: as `once`.
        """
        if self.count == 1:
            return work()
        kept: list[T] = []
        self.once(lambda: kept.append(work()))
        return kept[0] if self.main else work()

    def see(self, folder: Path) -> None:
        """Make a folder, and be sure that all processes read it.

        Raises:
            UnimpError: it cannot be written, or some process does not see what the first one writes there.
        """
        mark = folder / f".seen-{self.agree(os.urandom(8).hex())}"
        self.once(lambda: _write(mark))
        blind = [rank for rank, sees in enumerate(self.gathered(mark.is_file())) if not sees]
        self.once(mark.unlink)
        if blind:
            problem = UnimpError(
                f"process {blind[0]} does not see {folder}; give a folder on a disk that all processes share"
            )
            problem.shared = True
            raise problem

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            PartialState().wait_for_everyone()

    def part(self) -> None:
        """Leave the launch; nothing of it may be asked afterwards."""
        if self.count > 1:
            PartialState().destroy_process_group()


def _write(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    except OSError as problem:
        raise UnimpError(f"{file.parent} cannot be written ({problem}); take another folder") from problem


def asked_to_shard() -> bool:
    """Whether `accelerate launch --use_fsdp` started this process.

    Raises:
        UnimpError: with its first version, whose flat weights know no parts that are frozen.
    """
    said: dict[str, Any] = {name: os.environ.get(name, "") for name in ("ACCELERATE_USE_FSDP", "FSDP_VERSION")}
    if said["ACCELERATE_USE_FSDP"].lower() != "true":
        return False
    if said["FSDP_VERSION"] != "2":
        raise UnimpError("FSDP version 1 is not supported; launch with --fsdp_version 2, or give unimp.train --shard")
    return True
