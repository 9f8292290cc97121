"""`unimp-bench build`: raw shop data in, a dataset folder out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unimp_bench.cli.console import BarProgress, err, out

if TYPE_CHECKING:
    from unimp_bench.dataset import Dataset
    from unimp_bench.requests import Request

_INPUT = "Input"
_PROTOCOL = "Protocol"
_TASKS = "Tasks"


def build(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(help="amazon, hm, files or synthetic")],
    release: Annotated[str, typer.Option(help="amazon: 2014, 2018 or 2023", rich_help_panel=_INPUT)] = "2014",
    domains: Annotated[
        str, typer.Option(help="amazon: comma-separated; default: the paper's six and Office", rich_help_panel=_INPUT)
    ] = "",
    raw: Annotated[
        Path | None, typer.Option(help="folder of raw files; else downloaded", rich_help_panel=_INPUT)
    ] = None,
    interactions: Annotated[
        Path | None, typer.Option(help="files: CSV, JSONL, Parquet", rich_help_panel=_INPUT)
    ] = None,
    items: Annotated[Path | None, typer.Option(help="files: metadata of items", rich_help_panel=_INPUT)] = None,
    images: Annotated[
        Path | None, typer.Option(help="folder of pictures named by item id", rich_help_panel=_INPUT)
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="files: NAME=COLUMN of the file, repeated", rich_help_panel=_INPUT)
    ] = None,
    fetch_images: Annotated[
        bool | None,
        typer.Option(help="download pictures (default: only when the raw files are)", rich_help_panel=_INPUT),
    ] = None,
    allow_private: Annotated[
        bool, typer.Option(help="allow downloads from private addresses", rich_help_panel=_INPUT)
    ] = False,
    explanations: Annotated[
        Path | None, typer.Option(help="folder of Sentires sentences as JSON lines", rich_help_panel=_INPUT)
    ] = None,
    item_level: Annotated[str, typer.Option(help="hm: product or article", rich_help_panel=_INPUT)] = "product",
    size: Annotated[str, typer.Option(help="synthetic: tiny, small or large", rich_help_panel=_INPUT)] = "small",
    name: Annotated[str | None, typer.Option(help="name of the dataset")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file; flags win over it")] = None,
    protocol: Annotated[
        str | None, typer.Option(help="paper, leave_last_out, official_code, global_time", rich_help_panel=_PROTOCOL)
    ] = None,
    core: Annotated[
        str | None, typer.Option(help="least interactions: N, or USER,ITEM", rich_help_panel=_PROTOCOL)
    ] = None,
    require: Annotated[
        str | None, typer.Option(help="drop items without: title,image", rich_help_panel=_PROTOCOL)
    ] = None,
    new_domains: Annotated[
        str | None, typer.Option(help="domains held out whole; 'none' for none", rich_help_panel=_PROTOCOL)
    ] = None,
    merge_users: Annotated[
        bool | None, typer.Option(help="one history a person over all domains", rich_help_panel=_PROTOCOL)
    ] = None,
    duplicates: Annotated[
        str | None, typer.Option(help="first or last of equal (user, item)", rich_help_panel=_PROTOCOL)
    ] = None,
    ties: Annotated[str | None, typer.Option(help="hash, source_order or item_id", rich_help_panel=_PROTOCOL)] = None,
    seed: Annotated[int | None, typer.Option(help="of ties, holdouts, draws", rich_help_panel=_PROTOCOL)] = None,
    prompts: Annotated[str | None, typer.Option(help="paper or official_code", rich_help_panel=_TASKS)] = None,
    query: Annotated[str | None, typer.Option(help="ai2017 or official_code", rich_help_panel=_TASKS)] = None,
    candidates: Annotated[int | None, typer.Option(help="selection: candidates", rich_help_panel=_TASKS)] = None,
    hardness: Annotated[
        str | None, typer.Option(help="selection: random, same_category, same_brand", rich_help_panel=_TASKS)
    ] = None,
    noise: Annotated[
        list[str] | None, typer.Option(help="add a variant: NT, NV, or NT=0.4; repeated", rich_help_panel=_TASKS)
    ] = None,
    lean: Annotated[
        bool | None, typer.Option("--lean", help="leave out the text of train rows", rich_help_panel=_TASKS)
    ] = None,
    keep_rejects: Annotated[bool, typer.Option("--keep-rejects", help="write dropped rows aside")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be read and written")] = False,
    force: Annotated[bool, typer.Option("--force", help="replace a dataset of the same name")] = False,
) -> None:
    """Build a dataset: six tasks, splits, pictures and a data card from raw shop data.

    Example:
        unimp-bench build synthetic --size small
        unimp-bench build hm --raw h-and-m/ --item-level product --core 3
        unimp-bench build amazon --release 2018 --domains gift_cards --raw dumps/
    """
    from unimp_bench import recipes
    from unimp_bench.data.opening import Places
    from unimp_bench.pipeline import build as build_dataset

    flags = {
        "protocol": protocol,
        "require": None if require is None else _listed(require),
        "merge_users": merge_users,
        "duplicates": duplicates,
        "ties": ties,
        "seed": seed,
        "prompts": prompts,
        "query": query,
        "candidates": candidates,
        "hardness": hardness,
        "lean": lean,
        "new_domains": None if new_domains is None else _listed(new_domains.replace("none", "")),
        **_core(core),
    }
    recipe = recipes.Recipe(
        source,
        Places(raw, interactions, items, images, tuple(_listed(domains)), item_level, _columns(column or [])),
        release=release,
        size=size,
        name=name,
        config_file=config,
        settings={key: value for key, value in flags.items() if value is not None},
        noise=tuple(noise or ()),
        fetch_images=fetch_images,
        allow_private=allow_private,
        keep_rejects=keep_rejects,
        explanations=explanations,
    )
    request = recipes.request(ctx.obj, recipe)
    if dry_run:
        _explain(request, ctx.obj.dataset(request.name))
        return
    err.print(f"building {request.name}", style="bold", markup=False)
    with BarProgress() as progress:
        recipes.provide(recipe, request, progress)
        dataset = build_dataset(ctx.obj, request, force=force, progress=progress)
    _summary(dataset)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _columns(pairs: list[str]) -> dict[str, str]:
    """`NAME=COLUMN` pairs as a mapping."""
    from unimp_bench.errors import ConfigError

    mapping = {key: value for key, _, value in (pair.partition("=") for pair in pairs)}
    if not all(mapping) or not all(mapping.values()):
        raise ConfigError("--column wants NAME=COLUMN, for example --column user_id=customer")
    return mapping


def _core(text: str | None) -> dict[str, int]:
    """`N` or `USER,ITEM` as the two core sizes."""
    from unimp_bench.errors import ConfigError

    if text is None:
        return {}
    numbers = text.split(",")
    if len(numbers) > 2 or not all(n.strip().isdigit() for n in numbers):
        raise ConfigError(f"--core is '{text}'; wanted a number, or USER,ITEM")
    return {"core_user": int(numbers[0]), "core_item": int(numbers[-1])}


def _explain(request: Request, folder: Path) -> None:
    """What a build would do, without doing it."""
    resolved = request.config.resolved()
    out.print(f"source    {request.source}", markup=False)
    out.print(f"domains   {', '.join(request.places.domains) or '-'}", markup=False)
    out.print(f"raw       {request.places.raw or request.places.interactions}", markup=False)
    out.print(f"into      {folder}", markup=False)
    for key, value in resolved.request().items():
        out.print(f"{key:<16} {value}", markup=False)


def _summary(dataset: Dataset) -> None:
    """Counts of the built dataset on stdout."""
    facts = dataset.manifest.facts
    counts, splits = facts["counts"], facts["splits"]
    amounts = ", ".join(f"{counts[what]:,} {what}" for what in ("interactions", "users", "items"))
    out.print(f"{dataset.name}: {amounts} ({sum(facts['raw_counts'].values()):,} rows read)", markup=False)
    out.print(f"  splits   {', '.join(f'{name} {n:,}' for name, n in splits.items())}", markup=False)
    out.print(f"  cohorts  {', '.join(f'{name} {n:,} users' for name, n in facts['cohorts'].items())}", markup=False)
    shares = ", ".join(f"{name} {share:.0%}" for name, share in facts["coverage"].items())
    out.print(f"  coverage {shares}", markup=False)
    for task, about in facts["tasks"].items():
        rows = about["rows"]
        out.print(
            f"  {task:<17} train {rows['train']:>8,}  valid {rows['valid']:>7,}  test {rows['test']:>7,}", markup=False
        )
    for task, reason in facts["skipped_tasks"].items():
        out.print(f"  {task:<17} not built: {reason}", markup=False)
    out.print(f"  in {dataset.folder}", markup=False)
