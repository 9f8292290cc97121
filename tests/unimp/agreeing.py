"""One of two processes of `test_launches.py`: who does what, and how all end where one cannot go on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from unimp.errors import CheckpointError, UnimpError
from unimp.processes import Processes


def main(folder: Path) -> None:
    """Fails where something is not as it should be."""
    team = Processes.here()
    assert (team.count, team.main, team.device.type) == (2, team.rank == 0, "cpu")
    assert team.agree(team.rank) == 0
    assert team.gathered(team.rank) == [0, 1]
    assert team.summed(torch.tensor([1.0, team.rank])).tolist() == [2.0, 1.0]
    done: list[int] = []
    assert team.once(lambda: done.append(team.rank) or "made") == "made"
    assert done == ([0] if team.main else [])
    note = folder / "note"

    def make() -> str:
        if not note.is_file():
            note.write_text(f"by {team.rank}")
        return note.read_text()

    assert team.in_turn(make) == "by 0"

    def fail() -> None:
        raise CheckpointError("the first could not")

    for way in (team.once, team.in_turn):
        with pytest.raises(CheckpointError, match="the first could not") as failed:
            way(fail)
        assert failed.value.shared
    team.see(folder / "new")
    assert list((folder / "new").iterdir()) == []
    with pytest.raises(UnimpError, match="process 1 does not see") as blind:
        team.see(folder / str(team.rank))  # as on a disk of its own
    assert blind.value.shared
    team.wait()
    team.part()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
