"""The settings that a search tries: the given one first, then draws from the values that a runner's class declares."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import numpy as np

from unimp_bench.errors import ConfigError
from unimp_bench.runners import registry
from unimp_bench.runners.protocol import Runner, Space


def settings(runner: Runner, name: str, given: Mapping[str, str], count: int, seed: int) -> list[dict[str, str]]:
    """At most so many settings of a runner: the given one, then draws from its `search`; equal seeds, equal draws.

    Args:
        runner: whose class may have `search`, values by parameter.
        name: the runner's, on which the draws depend.
        given: parameters that the user chose; they stay as they are.
        count: at least 1.
        seed: of the draws.
    """
    space = {key: list(values) for key, values in searched(runner).items() if key not in given}
    sizes = [len(values) for values in space.values()]
    tried = [dict(given)]
    known = {_named(name, given)}
    places = math.prod(sizes) if sizes else 0
    for place in np.random.default_rng([seed, *b"trials", *name.encode()]).permutation(places):
        if len(tried) == count:
            break
        digits = np.unravel_index(int(place), sizes)
        drawn = {key: str(values[int(at)]) for (key, values), at in zip(space.items(), digits, strict=True)}
        setting = {**given, **drawn}
        try:
            named = _named(name, setting)
        except ConfigError:  # a draw that makes no sense beside what was given
            continue
        if named not in known:
            known.add(named)
            tried.append(setting)
    return tried


def searched(runner: Runner) -> Space:
    """The values by parameter among which a runner is searched; none for most."""
    space: Space = getattr(type(runner), "search", {})
    return space


def _named(name: str, given: Mapping[str, str]) -> str:
    """One name for equal settings, defaults spelled out or not."""
    return json.dumps(registry.resolved(registry.load(name, given)), sort_keys=True, default=str)
