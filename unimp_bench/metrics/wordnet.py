"""Synonyms from the files of WordNet 3.0, as far as METEOR needs them.

nltk's own reader refuses files outside its data folders and takes seconds to start, so we read the files themselves
(format: `wndb(5WN)`, `morphy(7WN)`): `nltk_data/corpora/wordnet`, as a folder or a zip, or Debian's `wordnet-base`.
`synsets` looks words up as nltk does, so its METEOR finds the same synonyms; a test compares the two.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from zipfile import Path as ZipPath

_PARTS = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
_ENDINGS: dict[str, tuple[tuple[str, str], ...]] = {
    "n": (
        *(("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z")),
        *(("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y")),
    ),
    "v": (("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    "a": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "r": (),
}


def _places() -> Iterator[Path]:
    """Where nltk and Debian keep WordNet."""
    roots = [Path(root) for root in os.environ.get("NLTK_DATA", "").split(os.pathsep) if root]
    roots += [
        Path.home() / "nltk_data",
        Path(sys.prefix) / "nltk_data",
        *(Path(sys.prefix) / d for d in ("share/nltk_data", "lib/nltk_data")),
    ]
    roots += [Path(root) / "nltk_data" for root in ("/usr/share", "/usr/local/share", "/usr/lib", "/usr/local/lib")]
    for root in roots:
        yield root / "corpora/wordnet"
        yield root / "corpora/wordnet.zip"
    yield Path("/usr/share/wordnet")


def _names(part: str) -> tuple[str, str, str]:
    return f"index.{part}", f"data.{part}", f"{part}.exc"


def find(folder: Path | None = None) -> Path | None:
    """The folder or zip of WordNet's files: the one given, else the first in the usual places; None if none is."""
    for place in [folder] if folder else _places():
        if place.suffix == ".zip" and place.is_file():
            return place
        if all((place / name).is_file() for part in _PARTS.values() for name in _names(part)):
            return place
    return None


@dataclass(frozen=True)
class Lemma:
    """One spelling within a synset."""

    spelling: str

    def name(self) -> str:
        """The spelling, as nltk asks for it."""
        return self.spelling


@dataclass(frozen=True)
class Synset:
    """Words of one meaning."""

    members: tuple[Lemma, ...]

    def lemmas(self) -> tuple[Lemma, ...]:
        """The members, as nltk asks for them."""
        return self.members


class WordNet:
    """Synsets by word; takes the place of nltk's reader in its METEOR."""

    def __init__(self, place: Path) -> None:
        """`place` as `find` gives it."""
        self._root = ZipPath(place, "wordnet/") if place.suffix == ".zip" else place
        self._synsets: dict[str, list[Synset]] = {}

    def _lines(self, name: str) -> list[str]:
        return (self._root / name).read_text(encoding="utf-8").splitlines()

    @cached_property
    def _index(self) -> dict[str, dict[str, list[int]]]:
        """Offsets of synsets by part of speech and word."""
        found: dict[str, dict[str, list[int]]] = {}
        for part, name in _PARTS.items():
            of_part = found[part] = {}
            for line in self._lines(f"index.{name}"):
                if not line.startswith(" "):  # the licence
                    fields = line.split()
                    of_part[fields[0]] = [int(offset) for offset in fields[-int(fields[2]) :]]
        return found

    @cached_property
    def _exceptions(self) -> dict[str, dict[str, list[str]]]:
        return {
            part: {fields[0]: fields[1:] for line in self._lines(f"{name}.exc") if (fields := line.split())}
            for part, name in _PARTS.items()
        }

    @cached_property
    def _data(self) -> dict[str, bytes]:
        return {part: (self._root / f"data.{name}").read_bytes() for part, name in _PARTS.items()}

    def _forms(self, word: str, part: str) -> list[str]:
        """The word and what it may be a form of, as far as WordNet knows them."""
        known, bases = self._index[part], self._exceptions[part].get(word)
        if bases is None:
            bases = [word[: -len(old)] + new for old, new in _ENDINGS[part] if word.endswith(old)]
        return [form for form in dict.fromkeys([word, *bases]) if form in known]

    def _synset(self, part: str, offset: int) -> Synset:
        data = self._data[part]
        fields = data[offset : data.index(b"\n", offset)].decode().split()
        names = (fields[4 + 2 * place] for place in range(int(fields[3], 16)))
        return Synset(tuple(Lemma(name.partition("(")[0]) for name in names))  # "(a)" and the like mark use

    def synsets(self, word: str) -> list[Synset]:
        """All meanings of a word in any part of speech and form."""
        if word not in self._synsets:
            form = word.lower()
            self._synsets[word] = [
                self._synset(part, offset)
                for part in _PARTS
                for base in self._forms(form, part)
                for offset in self._index[part][base]
            ]
        return self._synsets[word]
