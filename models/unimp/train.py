"""`python -m unimp.train --data data/NAME --out FOLDER`: training on a machine without the toolkit.

A killed training goes on where it was when it is started again with the same arguments; other arguments are refused
while its folder, FOLDER.work, is there. Several processes, with a copy of the model each or with shares of it:

    torchrun --nproc_per_node 8 -m unimp.train --data data/NAME --out FOLDER [--shard]
    accelerate launch --multi_gpu --num_processes 8 -m unimp.train --data data/NAME --out FOLDER
    accelerate launch --use_fsdp --fsdp_version 2 --num_processes 8 -m unimp.train --data data/NAME --out FOLDER

Without GPUs take torchrun: `accelerate launch` starts one process there unless it is given one of these flags.
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
from unimp.disk import writing
from unimp.errors import UnimpError
from unimp.keeping import FACTS, LOGS
from unimp.options import Options
from unimp.processes import Processes, asked_to_shard
from unimp.shop import Shop
from unimp.system import System

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
    parser = argparse.ArgumentParser(
        prog="python -m unimp.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a built dataset folder")
    parser.add_argument("--out", type=Path, required=True, help="where the trained system goes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", default="all", help="comma-separated, or all")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option; may be repeated")
    parser.add_argument(
        "--shard",
        action="store_true",
        help="several processes share out weights, gradients and moments (FSDP2) instead of each holding them all",
    )
    asked = parser.parse_args(arguments)
    team = Processes.here()
    try:
        options, shard = team.in_turn(lambda: (options_of(asked.set), asked.shard or asked_to_shard()))
        train(asked.data, asked.out, options, asked.seed, asked.tasks, shard=shard)
    except UnimpError as problem:
        if team.main or not problem.shared:
            sys.stderr.write(f"error: {'' if team.main else f'process {team.rank}: '}{problem}\n")
        if problem.shared:
            team.wait()  # else the launcher might end the first process before it has spoken
            team.part()
        return 1
    team.part()
    return 0


def train(data: Path, out: Path, options: Options, seed: int, tasks: str = "all", *, shard: bool = False) -> None:
    """Train, and adapt a copy to held-out domains where the dataset has any; `out` appears when all is done.

    All processes of a launch call it.

    Raises:
        UnimpError: `out` is there already, or what `System.fit` raises.
    """
    if seed < 0:
        raise UnimpError(f"seed={seed}; wanted 0 or more")
    system, out = System(options, seed=seed, shard=shard), out.resolve()
    team, work, draft = system.team, out.with_name(out.name + ".work"), out.with_name(out.name + ".part")
    shop = team.in_turn(lambda: _begun(data, out, draft))
    told = Told()
    wanted = () if tasks == "all" else tuple(tasks.split(","))
    system.fit(shop, work / "fit", report=told, tasks=wanted)
    system.save(draft)
    held_out = folders.read_folder(data, new_domains=True)
    if len(held_out.log.item):
        system.adapt(held_out, work / "adapt", report=told)
        system.save(draft / ADAPTED)
    team.once(lambda: _finished(out, draft, work))
    if team.main:
        logs = f"; losses of every stage: tensorboard --logdir {out}" if (out / LOGS).is_dir() else ""
        sys.stderr.write("".join(f"{line}\n" for line in (*system.notes, f"saved in {out}{logs}")))


def _begun(data: Path, out: Path, draft: Path) -> Shop:
    """What is learned from, where nothing stands in the way."""
    if (out / FACTS).is_file():
        raise UnimpError(f"{out} holds a trained system already; give another --out")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UnimpError(f"{out} holds something else; give another --out")
    shop = folders.read_folder(data)
    shutil.rmtree(draft, ignore_errors=True)
    return shop


def _finished(out: Path, draft: Path, work: Path) -> None:
    with writing(out):
        draft.replace(out)
        shutil.rmtree(work)


if __name__ == "__main__":
    sys.exit(main())
