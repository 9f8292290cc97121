"""What a build was asked to do: flags over file over defaults, resolved once and written next to the data."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from unimp_bench.errors import ConfigError, InputError, UnknownNameError

PROTOCOLS = ("paper", "leave_last_out", "official_code", "global_time")
DUPLICATES = ("first", "last")
TIES = ("hash", "source_order", "item_id")
REQUIREMENTS = ("title", "image")
STYLES = ("paper", "official_code")
QUERIES = ("ai2017", "official_code")
HARDNESS = ("random", "same_category", "same_brand")


@dataclass(frozen=True)
class BuildConfig:
    """One build, without the places of its input. Fields that are None take the protocol's own value in `resolved`."""

    protocol: str = "paper"
    seed: int = 0
    core_user: int | None = None  # least interactions of a user
    core_item: int | None = None
    merge_users: bool | None = None  # one history a person, or one a person and domain
    duplicates: str = "first"  # which of several (user, item) rows stays, by time
    ties: str | None = None  # order of a user's rows of equal time
    new_domains: tuple[str, ...] = ()  # held out whole
    new_user_share: float = 0.1  # of the persons, protocol "paper"
    require: tuple[str, ...] = ()  # drop items without these before the core filter
    history: int = 5  # entries in instructions and train examples
    long_history: int = 50  # entries in valid and test examples
    prompts: str | None = None
    query: str | None = None
    candidates: int = 5  # selection
    hardness: str = "random"
    lean: bool = False  # train rows without rendered text

    def resolved(self) -> BuildConfig:
        """The same with every None replaced by the protocol's value.

        Raises:
            UnknownNameError: a value outside its closed set.
            ConfigError: a number outside its range.
        """
        for kind, value, known in (
            ("protocol", self.protocol, PROTOCOLS),
            ("duplicate policy", self.duplicates, DUPLICATES),
            ("tie rule", self.ties, TIES),
            ("prompt style", self.prompts, STYLES),
            ("query style", self.query, QUERIES),
            ("hardness", self.hardness, HARDNESS),
            *(("requirement", name, REQUIREMENTS) for name in self.require),
        ):
            if value is not None and value not in known:
                raise UnknownNameError(kind, value, known)
        official = self.protocol == "official_code"
        given_order = self.protocol == "leave_last_out"
        done = dataclasses.replace(
            self,
            core_user=self.core_user if self.core_user is not None else (8 if official else 5),
            core_item=self.core_item if self.core_item is not None else 5,
            merge_users=self.merge_users if self.merge_users is not None else not official,
            ties=self.ties or ("item_id" if official else "source_order" if given_order else "hash"),
            prompts=self.prompts or ("official_code" if official else "paper"),
            query=self.query or ("official_code" if official else "ai2017"),
        )
        for name, low, high in (
            ("core_user", 1, 10_000),
            ("core_item", 1, 10_000),
            ("history", 1, 100),
            ("long_history", self.history, 10_000),
            ("candidates", 4, 64),
            ("seed", 0, 2**31 - 1),
            ("new_user_share", 0, 0.9),
        ):
            value = getattr(done, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} is {value}; give a number from {low} to {high}")
        return done

    def request(self) -> dict[str, Any]:
        """The fields as plain data, for hashing and for the config file."""
        return dataclasses.asdict(self)


def from_mapping(values: Mapping[str, Any], where: str) -> BuildConfig:
    """A config from plain data.

    Raises:
        ConfigError: a key nobody knows, or a value of another type.
    """
    kinds = {f.name: str(f.type) for f in dataclasses.fields(BuildConfig)}
    clean: dict[str, Any] = {}
    for key, value in values.items():
        if key not in kinds:
            near = get_close_matches(key, kinds, n=1)
            raise ConfigError(f"{where}: unknown key '{key}'; {f'did you mean {near[0]}?' if near else 'see --help'}")
        given = tuple(value) if isinstance(value, list) else value
        if type(given).__name__ not in kinds[key] and not (isinstance(given, int) and "float" in kinds[key]):
            raise ConfigError(f"{where}: {key} is {value!r}; wanted {kinds[key]}")
        clean[key] = given
    return BuildConfig(**clean)


def read_toml(path: Path) -> dict[str, Any]:
    """The keys of a TOML file.

    Raises:
        InputError: it is absent or no TOML.
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise InputError("no such config file", path, "check --config") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"not TOML ({error})", path, "mend the line") from None


def write_toml(values: Mapping[str, Any], path: Path) -> None:
    """Write flat plain data (text, numbers, true/false, lists of text) as TOML; keys that are None are left out."""
    lines = []
    for key, value in sorted(values.items()):
        if value is None:
            continue
        if isinstance(value, bool):
            text = str(value).lower()
        elif isinstance(value, int | float):
            text = repr(value)
        elif isinstance(value, str):
            text = _quoted(value)
        else:
            text = "[" + ", ".join(_quoted(str(v)) for v in value) + "]"
        lines.append(f"{key} = {text}\n")
    path.write_text("".join(lines))


def _quoted(text: str) -> str:
    escaped = "".join(c if c >= " " and c not in '"\\\x7f' else f"\\u{ord(c):04X}" for c in text)
    return f'"{escaped}"'
