from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from tests.fakes import Parameters, register
from unimp_bench.errors import ConfigError, UnknownNameError
from unimp_bench.runners import registry


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    register(
        monkeypatch,
        parameters="tests.fakes:Parameters",
        no_runner="tests.fakes:NoRunner",
        gone="tests.fakes:Gone",
        lacking="tests.no_such_module:Thing",
    )


def test_names_are_sorted_and_groups_expand_in_order() -> None:
    names = registry.names()
    assert names == sorted(names)
    floors = registry.expand("floors")
    assert {"random", "popularity", "constant", "mean_image"} <= set(floors)
    assert not {"bm25", "oracle", "parameters"} & set(floors)
    assert registry.expand("bm25, floors,bm25")[0] == "bm25"
    assert registry.expand("bm25,floors").count("bm25") == 1
    assert registry.expand("all") == names


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys, unimp_bench.cli.run, unimp_bench.cli.listing, unimp_bench.cli.leaderboard; "
        "print(','.join(sorted({'polars', 'numpy', 'PIL', 'scipy'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_listing_does_not_import_runners() -> None:
    code = (
        "import sys; from unimp_bench.runners import registry; registry.expand('all'); "
        "print([m for m in sys.modules if m.startswith('unimp_baselines')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_strings_become_fields() -> None:
    given = {"whole": "7", "real": "1e-3", "flag": "yes", "word": "b=c", "maybe": "4", "choice": "y", "many": "1, 2"}
    runner = registry.load("parameters", given)
    assert runner == Parameters(7, 0.001, True, "b=c", 4, "y", (1, 2))
    maybe = registry.load("parameters", {"maybe": "none"})
    assert isinstance(maybe, Parameters)
    assert maybe.maybe is None
    assert registry.resolved(registry.load("parameters"))["real"] == 0.5
    assert "_hidden" not in registry.resolved(runner)
    assert "learned" not in registry.resolved(runner)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"whole": "1.5"}, "whole='1.5' is not a whole number"),
        ({"real": "much"}, "real='much' is not a number"),
        ({"real": "nan"}, "real='nan' is not a finite number"),
        ({"real": "-inf"}, "real='-inf' is not a finite number"),
        ({"flag": "perhaps"}, "is not true or false"),
        ({"maybe": "x"}, "maybe='x' is not a whole number"),
        ({"choice": "z"}, "is not one of x, y"),
        ({"many": "1,b"}, "many='1,b' is not a whole number"),
        ({"strange": "{}"}, "cannot be given on the command line"),
        ({"reel": "1"}, "unknown parameter 'reel'; did you mean real"),
        ({"_hidden": "1"}, "unknown parameter '_hidden'"),
        ({"learned": "1"}, "unknown parameter 'learned'"),
    ],
)
def test_wrong_parameters_are_one_line(given: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        registry.load("parameters", given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_runners_answer_with_near_names() -> None:
    with pytest.raises(UnknownNameError, match="unknown runner 'popularty'; did you mean popularity"):
        registry.load("popularty")
    with pytest.raises(UnknownNameError, match="did you mean floors"):
        registry.expand("floor")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_runner", "lacks tasks, cohorts"),
        ("gone", "tests.fakes:Gone does not exist"),
        ("lacking", "needs the package 'tests.no_such_module'"),
    ],
)
def test_what_is_no_runner_is_said(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        registry.load(name)


def _only(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    points = EntryPoints(EntryPoint("same", value, registry.GROUP) for value in values)
    monkeypatch.setattr(registry, "entry_points", lambda group: points)


def test_one_name_for_two_things_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    _only(monkeypatch, "tests.fakes:Parameters", "tests.fakes:Hostile")
    with pytest.raises(
        ConfigError, match=r"'same' is claimed by tests\.fakes:Hostile .* and by tests\.fakes:Parameters"
    ):
        registry.names()


def test_the_same_thing_registered_twice_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    _only(monkeypatch, "tests.fakes:Parameters", "tests.fakes:Parameters")
    assert registry.names() == ["same"]


def test_a_floor_is_told_by_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    _only(monkeypatch, "my_package.floors:Same")
    assert registry.expand("floors") == ["same"]
    _only(monkeypatch, "my_package.floors.deep:Same")
    assert registry.expand("floors") == []


def test_paths_are_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    _only(monkeypatch, "tests.fakes:Spy")
    assert registry.resolved(registry.load("same", {"notes": "a/b"})) == {"notes": Path("a/b")}


@dataclass(frozen=True)
class Distribution:
    """A package with three extras."""

    name: str = "unimp-bench"
    requires: tuple[str, ...] = (
        "numpy>=2.0",
        "torch>=2.13; extra == 'models'",
        "Diff-users>=1; extra == 'unimp'",
        "torch>=2.13 ; extra == 'unimp'",
    )


@pytest.mark.parametrize(
    ("module", "missing", "told"),
    [
        (
            "unimp.encoder",
            "torch",
            "needs the package 'torch', which is not installed; pip install 'unimp-bench[unimp]'",
        ),
        ("somebody.else", "torch.nn", "pip install 'unimp-bench[models]'"),
        ("somebody.else", "diff_users", "pip install 'unimp-bench[unimp]'"),
        ("somebody.else", "numpy", "install it, or unimp-bench anew"),
        ("somebody.else", None, "cannot be imported (no); install unimp-bench anew"),
    ],
)
def test_what_is_missing_is_told_with_the_extra_that_brings_it(module: str, missing: str | None, told: str) -> None:
    entry = EntryPoint("x", f"{module}:X", registry.GROUP)
    vars(entry)["dist"] = Distribution()
    assert registry.lacking_package(entry, ImportError("no", name=missing)).endswith(told)
