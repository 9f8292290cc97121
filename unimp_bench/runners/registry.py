"""Runners by name: an open set, filled by anyone's package through the entry-point group `unimp_bench.runners`.

Names are read from package metadata, so listing them imports nothing. `load` imports the one module that is asked for
and turns `key=value` strings into the fields of the runner's dataclass, by their annotations. A runner whose module is
called `floors` is a floor: it belongs to the group of that name. An entry point whose name ends in a colon stands for a
family: `recbole:SASRec` is the runner of `recbole:` with `SASRec` as its field `model`.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Container, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from unimp_bench.errors import ConfigError, UnknownNameError
from unimp_bench.runners.protocol import Runner

GROUP = "unimp_bench.runners"
EVERY = "all"
FLOORS = "floors"
FAMILY = ":"  # ends the name of an entry point that stands for many runners
_REQUIRED = re.compile(r"""([\w.-]+)[^;]*;.*extra\s*==\s*['"]([\w.-]+)""")  # a requirement of an extra


def found() -> dict[str, EntryPoint]:
    """Every registered runner by name, sorted; see `registered`."""
    return registered(GROUP, "runner")


def registered(group: str, kind: str) -> dict[str, EntryPoint]:
    """Every entry point of a group by name, sorted; nothing is imported.

    Raises:
        ConfigError: two packages give one name to different things.
    """
    named: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=group), key=lambda e: (e.name, e.value)):
        known = named.setdefault(entry.name, entry)
        if known.value != entry.value:
            raise ConfigError(
                f"{kind} name '{entry.name}' is claimed by {known.value} ({package(known)}) and by {entry.value} "
                f"({package(entry)}); uninstall one of the packages"
            )
    return named


def package(entry: EntryPoint) -> str:
    """Who brought it."""
    return entry.dist.name if entry.dist is not None else "unknown package"


def lacking_package(entry: EntryPoint, error: ImportError) -> str:
    """What an entry point lacks and how to install it, to follow its name in a sentence.

    Of several extras of its distribution that bring the package, the one that is called as the entry point's own top
    package is named, else the first of the alphabet.
    """
    if not error.name:
        return f"cannot be imported ({error}); install {package(entry)} anew"
    top, own = error.name.partition(".")[0], entry.module.partition(".")[0]
    required = entry.dist.requires if entry.dist is not None else None
    pairs = [found.groups() for text in required or () if (found := _REQUIRED.match(text))]
    extras = sorted(extra for name, extra in pairs if _plain(name) == _plain(top))
    extra = own if own in extras else next(iter(extras), None)
    how = f"pip install '{package(entry)}[{extra}]'" if extra else f"install it, or {package(entry)} anew"
    return f"needs the package '{error.name}', which is not installed; {how}"


