"""`python -m unimp.train --data data/NAME --out FOLDER`: training on a machine without the toolkit.

A killed training goes on where it was when it is started again with the same arguments.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
import typing
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from unimp import folders
from unimp.errors import UnimpError
from unimp.options import Options
from unimp.system import FACTS, System

ADAPTED = "new_domain"  # folder of the system that learned held-out domains


def options_of(pairs: Sequence[str]) -> Options:
    """Options from `key=value` strings.

    Raises:
        UnimpError: an unknown key, or a value of another kind.
    """
    hints = typing.get_type_hints(Options)
    given: dict[str, typing.Any] = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        if key not in {f.name for f in fields(Options)}:
            raise UnimpError(f"no option '{key}'; known: {', '.join(sorted(hints))}")
        given[key] = _value(key, text, hints[key])
    return Options(**given)


def _value(key: str, text: str, kind: typing.Any) -> typing.Any:
    choices = [c for c in typing.get_args(kind) if c is not type(None)]
    optional = type(None) in typing.get_args(kind)
    if optional and text.lower() == "none":
        return None
    if optional and len(choices) == 1:
        kind, choices = choices[0], list(typing.get_args(choices[0]))
    if choices:
        if text not in choices:
            raise UnimpError(f"option {key}='{text}' is not one of {', '.join(map(str, choices))}")
        return text
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise UnimpError(f"option {key}='{text}' is not true or false")
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError:
        raise UnimpError(f"option {key}='{text}' is no {kind.__name__}") from None


class Told:
    """Prints a line every ten seconds, and when a stage is done."""

    def __init__(self) -> None:
        self.begun = self.last = time.monotonic()

    def __call__(self, stage: str, share: float, words: str) -> None:
        """A stage's share of work that is done."""
        now = time.monotonic()
        if share >= 1 or now - self.last > 10:
            self.last = now
            sys.stderr.write(f"{now - self.begun:7.0f} s  {stage} {share:4.0%}  {words}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train on a built dataset folder; 0 if all went well."""
    parser = argparse.ArgumentParser(prog="python -m unimp.train", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a built dataset folder")
    parser.add_argument("--out", type=Path, required=True, help="where the trained system goes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", default="all", help="comma-separated, or all")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option; may be repeated")
    asked = parser.parse_args(arguments)
    try:
        if (asked.out / FACTS).is_file():
            raise UnimpError(f"{asked.out} holds a trained system already; give another --out")
        train(asked.data, asked.out, options_of(asked.set), asked.seed, asked.tasks)
    except UnimpError as problem:
        sys.stderr.write(f"error: {problem}\n")
        return 1
    return 0


def train(data: Path, out: Path, options: Options, seed: int, tasks: str = "all") -> None:
    """Train, and adapt a copy to held-out domains where the dataset has any; `out` appears when all is done."""
    work, draft = out.with_name(out.name + ".work"), out.with_name(out.name + ".part")
    shutil.rmtree(draft, ignore_errors=True)
    system = System(options, seed=seed)
    told = Told()
    wanted = () if tasks == "all" else tuple(tasks.split(","))
    system.fit(folders.read_folder(data), work / "fit", report=told, tasks=wanted)
    system.save(draft)
    held_out = folders.read_folder(data, new_domains=True)
    if len(held_out.log.item):
        system.adapt(held_out, work / "adapt", report=told)
        system.save(draft / ADAPTED)
    draft.replace(out)
    shutil.rmtree(work)


if __name__ == "__main__":
    sys.exit(main())
