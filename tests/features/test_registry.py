from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from tests.fakes import encoders
from tests.features.known import Hostile, Lengths, register
from unimp_bench.errors import ConfigError, UnknownNameError
from unimp_bench.features import registry
from unimp_bench.features.clip import Clip


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    here = "tests.features.known"
    register(
        monkeypatch,
        **{"lengths": f"{here}:Lengths", "hostile:": f"{here}:Hostile", "gone": f"{here}:Gone"},
        absent="tests.no_such_module:Thing",
        function=f"{here}:register",
        other=f"{here}:ForeignError",
    )


def test_names_are_found_with_and_without_argument() -> None:
    assert list(registry.found()) == sorted(registry.found())
    assert isinstance(registry.load("lengths"), Lengths)
    made = registry.load("hostile:a:b/c")
    assert isinstance(made, Hostile)
    assert made.sin == "a:b/c"
    hub = registry.load("clip:openai/clip-vit-base-patch32")
    assert isinstance(hub, Clip)
    assert hub.name == "openai/clip-vit-base-patch32"


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("tfidf", UnknownNameError, "unknown encoder 'tfidf'; did you mean tfidf_svd"),
        ("sentnce:all-MiniLM-L6-v2", UnknownNameError, "did you mean sentence:"),
        ("clip", ConfigError, "wants a folder or a name after its colon, as in clip:FOLDER"),
        ("clip:", ConfigError, "wants a folder or a name"),
        ("lengths:3", ConfigError, "'lengths' takes nothing after a colon; leave out ':3'"),
        ("gone", ConfigError, "known:Gone does not exist"),
        ("absent", ConfigError, "needs the package 'tests.no_such_module', which is not installed; install it"),
        ("function", ConfigError, "lacks modality, identity, encode"),
        ("other", ConfigError, "lacks modality"),
    ],
)
def test_what_cannot_be_had_is_one_line(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        registry.load(name)
    assert "\n" not in str(caught.value)


def test_one_name_for_two_things_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint("same", f"tests.features.known:{name}", registry.GROUP) for name in ("Lengths", "Hostile")]
    encoders(monkeypatch, points)
    with pytest.raises(ConfigError, match=r"'same' is claimed by .*Hostile .* and by .*Lengths"):
        registry.found()
    encoders(monkeypatch, [points[0], points[0]])
    assert list(registry.found()) == ["same"]


def test_listing_imports_no_encoder() -> None:
    code = (
        "import sys; from unimp_bench.features import registry; registry.found(); "
        "print({'torch', 'scipy', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("name", ["unimp_tower", "unimp_tower:FOLDER"])
def test_an_encoder_without_its_package_names_the_extra_that_brings_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the real ones, with their package
    told = registry.without(name, ModuleNotFoundError("no", name="torch"))
    assert str(told) == (
        f"encoder '{name}' needs the package 'torch', which is not installed; pip install 'unimp-bench[unimp]'"
    )
