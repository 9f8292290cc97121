"""Systems that cannot learn without pictures or text say so, or `--model all` would fail on a dataset without them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from unimp_bench.runners import registry

OURS = [name for name, entry in registry.found().items() if entry.module.startswith("unimp_baselines.")]


def test_whoever_names_an_encoder_needs_what_it_reads() -> None:
    needs: dict[str, frozenset[str]] = {}
    for name in OURS:
        cls: Any = registry.runner_class(name)
        named = {field.name for field in fields(cls)} & {"pictures", "text"}
        assert getattr(cls, "needs", frozenset()) == named, name
        needs |= {name: named} if named else {}
    assert {"vbpr", "causalrec", "mmgcl", "mmssl", "mrg", "sancl", "vip5", "unisrec", "tiger"} == set(needs)
