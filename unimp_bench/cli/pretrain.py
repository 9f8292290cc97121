"""`unimp-bench pretrain`: the parts that all variants of a runner share, made once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unimp_bench.cli.console import BarProgress, err, out
from unimp_bench.cli.run import newest, parameters_of


def pretrain(
    ctx: typer.Context,
    model: Annotated[str, typer.Option(help="one runner, of those that have parts to share")],
    to: Annotated[Path, typer.Option("--out", metavar="FOLDER", file_okay=False, help="where the parts go")],
    dataset: Annotated[str | None, typer.Option(help="a built dataset [default: the one built last]")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="a runner's parameter")] = None,
    seed: Annotated[int, typer.Option(min=0, help="of the runner's randomness")] = 0,
) -> None:
    """Make the parts that all variants of a runner share, for `run --set pretrained=FOLDER`.

    The folder goes to stdout. A finished one is found and not made again, a
    killed one goes on, and one of another request is refused.

    Example: unimp-bench pretrain --model unimp --out parts
    """
    from unimp_bench import pretraining

    name = newest(ctx.obj) if dataset is None else dataset
    with BarProgress() as progress:
        folder = pretraining.pretrain(
            ctx.obj, name, model, to, parameters=parameters_of(set_ or []), seed=seed, progress=progress
        )
    out.print(str(folder), markup=False)
    err.print(f"use it: unimp-bench run --model {model} --set pretrained={folder}", markup=False)
