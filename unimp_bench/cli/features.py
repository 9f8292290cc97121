"""`unimp-bench features`: item features of a dataset by a named encoder, made once for all systems."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from unimp_bench.cli.columns import show
from unimp_bench.cli.console import BarProgress
from unimp_bench.cli.run import newest


def features(
    ctx: typer.Context,
    encoder: Annotated[str, typer.Option(help="an encoder, as in `list encoders`; an argument after a colon")],
    dataset: Annotated[str | None, typer.Option(help="a built dataset [default: the one built last]")] = None,
    variant: Annotated[str, typer.Option(help="a noise variant of the items")] = "clean",
) -> None:
    """Encode the items of a dataset, or find them encoded.

    Systems that read features make them themselves when they need them; here
    it can be done before, as where the weights are. One line goes to stdout.

    Example: unimp-bench features --encoder thumbnail
    """
    from unimp_bench.dataset import Dataset
    from unimp_bench.features import ensure
    from unimp_bench.runners.protocol import Context

    name = newest(ctx.obj) if dataset is None else dataset
    view = Dataset.open(ctx.obj, name).catalogue(variant)
    folder = ctx.obj.features
    started = time.monotonic()
    with BarProgress() as progress:
        made = ensure(view, encoder, Context(0, folder, progress, features=folder))
    seconds, found = time.monotonic() - started, made.features
    facts = (found.width, len(found.present), int(found.present.sum()), f"{seconds:.1f}", made.file)
    show([("encoder", "width", "items", "with features", "seconds", "file"), (encoder, *map(str, facts))])
