"""Encoders by name: an open set, filled by anyone's package through the entry-point group `unimp_bench.encoders`.

Names are read from package metadata, so listing them imports nothing. A name that ends in a colon wants an argument
after it: `clip:openai/clip-vit-base-patch32` is the encoder of `clip:` with that model.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any, cast

from unimp_bench.errors import ConfigError, UnknownNameError
from unimp_bench.features.protocol import Encoder
from unimp_bench.runners.registry import lacking_package, package, registered

GROUP = "unimp_bench.encoders"
_WANTED = ("modality", "identity", "encode")


def found() -> dict[str, EntryPoint]:
    """Every registered encoder by name, sorted; see `runners.registry.registered`."""
    return registered(GROUP, "encoder")


def encoder_class(name: str) -> type[Encoder]:
    """The class of a registered name, with its colon if it has one.

    Raises:
        UnknownNameError: nobody registered the name.
        ConfigError: its package cannot be imported, or what is there is no encoder.
    """
    known = found()
    if name not in known:
        raise UnknownNameError("encoder", name, known)
    entry = known[name]
    try:
        cls = entry.load()
    except ImportError as error:
        raise ConfigError(f"encoder '{name}' {lacking_package(entry, error)}") from None
    except AttributeError:
        raise ConfigError(f"encoder '{name}': {entry.value} does not exist; update {package(entry)}") from None
    lacking = [member for member in _WANTED if not hasattr(cls, member)]
    if lacking or not isinstance(cls, type):
        what = f"lacks {', '.join(lacking)}" if lacking else "is no class"
        raise ConfigError(f"encoder '{name}': {entry.value} {what}; see unimp_bench.features.Encoder")
    return cast(type[Encoder], cls)


def without(name: str, error: ImportError) -> ConfigError:
    """What to say of an encoder, as a user writes it, that found a package missing while it worked."""
    known = found()
    entry = known.get(name) or known[name.partition(":")[0] + ":"]
    return ConfigError(f"encoder '{name}' {lacking_package(entry, error)}")


def load(name: str) -> Encoder:
    """The encoder of a name, as a user writes it.

    Raises:
        UnknownNameError: nobody registered the name.
        ConfigError: it lacks its argument or has one too many, or cannot be imported.
    """
    known = found()
    prefix, colon, argument = name.partition(":")
    family = f"{prefix}:"
    if name in known and not colon:
        return encoder_class(name)()
    if family in known:
        if not argument:
            raise ConfigError(f"encoder '{family}' wants a folder or a name after its colon, as in {family}FOLDER")
        make: Any = encoder_class(family)
        made: Encoder = make(argument)
        return made
    if prefix in known:
        raise ConfigError(f"encoder '{prefix}' takes nothing after a colon; leave out ':{argument}'")
    raise UnknownNameError("encoder", prefix + colon, known)
