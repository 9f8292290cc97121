"""The TensorBoard log: read by TensorBoard itself, and never the end of a training."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.record_writer import RecordWriter

from tests.unimp.training_runs import run
from unimp.logs import Log
from unimp.recipe import Recipe


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return {name: [(one.step, one.value) for one in events.Scalars(name)] for name in events.Tags()["scalars"]}


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.write(1, {"loss": 2.5, "lr": 0.125})
    log.write(3, {"loss": 1.25})
    assert read(tmp_path)["loss"] == [(1, 2.5), (3, 1.25)]  # before it is closed
    log.close()
    log.close()
    again = Log(tmp_path)  # the training goes on, maybe within the same second
    again.write(4, {"loss": 1.0})
    again.close()
    assert len(list(tmp_path.iterdir())) == 2


def test_without_a_folder_nothing_is_written() -> None:
    log = Log(None)
    log.write(1, {"loss": 1.0})
    log.close()


@pytest.mark.parametrize("moment", ["write", "flush"])
def test_a_full_disk_ends_the_log_and_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], moment: str
) -> None:
    log = Log(tmp_path)
    log.write(1, {"loss": 2.0})
    with monkeypatch.context() as patch:
        patch.setattr(RecordWriter, moment, full)
        log.write(2, {"loss": 1.0})
    log.write(3, {"loss": 0.5})
    log.close()
    said = capfd.readouterr().err
    assert said.startswith(f"warning: no more TensorBoard log in '{tmp_path}'")
    assert said.count("\n") == 1 and "No space left" in said
    assert read(tmp_path)["loss"][0] == (1, 2.0)


def test_a_log_that_cannot_begin_is_told_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    log = Log(tmp_path / "file")
    log.write(1, {"loss": 2.0})
    log.close()
    assert capfd.readouterr().err.count("warning: no more TensorBoard log") == 1


def test_a_training_outlives_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    written: list[Any] = []

    def third(self: RecordWriter, data: bytes) -> None:
        written.append(data)
        if len(written) == 3:
            full()

    monkeypatch.setattr(RecordWriter, "write", third)
    _, outcome = run(tmp_path, Recipe(epochs=2, lr=1e-2, log_steps=1))
    assert outcome.steps > 3
    assert len(written) == 3
    assert capfd.readouterr().err.count("\n") == 1
