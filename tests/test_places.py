"""Files appear whole or not at all; one writer at a time; names never leave their folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from unimp_bench.errors import ConfigError, IncompleteError
from unimp_bench.places import Home, atomic, clear, remove, safe_name, sweep


def test_a_block_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic(path) as draft:
        draft.write_text("half")
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "naïve", "a b", "a\n"])
def test_a_name_that_could_leave_its_folder_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a folder"):
        safe_name(name)


def test_a_second_writer_is_refused_with_one_line(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with home.locked("dataset", "x"):
        with (
            pytest.raises(IncompleteError, match="another process is writing dataset 'x'"),
            home.locked("dataset", "x"),
        ):
            pass
        with home.locked("dataset", "y"):
            pass
    with home.locked("dataset", "x"):
        pass


def test_sweep_and_remove(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / ".x.1.draft").write_text("")
    (tmp_path / "a" / ".old.1.doomed").mkdir()
    sweep(tmp_path / "a")
    assert [p.name for p in sorted((tmp_path / "a").rglob("*"))] == ["b"]
    remove(tmp_path / "a")
    remove(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_what_other_builds_of_a_name_left_goes_and_nothing_else(tmp_path: Path) -> None:
    home, build_id = Home(tmp_path), "0123456789abcdef"
    gone = [f".building/x-{build_id}", f".building/.x-{build_id}.7.doomed", ".x.7.doomed"]
    kept = ["x", f".building/x-y-{build_id}", ".x-y.7.doomed", f".building/xx-{build_id}"]
    for name in (*gone, *kept):
        (tmp_path / "data" / name / "inside").mkdir(parents=True)
    clear(home, "x")
    assert [name for name in (*gone, *kept) if (tmp_path / "data" / name).exists()] == kept
