"""What a run leaves for people to look at: a TensorBoard log, where tensorboard is installed."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from unimp.modeling import Unimp
from unimp.sharding import full


class Log:
    """Scalars over steps; writes nothing where tensorboard is missing or `folder` is None.

    A log is no reason to end a training: where it cannot be written, it says so once, on stderr, and is off. Events are
    written at once and here, as torch's `SummaryWriter` fails in a thread of its own, which nobody can catch.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._records: Any = None
        if folder is None or find_spec("tensorboard") is None:
            return
        from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]

        try:
            folder.mkdir(parents=True, exist_ok=True)
            name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
            self._records = RecordWriter((folder / name).open("xb"))
        except OSError as problem:
            self._end(problem)
        self._event(file_version="brain.Event:2")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write values of a step."""
        if self._records is not None:
            named = [{"tag": name, "simple_value": value} for name, value in values.items()]
            self._event(step=step, summary={"value": named})

    def close(self) -> None:
        """End the log."""
        records, self._records = self._records, None
        if records is not None:
            with suppress(OSError):  # nothing is held back
                records.close()

    def _event(self, **what: Any) -> None:
        if self._records is None:
            return
        from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]

        try:
            self._records.write(Event(wall_time=time.time(), **what).SerializeToString())
            self._records.flush()
        except OSError as problem:
            self._end(problem)

    def _end(self, problem: OSError) -> None:
        self.close()
        sys.stderr.write(f"warning: no more TensorBoard log in '{self._folder}' ({problem}); training goes on\n")


def gate_opening(model: Unimp) -> float | None:
    """Mean |tanh(gate)| of all blocks: near 0 means that pictures never came in; None without blocks."""
    gates = [
        full(p.detach()) for name, p in model.named_parameters() if name.startswith("blocks.") and ".gate_" in name
    ]
    return float(torch.cat(gates).float().tanh().abs().mean()) if gates else None
