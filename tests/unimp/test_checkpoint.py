from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch

from unimp import checkpoint
from unimp.errors import CheckpointError, TrainingError


def _tensors(value: float) -> dict[str, torch.Tensor]:
    return {"a": torch.full((3, 2), value), "random.0": torch.get_rng_state()}


def test_the_newest_checkpoint_comes_back_and_older_ones_go(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path) is None
    checkpoint.save(tmp_path, 0, 900, _tensors(1.0), {"step": 900, "loss": 0.1})
    checkpoint.save(tmp_path, 1, 0, _tensors(2.0), {"step": 0, "loss": 1 / 3})
    tensors, state = checkpoint.load(tmp_path)
    assert torch.equal(tensors["a"], torch.full((3, 2), 2.0))
    assert torch.equal(tensors["random.0"], _tensors(2.0)["random.0"])
    assert state == {"step": 0, "loss": 1 / 3}
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("moment", ["write_tensors", "_durable", "rename"])
def test_a_kill_at_any_moment_leaves_the_previous_checkpoint(tmp_path: Path, monkeypatch, moment: str) -> None:
    checkpoint.save(tmp_path, 0, 1, _tensors(1.0), {"step": 1})

    class Kill(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Kill

    with monkeypatch.context() as patch:
        patch.setattr(*((Path, "rename") if moment == "rename" else (checkpoint, moment)), kill)
        with pytest.raises(Kill):
            checkpoint.save(tmp_path, 0, 2, _tensors(2.0), {"step": 2})
    tensors, state = checkpoint.load(tmp_path)
    assert state == {"step": 1}
    assert tensors["a"][0, 0] == 1.0
    checkpoint.save(tmp_path, 0, 2, _tensors(3.0), {"step": 2})  # what the kill left is no obstacle
    assert checkpoint.load(tmp_path)[1] == {"step": 2}


def test_a_full_disk_is_one_line_and_the_previous_checkpoint_is_whole(tmp_path: Path, monkeypatch) -> None:
    checkpoint.save(tmp_path, 0, 1, _tensors(1.0), {"step": 1})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_durable", full)
        with pytest.raises(TrainingError, match=r"disk full while writing.*previous checkpoint is whole") as caught:
            checkpoint.save(tmp_path, 0, 2, _tensors(2.0), {"step": 2})
        with pytest.raises(TrainingError, match="disk full while writing"):
            checkpoint.save_best(tmp_path, _tensors(2.0))
    assert "\n" not in str(caught.value)
    assert checkpoint.load(tmp_path)[1] == {"step": 1}
    assert [one.name for one in tmp_path.iterdir()] == ["checkpoint-00000-00000001"]  # nothing half-written stays


def test_before_the_first_checkpoint_none_is_promised(tmp_path: Path, monkeypatch) -> None:
    def denied(*_: object) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(checkpoint, "write_tensors", denied)
    for work in (
        lambda: checkpoint.save(tmp_path / "run", 0, 1, _tensors(1.0), {}),
        lambda: checkpoint.save_best(tmp_path / "run", _tensors(1.0)),
    ):
        with pytest.raises(TrainingError, match=r"Permission denied.*; no checkpoint was made yet$"):
            work()


def test_what_the_writer_says_of_a_full_disk_is_understood(tmp_path: Path, monkeypatch) -> None:
    def full(*_: object) -> None:  # its words on a full file system
        raise checkpoint.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(TrainingError, match=r"disk full.*; no checkpoint was made yet: free space and start again$"):
        checkpoint.save(tmp_path, 0, 1, _tensors(1.0), {})
    with pytest.raises(TrainingError, match="disk full"):
        checkpoint.save_best(tmp_path, _tensors(1.0))


def test_damaged_files_are_named(tmp_path: Path) -> None:
    folder = checkpoint.save(tmp_path, 0, 1, _tensors(1.0), {"step": 1})
    whole = (folder / checkpoint.TENSORS).read_bytes()
    (folder / checkpoint.TENSORS).write_bytes(whole[:-5])
    with pytest.raises(CheckpointError, match=r"tensors\.safetensors' is damaged"):
        checkpoint.load(tmp_path)
    (folder / checkpoint.TENSORS).write_bytes(whole)
    (folder / checkpoint.STATE).write_text(json.dumps({"step": 1})[:-3])
    with pytest.raises(CheckpointError, match=r"state\.json' is damaged"):
        checkpoint.load(tmp_path)


def test_best_weights_are_replaced_as_a_whole(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(CheckpointError, match=r"best\.safetensors"):
        checkpoint.load_best(tmp_path)
    checkpoint.save_best(tmp_path, {"a": torch.ones(2)})
    checkpoint.save_best(tmp_path, {"a": torch.zeros(2)})
    assert torch.equal(checkpoint.load_best(tmp_path)["a"], torch.zeros(2))
