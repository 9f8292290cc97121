from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from tests.audited_shop import good_shop
from unimp_bench.audit import CHECKS
from unimp_bench.cli import audit as cli_audit
from unimp_bench.cli import verify as cli_verify
from unimp_bench.dataset import Dataset
from unimp_bench.errors import AuditError
from unimp_bench.places import Home
from unimp_bench.provenance import Manifest, hash_outputs, sha256, sha256_tree
from unimp_bench.verify import Problem, links, verify


class Bytes:
    """Counts what it is told."""

    total = done = 0

    def say(self, message: str) -> None: ...

    def start(self, name: str, total: int | None = None, unit: str = "rows") -> None:
        assert unit == "bytes"
        self.total = total or 0

    def advance(self, count: int = 1) -> None:
        self.done += count

    def finish(self) -> None: ...


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def dataset(tmp_path: Path, home: Home) -> Dataset:
    """A dataset with a raw file, a folder of raw pictures, a variant, a run, and the fit that the run stands on."""
    raw = tmp_path / "reviews.json"
    raw.write_text('{"a": 1}\n')
    pictures = tmp_path / "images"
    pictures.mkdir()
    (pictures / "B1.jpg").write_bytes(b"one")
    inputs = {str(raw): sha256(raw), f"{pictures}/": sha256_tree(pictures)}
    dataset = good_shop().write(home.root, inputs=inputs)
    variant = dataset.folder / "variants/NT-0.2"
    variant.mkdir(parents=True)
    (variant / "items.parquet").write_bytes((dataset.folder / "visible/items.parquet").read_bytes())
    clean = {"visible/items.parquet": sha256(dataset.folder / "visible/items.parquet")}
    Manifest("variant", "1", {}, clean, hash_outputs(variant)).write(variant)
    fit = home.fit("f1")
    (fit / "state").mkdir(parents=True)
    (fit / "state/weights.bin").write_bytes(b"123")
    Manifest("fit", "f1", {}, {"data/shop": dataset.manifest.id}, hash_outputs(fit)).write(fit)
    run = home.run("shop", "search", "bm25", "r1")
    run.mkdir(parents=True)
    (run / "run.json").write_text("{}")
    chain = {"data/shop": dataset.manifest.id, "fits/f1/state": sha256_tree(fit / "state")}
    Manifest("run", "r1", {}, chain, hash_outputs(run)).write(run)
    return dataset


def _found(problems: list[Problem], root: Path) -> list[str]:
    return [str(problem).replace(f"{root}/", "") for problem in problems]


def test_an_untouched_dataset_has_no_problem_and_all_its_bytes_are_read(dataset: Dataset, home: Home) -> None:
    seen = Bytes()
    assert verify(dataset, home, seen) == []
    assert seen.done == seen.total > 100_000
    assert sum(link.raw for link in links(dataset, home)) == 2
    # the dataset's files, the raw ones, the variant's, the run's and fit's, the fit's state whole, the dataset's id
    assert len(links(dataset, home)) == len(dataset.manifest.outputs) + 2 + 1 + 1 + 1 + 1 + 1


def test_every_change_is_found_where_it_is(dataset: Dataset, home: Home, tmp_path: Path) -> None:
    folder = dataset.folder
    with (folder / "visible/tasks/search/test.examples.parquet").open("r+b") as file:
        file.seek(100)
        byte = file.read(1)
        file.seek(100)
        file.write(bytes([byte[0] ^ 1]))
    (folder / "sealed/interactions.parquet").unlink()
    (folder / "visible/notes.txt").write_text("mine")
    (folder / "variants/NT-0.2/items.parquet").write_bytes(b"short")
    (folder / "variants/NV-0.2").mkdir()
    (tmp_path / "reviews.json").write_text('{"a": 2}\n')
    (tmp_path / "images/B2.jpg").write_bytes(b"two")
    (home.fit("f1") / "state/weights.bin").write_bytes(b"124")
    assert _found(verify(dataset, home), tmp_path) == [
        "file missing: home/data/shop/sealed/interactions.parquet",
        "file changed: home/data/shop/variants/NT-0.2/items.parquet",
        "unfinished variant, without a manifest: home/data/shop/variants/NV-0.2",
        "extra, named by no manifest: home/data/shop/visible/notes.txt",
        "file changed: home/data/shop/visible/tasks/search/test.examples.parquet",
        "file changed: home/fits/f1/state",
        "file changed: home/fits/f1/state/weights.bin",
        "raw input changed: images",
        "raw input changed: reviews.json",
    ]


def test_a_missing_raw_file_is_a_problem(dataset: Dataset, home: Home, tmp_path: Path) -> None:
    (tmp_path / "reviews.json").unlink()
    assert _found(verify(dataset), tmp_path) == ["raw input missing: reviews.json"]


def test_a_run_on_another_build_is_found(dataset: Dataset, home: Home, tmp_path: Path) -> None:
    """A rebuilt dataset of the same name: runs and fits of the old one no longer chain to it."""
    rebuilt = Manifest("dataset", "f" * 16, {}, {}, dataset.manifest.outputs, facts=dataset.manifest.facts)
    rebuilt.write(dataset.folder)
    again = Dataset.open(home, "shop")
    assert verify(again) == []
    assert _found(verify(again, home), tmp_path) == ["file changed: home/data/shop"]


def test_relative_inputs_are_found_from_here_or_from_the_home(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.root.mkdir(parents=True)
    (home.root / "raw.json").write_text("x")
    value = hashlib.sha256(b"x").hexdigest()
    dataset = good_shop().write(home.root, inputs={"raw.json": value})
    assert verify(dataset, home) == []
    monkeypatch.chdir(home.root)
    assert verify(dataset) == []


def _command(function: Callable[..., None], home: Home, *arguments: str) -> Result:
    app = typer.Typer()
    app.command()(function)
    return CliRunner().invoke(app, list(arguments), obj=home)


def test_the_command_counts_files_back_to_raw_files(dataset: Dataset, home: Home, tmp_path: Path) -> None:
    done = _command(cli_verify.verify, home, "shop", "--no-runs")
    assert done.exit_code == 0
    assert done.stdout == f"shop: {len(dataset.manifest.outputs) + 1:,} files match back to 2 raw files\n"
    (tmp_path / "reviews.json").unlink()
    failed = _command(cli_verify.verify, home, "shop")
    assert failed.exit_code == 1
    assert failed.stdout.splitlines()[0] == f"raw input missing: {tmp_path}/reviews.json"


def test_the_audit_command_prints_a_line_a_check_and_fails_with_one_error(home: Home) -> None:
    shop = good_shop()
    shop.write(home.root)
    done = _command(cli_audit.audit, home, "shop")
    assert done.exit_code == 0
    assert done.stdout.split()[:2] == ["pass", "no_target_in_training"]
    objects = [json.loads(line) for line in _command(cli_audit.audit, home, "shop", "--json").stdout.splitlines()]
    assert len(objects) == len(CHECKS) and objects[0]["status"] == "pass"
    shop.answers["search"] = shop.answers["search"].slice(1)
    shop.write(home.root)
    failed = _command(cli_audit.audit, home, "shop")
    assert isinstance(failed.exception, AuditError)
    assert "fail  answers_complete" in failed.stdout
