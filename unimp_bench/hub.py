"""Models that some metrics need: folders of the home, or names on the Hugging Face hub, as the home's file says.

    <home>/models/bertscore/, clip/, wordnet/     folders, as their makers publish them
    <home>/models/models.toml                     bertscore = "roberta-large"           # a hub name, or a folder
                                                  bertscore_layers = 17                 # default: all
                                                  clip = "openai/clip-vit-base-patch32"

A file and no option: scores must not depend on who typed what last. A hub name is fetched once into the hub's own cache
and read from there like a folder: configuration, vocabulary and weights, never code. What cannot be had costs its
metric and says why; it stops nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from unimp_bench.config import read_toml
from unimp_bench.errors import ConfigError

FILE = "models.toml"
NAMES = ("bertscore", "clip", "wordnet")
KEYS = ("bertscore", "bertscore_layers", "clip", "wordnet")
_PLAIN = ("*.json", "*.txt", "*.model")  # configuration and vocabulary
_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")  # the second where the first is not published


def settings(folder: Path) -> dict[str, Any]:
    """What the models' folder says of each model: {} where it has no file.

    Raises:
        ConfigError: a key that nobody knows, or a value of another type.
        InputError: the file is no TOML.
    """
    path = folder / FILE
    if not path.is_file():
        return {}
    given = read_toml(path)
    for key, value in given.items():
        if key not in KEYS:
            raise ConfigError(f"{path}: unknown key '{key}'; known: {', '.join(KEYS)}")
        kind = int if key == "bertscore_layers" else str
        if not isinstance(value, kind) or isinstance(value, bool) or not value:
            raise ConfigError(f"{path}: {key} is {value!r}; wanted a {'number' if kind is int else 'name or folder'}")
    return given


def place(folder: Path, name: str, given: Mapping[str, Any], *, fetch: bool = True) -> tuple[Path | None, str]:
    """Where a model stands, and why nowhere, else "".

    Args:
        folder: the models' folder.
        name: one of `NAMES`.
        given: what `settings` found.
        fetch: whether a hub name that is not in the cache may be downloaded.
    """
    if name not in given:
        own = folder / name
        return (own, "") if own.is_dir() else (None, f"needs {_WHAT[name]} in {own}, or its hub name in {FILE} there")
    wanted = str(given[name])
    local = folder / wanted  # a path from the root stays one
    if local.is_dir():
        return local, ""
    if name == "wordnet" or wanted.startswith(("/", ".")):
        return None, f"needs {_WHAT[name]}; {FILE} names {wanted}, which is no folder"
    return from_hub(wanted, fetch=fetch)


_WHAT = {"bertscore": "an encoder", "clip": "a CLIP model", "wordnet": "WordNet's files"}


def from_hub(
    name: str, *, fetch: bool = True, weights: Sequence[str] = _WEIGHTS, where: str = f"in {FILE}"
) -> tuple[Path | None, str]:
    """A model of the hub as a folder of its cache, and why there is none, else "".

    Args:
        name: on the hub.
        fetch: whether it may be downloaded where it is not in the cache.
        weights: patterns of files that hold weights; the first that the model has is taken.
        where: the name was said, for the reason.
    """
    hub, errors = import_module("huggingface_hub"), import_module("huggingface_hub.errors")
    reason = "is not in the hub's cache"
    for here in (True, False) if fetch else (True,):  # what is in the cache needs no connection
        for pattern in weights:
            try:
                found = Path(hub.snapshot_download(name, allow_patterns=[*_PLAIN, pattern], local_files_only=here))
            except errors.HFValidationError:
                return None, f"'{name}' {where} is neither a folder nor a name on the hub"
            except (errors.RepositoryNotFoundError, errors.GatedRepoError):
                return None, f"'{name}' {where} is no public model on the hub"
            except (errors.HTTPError, OSError):
                reason = reason if here else "is not in the hub's cache and the hub cannot be reached"
                continue
            if (lacking := incomplete(found)) is None:
                return found, ""
            reason = reason if here else f"has no {lacking}, neither in the hub's cache nor to be fetched"
    return None, f"{name} {reason}; fetch it where there is a connection, or name a folder {where}"


def incomplete(folder: Path) -> str | None:
    """What a folder in the transformers format lacks, or None."""
    if not (folder / "config.json").is_file():
        return "config.json"
    if not any(path for pattern in ("*.safetensors", "*.bin") for path in folder.glob(pattern)):
        return "weights"
    return None


def unusable(folder: Path) -> str | None:
    """Why transformers should not load a folder: it lacks something, or would have code of its own run."""
    lacking = incomplete(folder)
    if lacking is not None:
        return f"has no {lacking}"
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except ValueError:
        return "has a config.json that is no JSON"
    return "brings code of its own, which is never run" if "auto_map" in config else None
