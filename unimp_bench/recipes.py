"""From what a user says to what the pipeline is asked: raw files got, the defaults of each source filled in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unimp_bench import pipeline
from unimp_bench.config import BuildConfig, from_mapping, read_toml
from unimp_bench.data.opening import PAPER_DOMAINS, PAPER_NEW_DOMAIN, Places
from unimp_bench.dataset import Dataset
from unimp_bench.errors import ConfigError, UnknownNameError
from unimp_bench.places import Home
from unimp_bench.progress import Progress, Silent
from unimp_bench.requests import Request

RECIPES = ("amazon", "hm", "files", "synthetic")
RELEASES = ("2014", "2018", "2023")
PAPER_RATE = 0.2  # of noise


@dataclass(frozen=True)
class Recipe:
    """A source as a user names it, with everything that is not the source's own default."""

    source: str
    places: Places = field(default_factory=Places)
    release: str = "2014"  # amazon
    size: str = "small"  # synthetic
    name: str | None = None
    config_file: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)  # fields of BuildConfig; they win over the file
    noise: tuple[str, ...] = ()  # "NT", "NV=0.4"
    fetch_images: bool | None = None  # None: only where the raw files are fetched too
    allow_private: bool = False
    keep_rejects: bool = False
    explanations: Path | None = None

    def __post_init__(self) -> None:
        """Refuse names outside the closed sets.

        Raises:
            UnknownNameError: no such source or release.
            ConfigError: a place that the source does not use.
        """
        for kind, name, known in (("source", self.source, RECIPES), ("release", self.release, RELEASES)):
            if name not in known:
                raise UnknownNameError(kind, name, known)
        for what, place in (("interactions", self.places.interactions), ("items", self.places.items)):
            if place is not None and self.source != "files":
                raise ConfigError(f"--{what} belongs to source 'files'; {self.source} takes a folder, --raw")
        if self.places.images is not None and self.source != "files":
            raise ConfigError("--images belongs to source 'files'; put the pictures into images/ under --raw")

    @property
    def kind(self) -> str:
        """The source as the pipeline calls it."""
        return f"amazon{self.release}" if self.source == "amazon" else self.source


def build(home: Home, recipe: Recipe, *, force: bool = False, progress: Progress | None = None) -> Dataset:
    """Get the raw files of a recipe and build it; errors as in `pipeline.build`.

    Example:
        build(Home(Path(".")), Recipe("synthetic", size="tiny"))
    """
    progress = progress or Silent()
    wanted = request(home, recipe)
    provide(recipe, wanted, progress)
    return pipeline.build(home, wanted, force=force, progress=progress)


def request(home: Home, recipe: Recipe) -> Request:
    """The request of a recipe; touches nothing but the config file."""
    places, name = recipe.places, recipe.kind
    held_out: tuple[str, ...] = ()
    if recipe.source in ("amazon", "synthetic"):
        places, held_out, name = _domains(recipe)
    if recipe.source == "synthetic":
        name = f"synthetic-{recipe.size}"
        places = dataclasses.replace(places, raw=home.raw(name))
    elif recipe.source == "amazon" and places.raw is None:
        places = dataclasses.replace(places, raw=home.raw(recipe.kind))
    fetched = recipe.source == "amazon" and recipe.places.raw is None
    return Request(
        recipe.kind,
        recipe.name or name,
        places,
        _config(recipe, held_out),
        fetch_images=fetched if recipe.fetch_images is None else recipe.fetch_images,
        allow_private=recipe.allow_private,
        keep_rejects=recipe.keep_rejects,
        explanations=recipe.explanations,
        noise=tuple(_variant(text) for text in recipe.noise),
        truth=places.raw / "truth" if recipe.source == "synthetic" and places.raw else None,
    )


def provide(recipe: Recipe, wanted: Request, progress: Progress) -> None:
    """Generate or download the raw files, where the user gave none.

    Raises:
        NetworkError: a download could not be finished.
        UnknownNameError: no synthetic shop of that size.
    """
    raw = wanted.places.raw
    if raw is None or recipe.places.raw is not None:
        return
    if recipe.source == "synthetic":
        from unimp_bench.data.sources.synthetic import write_shop

        # The shop itself is frozen: the seed changes ties, holdouts and draws, never the raw data.
        write_shop(raw, recipe.size, 0, progress)
    else:
        from unimp_bench.data.download import fetch
        from unimp_bench.data.sources.addresses import remotes

        progress.say("reviews and pictures belong to their owners: for research, not for redistribution")
        fetch(remotes(recipe.release, wanted.places.domains), raw, progress, allow_private=recipe.allow_private)


def _domains(recipe: Recipe) -> tuple[Places, tuple[str, ...], str]:
    """Places with their domains, the domains held out by default, and the dataset's own name."""
    from unimp_bench.data.sources import addresses

    asked = recipe.places.domains
    chosen = addresses.domains(recipe.release, asked) if asked else (*PAPER_DOMAINS, PAPER_NEW_DOMAIN)
    held_out = (PAPER_NEW_DOMAIN,) if PAPER_NEW_DOMAIN in chosen and len(chosen) > 1 else ()
    name = f"{recipe.kind}-{'-'.join(chosen)}" if asked else recipe.kind
    return dataclasses.replace(recipe.places, domains=chosen), held_out, name


def _config(recipe: Recipe, held_out: tuple[str, ...]) -> BuildConfig:
    """Flags over file over the source's defaults."""
    file = read_toml(recipe.config_file) if recipe.config_file is not None else {}
    # A dataset's own config.toml can be given back; what names its source is said on the command line.
    values = {key: value for key, value in file.items() if key not in ("source", "domains")}
    return from_mapping(
        {"new_domains": list(held_out), **values, **recipe.settings}, str(recipe.config_file or "flags")
    )


def _variant(text: str) -> tuple[str, float]:
    """`NT` or `NV=0.4` as kind and rate."""
    kind, _, rate = text.partition("=")
    try:
        return kind, float(rate or PAPER_RATE)
    except ValueError:
        raise ConfigError(f"noise is '{text}'; wanted NT, NV, or a kind and rate such as NT=0.4") from None