def _plain(name: str) -> str:
    """A distribution's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def names() -> list[str]:
    """Names of all registered runners; members of families are not listed."""
    return [name for name in found() if not name.endswith(FAMILY)]


def member(name: str, known: Container[str]) -> tuple[str, dict[str, str]]:
    """The entry point behind a name, and what the name says about its fields."""
    prefix, colon, rest = name.partition(FAMILY)
    if name not in known and rest and prefix + colon in known:
        return prefix + colon, {"model": rest}
    return name, {}


def is_floor(entry: EntryPoint) -> bool:
    """Whether it is one of the trivial systems that every other one must beat."""
    return entry.module.rpartition(".")[2] == FLOORS


def is_budgeted(cls: type[Runner]) -> bool:
    """Whether training keeps to `Context.limit`, or there is none."""
    return bool(getattr(cls, "budgeted", True))


def expand(wanted: str) -> list[str]:
    """Runner names of a comma-separated list in which `floors` and `all` stand for groups; each once, in order.

    Raises:
        UnknownNameError: a name that is neither a runner nor a group.
    """
    known = found()
    groups = {EVERY: names(), FLOORS: [name for name, entry in known.items() if is_floor(entry)]}
    chosen: dict[str, None] = {}
    for name in (part.strip() for part in wanted.split(",")):
        entry, _ = member(name, known)
        if name.endswith(FAMILY) or (entry not in known and name not in groups):
            raise UnknownNameError("runner", name, [*known, *groups])
        chosen.update(dict.fromkeys(groups.get(name, [name])))
    return list(chosen)


def runner_class(name: str) -> type[Runner]:
    """The class behind a name.

    Raises:
        UnknownNameError: nobody registered the name.
        ConfigError: its package cannot be imported, or what is there is not a runner.
    """
    known = found()
    registered, _ = member(name, known)
    if registered not in known:
        raise UnknownNameError("runner", name, known)
    entry = known[registered]
    try:
        cls = entry.load()
    except ImportError as error:
        raise ConfigError(f"runner '{name}' {lacking_package(entry, error)}") from None
    except AttributeError:
        raise ConfigError(f"runner '{name}': {entry.value} does not exist; update {package(entry)}") from None
    wanted = ("tasks", "cohorts", "version", "reads_truth", "fit", "predict", "save", "load")
    lacking = [member for member in wanted if not hasattr(cls, member)]
    if lacking or not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        what = f"lacks {', '.join(lacking)}" if lacking else "is not a dataclass"
        raise ConfigError(f"runner '{name}': {entry.value} {what}; see unimp_bench.runners.protocol.Runner")
    return typing.cast(type[Runner], cls)


def parameters(cls: type[Runner]) -> dict[str, dataclasses.Field[Any]]:
    """The fields of a runner that a user may set."""
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    return {f.name: f for f in fields if f.init and not f.name.startswith("_")}


def load(name: str, values: Mapping[str, str] = types.MappingProxyType({})) -> Runner:
    """A runner that has learned nothing yet, its parameters taken from strings.

    Raises:
        UnknownNameError: nobody registered the name.
        ConfigError: its package cannot be imported, or a parameter is unknown or not of its type.
    """
    _, said = member(name, found())
    for key in said.keys() & values.keys():
        raise ConfigError(f"runner '{name}': its name already says {key}={said[key]}; leave out --set {key}")
    return create(name, runner_class(name), {**said, **values})


def create(name: str, cls: type[Runner], values: Mapping[str, str]) -> Runner:
    """A runner of that class; see `load`."""
    fields = parameters(cls)
    hints = typing.get_type_hints(cls)
    given: dict[str, Any] = {}
    for key, text in values.items():
        if key not in fields:
            raise ConfigError(f"runner '{name}': {_unknown(key, fields)}")
        try:
            given[key] = _value(text, hints[key])
        except ValueError as error:
            raise ConfigError(f"runner '{name}': parameter {key}='{text}' {error}") from None
    missing = [
        key
        for key, f in fields.items()
        if key not in given and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"runner '{name}' needs {', '.join(missing)}; give --set {missing[0]}=VALUE")
    return cls(**given)


def resolved(runner: Runner) -> dict[str, Any]:
    """All parameters of a runner with their values, defaults among them."""
    return {name: getattr(runner, name) for name in parameters(type(runner))}


def _unknown(key: str, known: Iterable[str]) -> str:
    return str(UnknownNameError("parameter", key, known))


def _value(text: str, kind: Any) -> Any:
    """A string as a value of an annotated type.

    Raises:
        ValueError: it is none; the text of the error continues "parameter k='text' ...".
    """
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _optional(text, options)
    if origin is typing.Literal:
        for option in options:
            if text == str(option):
                return option
        raise ValueError(f"is not one of {', '.join(map(str, options))}")
    if origin is tuple and len(options) == 2 and options[1] is Ellipsis:
        return tuple(_value(part.strip(), options[0]) for part in text.split(",") if part.strip())
    if kind is bool:
        if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
            raise ValueError("is not true or false")
        return text.lower() in ("true", "1", "yes")
    if kind in (str, Path):
        return kind(text)
    if kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            raise ValueError(f"is not {'a whole' if kind is int else 'a'} number") from None
        if not math.isfinite(number):
            raise ValueError("is not a finite number")
        return number
    raise ValueError(f"cannot be given on the command line (its type is {kind})")


def _optional(text: str, options: tuple[Any, ...]) -> Any:
    if type(None) in options and text.lower() == "none":
        return None
    reasons = []
    for option in options:
        if option is not type(None):
            try:
                return _value(text, option)
            except ValueError as error:
                reasons.append(str(error))
    raise ValueError(" and ".join(dict.fromkeys(reasons)))
