"""`unimp-bench ask`: a runner at a person's hands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unimp_bench.cli.columns import plain, show
from unimp_bench.cli.console import BarProgress, err, out
from unimp_bench.cli.run import newest, parameters_of
from unimp_bench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unimp_bench.dataset import Catalogue
    from unimp_bench.questions import Reply

_PAST = 8  # interactions that are listed, the last ones


def ask(
    ctx: typer.Context,
    user: Annotated[str, typer.Option(help="user id")],
    query: Annotated[str | None, typer.Option(help="what to search and draw (default: the user's test query)")] = None,
    model: Annotated[str, typer.Option(help="one runner")] = "unimp",
    dataset: Annotated[str | None, typer.Option(help="a built dataset [default: the one built last]")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="a runner's parameter")] = None,
    seed: Annotated[int, typer.Option(min=0, help="of the runner's randomness")] = 0,
    item: Annotated[str | None, typer.Option(help="rate and explain this item (default: the first one found)")] = None,
    png: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", dir_okay=False, help="pictures [default: ask-USER.png]")
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=100, help="items of a list")] = 5,
) -> None:
    """Ask a runner about one user: recommendation, search, rating, explanation and a drawn picture.

    It takes the fit that `run` made with the same runner, parameters and seed,
    and makes it where it is not there. What the runner does not answer or, by
    its parameters, did not learn is left out. The history and all pictures go
    to one PNG.

    Example: unimp-bench ask --user A100ZT0R7RVKT3 --query "nail polish"
    """
    from unimp_bench import contact_sheet, questions
    from unimp_bench.dataset import Dataset
    from unimp_bench.places import atomic

    name = newest(ctx.obj) if dataset is None else dataset
    with BarProgress() as progress:
        reply = questions.ask(
            ctx.obj,
            name,
            model,
            questions.Wish(user, query, item, top),
            parameters=parameters_of(set_ or []),
            seed=seed,
            progress=progress,
        )
    data = Dataset.open(ctx.obj, name)
    _told(data.catalogue(), reply)
    png = png or Path(f"ask-{re.sub('[^A-Za-z0-9._-]', '_', user)}.png")
    picture = contact_sheet.of_reply(data, reply)
    try:
        with atomic(png) as draft:
            draft.write_bytes(picture)
    except OSError as error:
        raise ConfigError(f"cannot write {png} ({error.strerror}); choose another --out") from None
    err.print(f"pictures in {png}", markup=False)


def _told(view: Catalogue, reply: Reply) -> None:
    from unimp_bench.inspection import titles

    subject, said = reply.subject, reply.said
    past = subject.history[-_PAST:]
    of = f"the last {len(past)} of {len(subject.history)}" if len(past) < len(subject.history) else f"{len(past)}"
    _heading(f"{subject.user_id} · {subject.cohort} · history: {of}")
    names = titles(view, [entry["item_id"] for entry in past])
    lines = [("rating", "item", "title", "explanation")]
    for entry, title in zip(past, names, strict=True):
        rating = "-" if entry["rating"] is None else f"{entry['rating']:g}"
        lines.append((rating, entry["item_id"], title, entry["explanation"] or "-"))
    show(lines, widest=44)
    if reply.own_query:
        err.print("the query is the one of the user's test example; --query asks another", markup=False)
    if "recommendation" in said:
        _heading("recommendation")
        _listed(view, said["recommendation"])
    if "search" in said:
        _heading(f"search · {plain(reply.query or '')}")
        _listed(view, said["search"])
    if reply.item is not None and {"preference", "explanation"} & said.keys():
        _heading(f"about · {plain(reply.item)} · {plain(titles(view, [reply.item])[0])}")
        told = [("question", "answer")]
        if "preference" in said:
            rating = "(no answer)" if said["preference"] is None else f"{said['preference']:.2f}"
            told.append(("rating", rating))
        if "explanation" in said:
            told.append(("explanation", said["explanation"] or "(no answer)"))
        show(told, widest=160)
    if "image_generation" in said and said["image_generation"] is None:
        err.print("no picture was drawn: the runner could not", markup=False)
    for task, why in reply.left_out.items():
        err.print(f"left out: {task}: {why}", markup=False)


def _heading(text: str) -> None:
    out.print("")
    out.print(plain(text), style="bold", markup=False)


def _listed(view: Catalogue, items: Sequence[str] | None) -> None:
    from unimp_bench.inspection import titles

    if not items:
        out.print("(no answer)", markup=False)
        return
    lines = [("#", "item", "title")]
    for place, (item, title) in enumerate(zip(items, titles(view, items), strict=True), 1):
        lines.append((str(place), item, title))
    show(lines, widest=80)
