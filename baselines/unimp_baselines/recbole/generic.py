"""Every other general or sequential model of RecBole, as `--model recbole:<Class>`.

The model is RecBole's own, defects included, with its default settings and loss but for the parameters here; `set`
gives further ones as `key=value` pairs, widths among them, whose names differ from model to model. Its paper is named
at the head of its file in RecBole. Only sequential models that do not look at who a user is answer for new users.

Not among them: NCL and RaCT (training loops of their own, which cannot be resumed), GRU4RecKG and KSR (knowledge
graphs), DIEN and FEARec (they read padded histories that are not kept).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from unimp_baselines.recbole import client
from unimp_baselines.recbole.runner import SequenceRunner
from unimp_bench.errors import ConfigError, UnknownNameError
from unimp_bench.runners.protocol import Space

_CLASS = re.compile(r"^class (\w+)\(", re.MULTILINE)
_WORD = re.compile(r"[A-Za-z_][\w.@-]*")  # RecBole evaluates strings, so only words are let through
_KINDS = ("general", "sequential")
_LOOKS_AT_USERS = "self.USER_ID"  # in the source of a model that reads user numbers
_WITHOUT_USE = frozenset({"DIN"})  # looks the user's vector up and drops it


@dataclass(frozen=True)
class Known:
    """What RecBole's source says of a model: its kind, and whether its scores depend on a user's own vector."""

    kind: str
    by_user: bool


@cache
def known() -> dict[str, Known]:
    """RecBole's general and sequential models by name, read from its files without importing it."""
    spec = find_spec("recbole")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0]) / "model"
    found = {}
    for kind in _KINDS:
        for path in sorted((folder / f"{kind}_recommender").glob("*.py")):
            source = path.read_text("utf-8")
            for name in _CLASS.findall(source):
                if name.lower() == path.stem:
                    looks = _LOOKS_AT_USERS in source and name not in _WITHOUT_USE
                    found[name] = Known(kind, kind == "general" or looks)
    return found


@dataclass
class RecBole(SequenceRunner):
    """A model of RecBole by its class name; one that reads user numbers answers for users with train rows only."""

    model: str = ""
    set: str = ""  # further settings of RecBole, as "n_layers=3;dropout_prob=0.2"

    ours: ClassVar[bool] = False
    attributes: ClassVar[bool] = True
    version: ClassVar[int] = 2
    search: ClassVar[Space] = {"lr": (3e-4, 1e-3, 3e-3)}

    def __post_init__(self) -> None:
        """Look the model up; one that knows users by their vectors claims fewer cohorts than the class does."""
        super().__post_init__()
        client.require_recbole()
        if self.model not in known():
            raise UnknownNameError("RecBole model", self.model, known())
        self.refuse(self.model == "S3Rec", "RecBole's own class would stop after pre-training; run s3rec")
        width = f"embedding={self.embedding} is not read; give --set 'set=embedding_size={self.embedding}'"
        self.refuse(self.embedding != type(self).embedding, f"{width}, or what {self.model}.yaml of RecBole calls it")
        self._given()
        if known()[self.model].by_user:
            self.__dict__ |= {"cohorts": frozenset({"in_domain"}), "by_user": True}
        self.__dict__["model_name"] = self.model

    def _name(self) -> str:
        return f"recbole:{self.model}"

    def _given(self) -> dict[str, Any]:
        """The further settings, as values.

        Raises:
            ConfigError: something that is neither a number, a truth value, a list, nor a word.
        """
        found: dict[str, Any] = {}
        for pair in filter(None, (part.strip() for part in self.set.split(";"))):
            key, equals, text = (part.strip() for part in pair.partition("="))
            try:
                value: Any = json.loads(text.lower() if text.lower() in ("true", "false") else text)
            except ValueError:
                value = text
            if not equals or not key or (isinstance(value, str) and not _WORD.fullmatch(value)):
                raise ConfigError(
                    f"{self._name()}: set='{pair}' is no key=value with a number, a word or a list of them"
                )
            found[key] = value
        return found

    def settings(self) -> dict[str, Any]:
        """RecBole's settings."""
        return self._given()
