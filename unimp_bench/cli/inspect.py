"""`unimp-bench inspect`: one user, as a person would look at one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unimp_bench.cli.columns import plain, show
from unimp_bench.cli.console import err, out
from unimp_bench.errors import ConfigError

if TYPE_CHECKING:
    from unimp_bench.dataset import Dataset
    from unimp_bench.inspection import Asked

_LISTED = 5  # items of a ranking that are named


def inspect(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Option(help="a built dataset")],
    user: Annotated[str | None, typer.Option(help="user id")] = None,
    query: Annotated[str | None, typer.Option(help="four users who were drawn a picture for it, as a sheet")] = None,
    runner: Annotated[str | None, typer.Option(help="with --query: only this runner's pictures")] = None,
    task: Annotated[str | None, typer.Option(help="only this task (default: all)")] = None,
    png: Annotated[Path | None, typer.Option(metavar="FILE", dir_okay=False, help="pictures as one sheet")] = None,
) -> None:
    """Show one user: history, test examples with their answers, and what each finished run said, best first.

    With --query, four users with different histories side by side: what each
    bought, the item to be drawn, and what runs drew.

    This shows sealed answers: never let a system learn from it. Right items of a
    ranking or choice stand in square brackets.

    Example:
        unimp-bench inspect --user A1 --dataset synthetic-small --png a1.png
        unimp-bench inspect --query jams --dataset mine --png jams.png
    """
    from unimp_bench import contact_sheet, inspection
    from unimp_bench.dataset import Dataset

    data = Dataset.open(ctx.obj, dataset)
    if (user is None) == (query is None):
        raise ConfigError("inspect wants one of --user and --query")
    if query is not None:
        if png is None:
            raise ConfigError("inspect --query makes a sheet of pictures; say where with --png FILE")
        people = inspection.with_query(ctx.obj, data, query)
        _write(png, contact_sheet.of_query(data, people, query, runner))
        return
    assert user is not None
    person = inspection.inspect(ctx.obj, data, user, task)
    out.print(f"{plain(person.user_id)} · {person.cohort} · {person.history.height} interactions", markup=False)
    lines = [("position", "split", "rating", "item", "domain", "title", "explanation")]
    for row in person.history.iter_rows(named=True):
        rating = "-" if row["rating"] is None else f"{row['rating']:g}"
        texts = (row["item_id"], row["domain"], row["title"] or "-", row["explanation"] or "-")
        lines.append((str(row["position"]), row["split"], rating, *texts))
    show(lines, widest=44)
    for one in person.asked:
        _example(data, one)
    if not person.asked:
        err.print("no test example of this user", markup=False)
    if png is not None:
        _write(png, contact_sheet.of_person(data, person))


def _write(png: Path, picture: bytes) -> None:
    from unimp_bench.places import atomic

    try:
        with atomic(png) as draft:
            draft.write_bytes(picture)
    except OSError as error:
        raise ConfigError(f"cannot write {png} ({error.strerror}); choose another --png") from None
    err.print(f"pictures in {png}", markup=False)


def _example(data: Dataset, one: Asked) -> None:
    out.print("")
    query = f" · query: {plain(one.query)}" if one.query else ""
    out.print(f"{one.task} · {plain(one.example_id)}{query}", style="bold", markup=False)
    right = set(one.answer) if isinstance(one.answer, list) else set()
    metric = one.said[0].metric if one.said else "score"
    lines = [("who", metric, "answer"), ("(truth)", "", _told(data, one.answer, right))]
    if one.candidates:
        lines.append(("(candidates)", "", _told(data, list(one.candidates), right)))
    elif one.target_item_id is not None:
        lines.append(("(about)", "", _told(data, [one.target_item_id], set())))
    for said in one.said:
        value = "-" if said.value is None else f"{said.value:.4f}"
        lines.append((said.runner, value, _told(data, said.answer, right)))
    show(lines, widest=160)


def _told(data: Dataset, answer: Any, right: set[str]) -> str:
    from unimp_bench.inspection import titles

    if answer is None:
        return "(no answer)"
    if isinstance(answer, bytes):
        return f"(a picture of {len(answer):,} bytes)"
    if not isinstance(answer, list):
        return f"{answer:g}" if isinstance(answer, float) else str(answer)
    named = zip(answer[:_LISTED], titles(data.catalogue(), answer[:_LISTED]), strict=True)
    return " · ".join(f"[{title[:30]}]" if item in right else title[:30] for item, title in named) or "(nothing)"
