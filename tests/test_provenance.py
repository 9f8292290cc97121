"""Hashes and manifests."""

from __future__ import annotations

from pathlib import Path

import pytest

from unimp_bench.errors import IncompleteError
from unimp_bench.provenance import Manifest, digest, hash_outputs, read_manifest, sha256_tree


def test_equal_requests_have_equal_names_whatever_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_a_manifest_comes_back_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "file").write_text("abc")
    (tmp_path / ".hidden").write_text("")
    manifest = Manifest("dataset", "id", {"k": [1]}, outputs=hash_outputs(tmp_path), facts={"n": 3}, seconds={"s": 0.5})
    manifest.write(tmp_path)
    assert read_manifest(tmp_path) == manifest
    assert list(manifest.outputs) == ["x/file"]
    assert manifest.outputs["x/file"].startswith("ba7816bf")  # SHA-256 of "abc", FIPS 180-2


def test_no_manifest_means_not_finished_and_a_broken_one_is_said(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(IncompleteError, match="not a manifest"):
        read_manifest(tmp_path)


def test_a_tree_hash_knows_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = sha256_tree(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    second = sha256_tree(tmp_path)
    (tmp_path / "b").write_text("2")
    assert len({first, second, sha256_tree(tmp_path)}) == 3
