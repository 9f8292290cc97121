"""From a source's name and places to its adapter: the closed set of sources, written out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from unimp_bench.data.sources.base import Source
from unimp_bench.errors import ConfigError, InputError, UnknownNameError

PAPER_DOMAINS = (
    "baby",
    "beauty",
    "clothing_shoes_and_jewelry",
    "grocery_and_gourmet_food",
    "sports_and_outdoors",
    "toys_and_games",
)
PAPER_NEW_DOMAIN = "office_products"


@dataclass(frozen=True)
class Places:
    """Where the input of a build is; what a source does not use stays None."""

    raw: Path | None = None
    interactions: Path | None = None
    items: Path | None = None
    images: Path | None = None
    domains: tuple[str, ...] = ()
    item_level: str = "product"
    columns: Mapping[str, str] = field(default_factory=dict)


def _raw(places: Places, source: str) -> Path:
    if places.raw is None:
        raise ConfigError(f"source '{source}' needs --raw DIR, the folder of its files")
    if not places.raw.is_dir():
        raise InputError("no such folder", places.raw, "check --raw")
    return places.raw


def _amazon2014(places: Places) -> Source:
    from unimp_bench.data.sources.amazon2014 import Amazon2014

    return Amazon2014(_raw(places, "amazon2014"), places.domains)


def _amazon2018(places: Places) -> Source:
    from unimp_bench.data.sources.amazon2018 import Amazon2018

    return Amazon2018(_raw(places, "amazon2018"), places.domains)


def _amazon2023(places: Places) -> Source:
    from unimp_bench.data.sources.amazon2023 import Amazon2023

    return Amazon2023(_raw(places, "amazon2023"), places.domains)


def _hm(places: Places) -> Source:
    from unimp_bench.data.sources.hm import HM

    return HM(_raw(places, "hm"), places.item_level)


def _files(places: Places) -> Source:
    from unimp_bench.data.sources.files import Files

    if places.interactions is None:
        raise ConfigError("source 'files' needs --interactions FILE")
    return Files(places.interactions, places.items, places.images, places.columns)


SOURCES: Mapping[str, Callable[[Places], Source]] = {
    "amazon2014": _amazon2014,
    "amazon2018": _amazon2018,
    "amazon2023": _amazon2023,
    "hm": _hm,
    "files": _files,
    "synthetic": _amazon2014,  # the synthetic shop writes dumps in that format and then goes the same way
}


def open_source(name: str, places: Places) -> Source:
    """The adapter of a source, at its place.

    Raises:
        UnknownNameError: no such source.
        InputError, ConfigError: the place is missing.
    """
    if name not in SOURCES:
        raise UnknownNameError("source", name, SOURCES)
    return SOURCES[name](places)
