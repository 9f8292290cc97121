"""Runners by `recbole:<Class>`, through the registry."""

from __future__ import annotations

import pytest

from tests.fakes import register
from unimp_baselines.recbole.generic import RecBole
from unimp_bench.errors import ConfigError, UnknownNameError
from unimp_bench.runners import registry


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, **{"recbole:": "unimp_baselines.recbole.generic:RecBole"})


def test_a_name_with_a_colon_is_a_member_of_a_family() -> None:
    runner = registry.load("recbole:LightSANs", {"epochs": "3"})
    assert isinstance(runner, RecBole)
    assert (runner.model, runner.epochs, runner.model_name) == ("LightSANs", 3, "LightSANs")
    assert registry.resolved(runner)["model"] == "LightSANs"
    assert registry.expand("recbole:EASE,bm25") == ["recbole:EASE", "bm25"]


def test_families_are_in_no_group_and_are_no_runners() -> None:
    assert "recbole:" not in registry.names()
    assert "recbole:" not in registry.expand("all")
    with pytest.raises(UnknownNameError, match="unknown runner 'recbole:'"):
        registry.expand("recbole:")


@pytest.mark.parametrize("name", ["recbol:SASRec", "recbol", "bm52"])
def test_unknown_names_are_answered_with_the_nearest(name: str) -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean (recbole:|bm25)"):
        registry.expand(name)
    with pytest.raises(UnknownNameError, match=f"unknown runner '{name}'"):
        registry.load(name)


def test_an_unknown_model_and_a_model_said_twice() -> None:
    with pytest.raises(UnknownNameError, match="unknown RecBole model 'LightSAN'; did you mean LightSANs"):
        registry.load("recbole:LightSAN")
    with pytest.raises(ConfigError, match="its name already says model=EASE"):
        registry.load("recbole:EASE", {"model": "Pop"})
